"""Models on the Hub: pushed, pulled, sampled to the bit, and hostile ones refused with memory flat."""

import json
import os
import pickle
import re
import struct
import subprocess
import sys
import zipfile

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file

from ddpm.config import load_config
from ddpm.errors import DDPMError
from ddpm.evaluation.results import find_results, folder_of, read_results
from ddpm.files import RESULTS, file_sha256
from ddpm.media.model_card import write_model_folder
from ddpm.models import load_model
from ddpm.sampling import generate
from ddpm.storage.layouts import CONFIG, WEIGHTS
from ddpm.storage.places import hub_models, pinned, resolve
from tests.conftest import ROOT
from tests.hub_server import TOKEN, Fault


def published(hub, folder, name="me/tiny") -> str:
    """Put a folder's files on the Hub as they are; returns the reference to their commit."""
    return f"hf://{name}@{hub.add(name, {path.name: path.read_bytes() for path in folder.iterdir()})}"


@pytest.fixture
def exported(tiny_run, tmp_path):
    load_model("run:tiny").save(tmp_path / "export")
    return tmp_path / "export"


# -- push and pull -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_what_is_pushed_and_pulled_samples_to_the_bit_like_the_original(
    hub, run_without_dataset, run_cli, monkeypatch, warm
):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    pushed = run_cli("push", "--model", "run:tiny", "me/tiny", "--private", "--license", "mit")
    assert pushed.returncode == 0, pushed.stderr
    url, reference = pushed.stdout.split()
    assert url == f"{hub.url}/me/tiny"
    repo = hub.repos["me/tiny"]
    assert repo.private
    assert reference == f"hf://me/tiny@{[*repo.commits][-1]}"
    files = repo.commits[[*repo.commits][-1]]
    for name in (WEIGHTS, CONFIG, RESULTS, "README.md", "samples.png"):
        assert f"  {name}  {len(files[name]):,} bytes\n" in pushed.stderr
    assert b"/tmp" not in files[RESULTS] + files["README.md"] + files[CONFIG]

    pulled = run_cli("pull", "hf://me/tiny", "--out", "plain")
    assert pulled.returncode == 0, pulled.stderr
    assert pulled.stdout == "plain\n"
    assert "hf://me/tiny@" in pulled.stderr
    hub.faults.append(Fault("", 500))  # from here on it is all on this machine
    original, ours = load_model("run:tiny"), load_model(reference)
    assert ours.config == original.config
    assert ours.source == reference[:-33]  # seven digits of the commit
    assert torch.equal(generate(ours, 4, labels=[1, 2], seed=3), generate(original, 4, labels=[1, 2], seed=3))
    assert hub_models() == [reference]
    grids = [run_cli("sample", "grid", "--model", model, "--num-samples", 4, "--out", f"{k}.png")
             for k, model in enumerate((reference, "plain"))]  # fmt: skip
    assert [grid.returncode for grid in grids] == [0, 0], grids[0].stderr
    folder = run_without_dataset.parents[1]
    assert (folder / "0.png").read_bytes() == (folder / "1.png").read_bytes()
    assert TOKEN not in pushed.stdout + pushed.stderr + pulled.stdout + pulled.stderr

    # Its evaluation came with it, and a new one does not go where another model of its name has its own.
    assert find_results(ours).keys() == read_results(run_without_dataset / "logs" / RESULTS).keys()
    assert folder_of(ours).path.name == "model-me--tiny"


@pytest.mark.slow
def test_push_and_pull_say_in_one_line_what_is_wrong(hub, tiny_run, run_cli, monkeypatch, warm):
    def fault(*arguments) -> str:
        done = run_cli(*arguments)
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1, done.stderr
        return done.stderr

    assert "needs a token with write access: set HF_TOKEN" in fault("push", "--model", "run:tiny", "me/tiny")
    assert "did you mean 'run:tiny'" in fault("push", "--model", "run:tinny", "me/tiny")
    monkeypatch.setenv("HF_TOKEN", "hf_wrongwrongwrong")
    assert "there is no me/none, or it is private" in fault("pull", "hf://me/none")
    assert hub.requests == ["GET /api/models/me/none"]


