import copy
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock

from tests.warm import Warm, possible, warm_popen

# Before torch is loaded, here and in what the tests start: two threads on a core that is busy with something else take
# many times as long as one.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell that starts the tests in the background has them ignore Ctrl-C, and with them all that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent


# Begun at the end, one of these would leave a core idle for a minute.
LONGEST = (
    "test_the_story_of_a_run",
    "test_nothing_that_is_closed_holds_raw_latex_or_an_empty_box",
    "test_a_run_killed_at_random_moments_and_while_it_writes_ends_with_the_same_weights",
    "test_stop_finishes_the_step_and_resume_ends_with_the_same_weights",
)


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: LONGEST.index(item.name) if item.name in LONGEST else len(LONGEST))


@pytest.fixture(autouse=True)
def output_dir(tmp_path, monkeypatch) -> Path:
    """Every test has an outputs/ of its own, and none writes into the user's."""
    path = tmp_path / "outputs"
    monkeypatch.setenv("DDPM_OUTPUT_DIR", str(path))
    return path


@pytest.fixture(scope="session")
def made_once(tmp_path_factory, worker_id):
    """A folder that takes long to make, made once for all processes of pytest-xdist: (name, make) -> the folder that
    ``make``, given a path, has made."""

    def made(name: str, make: Callable[[Path], None]) -> Path:
        base = tmp_path_factory.getbasetemp()
        folder = (base if worker_id == "master" else base.parent) / name
        with FileLock(f"{folder}.lock"):
            if not folder.exists():
                unfinished = folder.with_suffix(".unfinished")
                shutil.rmtree(unfinished, ignore_errors=True)
                make(unfinished)
                unfinished.rename(folder)
        return folder

    return made


@pytest.fixture(scope="session")
def mnist_dir() -> Path:
    """The folder in which torchvision finds MNIST; skips the test where there is none."""
    path = os.environ.get("DDPM_DATA_DIR")
    if not path or not Path(path, "MNIST", "raw", "train-images-idx3-ubyte").is_file():
        pytest.skip("no MNIST: set DDPM_DATA_DIR to a folder that holds MNIST/raw/")
    return Path(path)


@pytest.fixture(scope="session")
def _importer():
    """The process that has imported everything and forks, where one can: see ``tests.warm``."""
    importer = Warm() if possible() else None
    yield importer
    if importer:
        importer.close()


@pytest.fixture
def warm(_importer):
    """A new Python that the test or the library starts with ``subprocess`` has everything imported already."""
    with warm_popen(_importer) if _importer else nullcontext():
        yield


@pytest.fixture
def run_cli(tmp_path):
    """Run ``python -m ddpm`` as a user does, in an empty folder; returns the completed process, output as text."""

    def run(*arguments, timeout=300) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "ddpm", *map(str, arguments)],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    return run


@pytest.fixture
def cli(capsys, tmp_path, monkeypatch):
    """Run the command line in this process, in an empty folder."""
    from ddpm.cli import main

    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        with pytest.raises(SystemExit) as exit_:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return SimpleNamespace(code=exit_.value.code, out=captured.out, err=captured.err)

    return run