@pytest.mark.slow
def test_a_branch_means_one_commit_for_the_whole_of_a_command(hub, exported):
    first = published(hub, exported)
    assert pinned("hf://me/tiny") == first
    (exported / "README.md").write_text("new")
    second = published(hub, exported)
    assert pinned("hf://me/tiny") == second != first
    assert pinned("run:tiny") == "run:tiny"
    hub.requests.clear()
    assert pinned(first) == first
    assert resolve(first).folder.name == first[-40:]
    assert hub.requests == []
    assert set(hub_models()) == {first, second}


def test_only_the_files_that_are_read_are_fetched(hub, exported):
    (exported / "pytorch_model.bin").write_bytes(pickle.dumps("never"))
    (exported / "modeling.py").write_text("raise SystemExit")
    assert {path.name for path in resolve(published(hub, exported)).folder.iterdir()} == {WEIGHTS, CONFIG}


# -- the card ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_card_tells_what_ran(run_without_dataset, tmp_path):
    files = write_model_folder("run:tiny", tmp_path / "card", "me/tiny", "mit")
    assert {path.name for path in files} >= {"README.md", "samples.png", WEIGHTS, CONFIG, RESULTS}
    card, model = ModelCard.load(tmp_path / "card" / "README.md"), load_model("run:tiny")
    assert card.data.license == "mit"
    assert card.data.library_name == "ddpm-lab"
    parameters = sum(parameter.numel() for parameter in model.network.parameters())
    results = read_results(tmp_path / "card" / RESULTS)
    assert results["made_by"]["sha256"] == file_sha256(tmp_path / "card" / WEIGHTS)
    for told in (
        f"{parameters / 1e6:.2f} M parameters", 'ddpm.load_model("hf://me/tiny")', "ddpm.sample(model, 16, labels=[3]",
        "DDIM, 20 steps, guidance 1.5, seed 0", file_sha256(tmp_path / "card" / WEIGHTS), "### Calibration",
        "## Intended use and limits", "base_channels: 8", "scikit-learn"[1:],
    ):  # fmt: skip
        assert told in card.text, told
    listed = {metric.metric_type: metric.metric_value for metric in card.data.eval_results}
    stage = results["ddim_5steps"]
    assert listed["pixel_diversity"] == pytest.approx(stage["pixel_diversity"], abs=1e-6)
    assert f"{stage['pixel_diversity']:.3g}" in card.text


@pytest.mark.slow
def test_a_model_that_was_not_evaluated_says_how_to(tiny_run, tmp_path):
    files = write_model_folder("run:tiny", tmp_path / "card", "me/tiny")
    assert RESULTS not in {path.name for path in files}
    card = ModelCard.load(tmp_path / "card" / "README.md")
    assert "It has not been evaluated yet; `python -m ddpm eval --model hf://me/tiny` does it." in card.text
    assert card.data.license is None
    assert "None was chosen" in card.text


@pytest.mark.slow
def test_the_place_of_a_folder_of_images_is_not_published(tiny_config, tiny_run, tmp_path):
    from ddpm.models import Model
    from ddpm.storage.weights import write_safetensors
    from ddpm.unet import UNet

    config = tiny_config(data__dataset="folder", data__path="/home/somebody/pictures/cats")
    model = Model(config, UNet(**config.network_arguments()), "x")
    write_safetensors(model.network, tmp_path / "m" / WEIGHTS)
    (tmp_path / "m" / CONFIG).write_text(yaml.safe_dump(config.model_dump(mode="json", exclude_none=True)))
    write_model_folder(str(tmp_path / "m"), tmp_path / "card", "me/cats")
    assert load_config(tmp_path / "card" / CONFIG).data.path == "cats"
    assert "somebody" not in (tmp_path / "card" / "README.md").read_text()


# -- hostile models ------------------------------------------------------------------------------------------------


def change_tensors(change):
    def changed(folder):
        weights = load_file(folder / WEIGHTS)
        change(weights)
        save_file(weights, folder / WEIGHTS)

    return changed


def change_config(**fields):
    def changed(folder):
        values = yaml.safe_load((folder / CONFIG).read_text())
        values["model"] |= fields
        (folder / CONFIG).write_text(yaml.safe_dump(values))

    return changed


def header(content: bytes, length: int | None = None, rest: int = 0):
    def written(folder):
        (folder / WEIGHTS).write_bytes(
            struct.pack("<Q", len(content) if length is None else length) + content + bytes(rest)
        )

    return written


def claim(shape, end):
    """A header that has one tensor of the model's claim something else."""

    def changed(folder):
        content = (folder / WEIGHTS).read_bytes()
        length = struct.unpack("<Q", content[:8])[0]
        claimed = json.loads(content[8 : 8 + length])
        claimed["conv_in.weight"] |= {"shape": shape, "data_offsets": [0, end]}
        text = json.dumps(claimed).encode()
        (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])

    return changed


def zip_bomb(folder):
    with zipfile.ZipFile(folder / WEIGHTS, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.pkl", bytes(100_000_000))


def bomb_of_aliases(folder):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10)}]" for k in range(1, 9)]
    (folder / CONFIG).write_text("\n".join([*lines, "model: *a8"]))


HOSTILE = {
    "pickle": (
        lambda folder: (folder / WEIGHTS).write_bytes(pickle.dumps(["x"] * 1000)),
        r"no safetensors file: it begins with a header of [\d,]+ bytes, at most 1,000,000 are read",
    ),
    "zip bomb": (zip_bomb, r"no safetensors file: it begins with a header of [\d,]+ bytes"),
    "huge header": (header(b"", 2**62), r"begins with a header of 4,611,686,018,427,387,904 bytes"),
    "large header": (header(b" " * 900_000, 4_000_000_000), r"begins with a header of 4,000,000,000 bytes"),
    "nested header": (header(b"[" * 900_000), r"no safetensors file: .*invalid JSON in header"),
    "no header": (header(b"[1, 2]"), r"no safetensors file: .*invalid JSON in header"),
    "empty": (lambda folder: (folder / WEIGHTS).write_bytes(b""), r"no safetensors file: .*header too small"),
    "short": (claim([8, 1, 3, 3], 10**12), r"no safetensors file: .*invalid offset for tensor `conv_in.weight`"),
    "overlong shape": (claim([2**40, 2**40], 288), r"no safetensors file: .*overflow"),
    "wrong shape": (
        change_tensors(lambda w: w.update({"conv_in.bias": torch.zeros(9)})),
        r"does not fit its config: conv_in.bias is \(9,\), not \(8,\)",
    ),
    "extra tensor": (
        change_tensors(lambda w: w.update(extra=torch.zeros(3))),
        r"does not fit its config: extra is not in the network",
    ),
    "extra tensor of a hostile name": (
        change_tensors(lambda w: w.update({"a\nb\x1b[31m" * 100: torch.zeros(3)})),
        r"does not fit its config: a b.{0,200} is not in the network",
    ),
    "missing tensor": (
        change_tensors(lambda w: w.pop("conv_in.bias")),
        r"does not fit its config: conv_in.bias is missing",
    ),
    "wrong dtype": (
        change_tensors(lambda w: w.update({"conv_in.bias": w["conv_in.bias"].half()})),
        r"does not fit its config: conv_in.bias is F16, not F32",
    ),
    "not finite": (
        change_tensors(lambda w: w["conv_in.bias"].fill_(torch.nan)),
        r"is damaged: conv_in.bias holds values that are not finite",
    ),
    "wide config": (change_config(base_channels=512, channel_mult=[8, 16]), r"does not fit its config"),
    "deep config": (change_config(base_channels=512, channel_mult=[16] * 2, num_res_blocks=8), r"does not fit"),
    "enormous channels": (change_config(channel_mult=[1, 10**9]), r"channel_mult: must leave every level at most 8,1"),
    "endless channels": (change_config(base_channels=10**400), r"model.base_channels: .*, got 1000"),
    "endless hexadecimal": (
        lambda folder: (folder / CONFIG).write_text("model:\n  base_channels: 0x" + "f" * 50_000),
        r"base_channels: .*got a number with too many digits",
    ),
    "aliases": (bomb_of_aliases, r"not valid YAML: write out what \*a0 means"),
    "huge config": (
        lambda folder: (folder / CONFIG).write_text("# " + "x" * 50_000_000),
        r"has (more than 64,000|50,000,002) bytes",
    ),
    "many faults": (
        lambda folder: (folder / CONFIG).write_text("\n".join(f"key{k}: 1" for k in range(1000))),
        r"unknown key 'key0': .* \(and 999 more faults\)",
    ),
}