@pytest.fixture
def open_page():
    """Open a page of the app without a browser, as a link to it does: the AppTest after its first run, without an
    exception. Keyword arguments are the link's query."""
    from streamlit.testing.v1 import AppTest

    def opened(path: str, **query: str) -> AppTest:
        app = AppTest.from_file(str(ROOT / "streamlit_app.py"), default_timeout=120)
        for key, value in query.items():
            app.query_params[key] = value
        app = app.run() if path == "streamlit_app.py" else app.switch_page(path).run()
        assert not app.exception
        return app

    return opened


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A Hub on loopback that huggingface_hub talks to, here and in the processes that the test starts; nobody is signed
    in, and the cache is empty."""
    from huggingface_hub import constants, file_download
    from huggingface_hub.utils import _http, close_session

    from tests.hub_server import hub_server

    home = tmp_path / "hf"
    with hub_server() as server:
        environment = {"HF_ENDPOINT": server.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "*",
                       "HF_HUB_DISABLE_TELEMETRY": "1"}  # fmt: skip
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE", "HF_HUB_CACHE"):
            monkeypatch.delenv(name, raising=False)
        # Read when the library is imported, which other tests may have done.
        for name, value in {
            "ENDPOINT": server.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": server.url + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_CACHE": str(home / "hub"),
            "HF_TOKEN_PATH": str(home / "token"),
            "HF_HUB_DISABLE_XET": True,
            "HF_HUB_OFFLINE": False,
        }.items():
            monkeypatch.setattr(constants, name, value)
        # It waits for seconds before it tries again, and so often that a minute passes.
        impatient = SimpleNamespace(**{**vars(time), "sleep": lambda seconds: None})
        for module in (_http, file_download):
            monkeypatch.setattr(module, "time", impatient)
        close_session()
        yield server
        close_session()


@pytest.fixture(scope="session")
def exported_digits(made_once) -> dict[str, bytes]:
    """The network of the model digits as ONNX, by its weights: fp32 and fp16."""
    from ddpm import load_model
    from ddpm.deploy.onnx_file import onnx_bytes
    from tests.exported import keep_exported

    def export(folder: Path) -> None:
        folder.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            keep_exported(patch)
            for weights in ("fp32", "fp16"):
                (folder / weights).write_bytes(onnx_bytes(load_model("digits"), weights))

    return {file.name: file.read_bytes() for file in made_once("digits-onnx", export).iterdir()}


@pytest.fixture(scope="session")
def decode_mp4():
    """Decode MP4 bytes with ffmpeg itself: frames (N, H, W, 3) and the rate in frames per second."""
    import imageio_ffmpeg
    import numpy as np

    def decode(video: bytes):
        options = ["-f", "mp4", "-i", "pipe:", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
        done = subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), *options], input=video, capture_output=True, check=True)
        about = done.stderr.decode()
        assert "yuv420p" in about  # what every browser plays
        width, height = map(int, re.search(r"Video: .*?, (\d+)x(\d+)", about).groups())
        fps = float(re.search(r"([\d.]+) fps", about).group(1))
        return np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3), fps

    return decode


# -- tiny models ---------------------------------------------------------------------------------------------------

TINY = {
    "name": "tiny",
    "data": {"dataset": "digits", "image_size": 8, "val_fraction": 0.1},
    "schedule": {"num_timesteps": 20},
    "diffusion": {"prediction_type": "v"},
    "model": {
        "base_channels": 8,
        "channel_mult": [1, 2],
        "num_res_blocks": 1,
        "attention_resolutions": [4],
        "head_channels": 8,
        "num_classes": 10,
    },
    "training": {
        "epochs": 1,
        "batch_size": 64,
        "learning_rate": 2e-3,
        "warmup_steps": 5,
        "ema_decay": 0.9,
        "precision": "fp32",
        "device": "cpu",
        "log_every": 5,
        "val_every": 10,
        "sample_every": 1000,
    },
    "sampling": {"num_steps": 5, "guidance_scale": 1.5},
}


@pytest.fixture
def tiny_config():
    """Make the config of a tiny 8x8 digit model; keyword arguments change fields: training__epochs=2."""
    from ddpm.config import config_from_dict

    def make(**changes):
        values = copy.deepcopy(TINY)
        for name, value in changes.items():
            *sections, field = name.split("__")
            node = values
            for section in sections:
                node = node.setdefault(section, {})
            node[field] = value
        return config_from_dict(values)

    return make


@pytest.fixture(scope="session")
def few_images():
    """320 training and 64 validation images, 8x8 digits."""
    import torch

    from ddpm.config import DataConfig
    from ddpm.data import load_dataset

    data = DataConfig(dataset="digits", image_size=8, val_fraction=0.1)
    return load_dataset(data, "train")[torch.arange(320)], load_dataset(data, "val")[torch.arange(64)]


@pytest.fixture
def random_model(tiny_config):
    """Make a ``Model`` whose every weight is random, so that no zero-initialised layer hides a branch."""
    import torch

    from ddpm.models import Model
    from ddpm.unet import UNet

    def make(seed: int = 0, scale: float = 0.05, **changes):
        config = tiny_config(**changes)
        torch.manual_seed(seed)
        network = UNet(**config.network_arguments()).eval().requires_grad_(False)
        for parameter in network.parameters():
            parameter.add_(scale * torch.randn_like(parameter))
        return Model(config, network, "random model")

    return make


@pytest.fixture(scope="session")
def _trained_outputs(made_once) -> Path:
    """An outputs folder with one finished run, ``tiny``, trained once for all tests."""
    from ddpm.config import config_from_dict
    from ddpm.files import RunFolder
    from ddpm.training.run import Run

    def train(outputs: Path) -> None:
        with Run(config_from_dict(copy.deepcopy(TINY)), RunFolder(outputs / "tiny")) as run:
            list(run.events())

    return made_once("trained", train)


@pytest.fixture
def tiny_run(_trained_outputs, output_dir) -> Path:
    """The folder of a trained run ``tiny``, a copy of this test's own below DDPM_OUTPUT_DIR."""
    shutil.copytree(_trained_outputs, output_dir)
    return output_dir / "tiny"


@pytest.fixture
def run_without_dataset(tiny_run, monkeypatch) -> Path:
    """The folder of ``tiny``, evaluated with every sampler where its dataset is not to be had."""
    from ddpm.errors import DataError
    from ddpm.evaluation import real_images
    from ddpm.evaluation.evaluate import Protocol, evaluate_to
    from ddpm.models import load_model

    def missing(config, split):
        raise DataError("dataset digits is not here: connect to the network once")

    monkeypatch.setattr(real_images, "load_dataset", missing)
    model = load_model("tiny")
    protocol = Protocol(model.config.sampling, num_samples=12, all_methods=True)
    list(evaluate_to(tiny_run / "logs" / "evaluation_results.json", model, protocol))
    return tiny_run