@pytest.fixture(scope="module")
def sound(_trained_outputs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound")
    load_model(str(_trained_outputs / "tiny")).save(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def hostile(sound, tmp_path):
    """Make the folder of a hostile model."""

    def make(name):
        folder = tmp_path / name
        folder.mkdir()
        for file, content in sound.items():
            (folder / file).write_bytes(content)
        HOSTILE[name][0](folder)
        return folder

    return make


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_model_is_refused_in_one_line(hostile, name):
    with pytest.raises(DDPMError) as caught:
        load_model(str(hostile(name)))
    text = str(caught.value)
    assert re.search(HOSTILE[name][1], text), text
    assert "\n" not in text
    assert len(text) < 1000


LOADING = """
import re, sys
from pathlib import Path
from ddpm.errors import DDPMError
from ddpm.models import load_model

def peak():  # MB; getrusage would begin with that of the process that started this one
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

load_model(sys.argv[1])
before = peak()
for reference in sys.argv[2:]:
    try:
        load_model(reference)
    except DDPMError:
        print(reference, peak() - before)
large = bytes(b"x" * 200_000_000)
print("a large object", peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="memory is measured as Linux tells it")
def test_memory_stays_flat_while_hostile_models_are_refused(hub, hostile, sound, tmp_path):
    (tmp_path / "good").mkdir()
    for file, content in sound.items():
        (tmp_path / "good" / file).write_bytes(content)
    folders = [hostile(name) for name in HOSTILE]
    good = published(hub, tmp_path / "good", "me/good")
    on_hub = [published(hub, folder, f"me/h{k}") for k, folder in enumerate(folders)]
    done = subprocess.run(
        [sys.executable, "-c", LOADING, good, *map(str, folders), *on_hub],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *grown, control = [float(line.rsplit(" ", 1)[1]) for line in done.stdout.splitlines()]
    assert len(grown) == 2 * len(HOSTILE), done.stdout + done.stderr
    assert max(grown) < 20, done.stdout  # the models that they claim to be take terabytes
    assert control > 150


@pytest.mark.slow
def test_a_hub_model_is_refused_before_more_is_downloaded_than_its_network_has(hub, hostile):
    folder = hostile("wrong shape")
    (folder / WEIGHTS).write_bytes(bytes(30_000_000))
    with pytest.raises(DDPMError, match=r"model.safetensors of .* has 30,000,000 bytes, more than the 1,"):
        load_model(published(hub, folder))
    assert not any(WEIGHTS in asked for asked in hub.requests)


def test_an_evaluation_that_is_no_evaluation_is_not_taken(hub, exported):
    (exported / RESULTS).write_text("[" * 100_000)
    reference = published(hub, exported)
    with pytest.raises(DDPMError, match="cannot be read as an evaluation"):
        find_results(load_model(reference))
