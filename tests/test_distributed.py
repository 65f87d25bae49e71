"""Several processes that train one model: real ones, joined by torchrun over loopback."""

import json
import os
import subprocess
import sys
import time

import psutil
import pytest
import torch

from ddpm.config import config_to_yaml
from ddpm.data import load_dataset
from ddpm.errors import ConfigError
from ddpm.files import RunFolder, write_text
from ddpm.jobs import read_status
from ddpm.training.checkpoint import restore
from ddpm.training.distributed import World
from ddpm.training.loop import TrainState, _train_step, _Window
from ddpm.training.run import Run
from tests.conftest import ROOT

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
LIMITED = """
import resource, sys
from ddpm.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
main(sys.argv[2:])
"""


@pytest.fixture
def torchrun(tmp_path, warm):
    """Start a command line in two processes; ends them after the test. Only torchrun itself begins warm."""
    started = []

    def start(config, *words, command=("-m", "ddpm")) -> subprocess.Popen:
        file = tmp_path / f"{config.name}.yaml"
        write_text(file, config_to_yaml(config))
        line = [*TORCHRUN, *map(str, command), "train", "--config", str(file), *words]
        env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(line, env=env, stdout=pipe, stderr=pipe, text=True, start_new_session=True))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.terminate()  # torchrun passes it on
            process.communicate(timeout=60)


def worker(process: subprocess.Popen, rank: int) -> psutil.Process:
    (found,) = (p for p in psutil.Process(process.pid).children() if p.environ().get("RANK") == str(rank))
    return found


def errors(stderr: str) -> list[str]:
    """What our processes said; torchrun adds a report of its own."""
    assert "torch.distributed.DistBackendError" not in stderr
    return [line for line in stderr.splitlines() if line.startswith(("error:", "interrupted"))]


def wait_for_checkpoint(folder: RunFolder) -> None:
    deadline = time.monotonic() + 90
    while not folder.checkpoint("latest").is_file():
        assert time.monotonic() < deadline, "no checkpoint"
        time.sleep(0.05)


def records(folder: RunFolder) -> list[dict]:
    return [json.loads(line) for line in folder.metrics.read_text(encoding="utf-8").splitlines()]


# -- real processes ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_processes_have_the_learning_curve_of_one_and_one_goes_on_from_their_checkpoint(
    tiny_config, output_dir, torchrun
):
    going = torchrun(tiny_config(name="two", training__track=["tensorboard"]))
    torch.set_num_threads(1)
    with Run(tiny_config(name="one"), RunFolder(output_dir / "one")) as run:
        list(run.events())
    said, complained = going.communicate(timeout=100)
    assert (going.returncode, errors(complained)) == (0, []), complained
    assert said.count("2 processes") == said.count("done in") == 1
    assert len([*(output_dir / "two" / "tensorboard").iterdir()]) == 1, "the leading process alone is tracked"

    one, two = records(RunFolder(output_dir / "one")), records(RunFolder(output_dir / "two"))
    assert [record["step"] for record in two] == [record["step"] for record in one]
    for mine, theirs in zip(two, one, strict=True):
        # The same images, noise and timesteps: what differs is the order of summation in float32, over 21 steps.
        for name in theirs.keys() & {"train_loss", "loss_by_t", "grad_norm", "val_loss", "raw_val_loss"}:
            assert mine[name] == pytest.approx(theirs[name], rel=1e-4), (name, mine["step"])

    longer = tiny_config(name="two", training__epochs=2)
    with Run(longer, RunFolder(output_dir / "two"), resume=True) as run:
        assert "processes was 2, is 1" in run.status.inexact
        assert run.state.step == 21
        list(run.events())
    assert records(RunFolder(output_dir / "two"))[-1]["val_loss"] < two[-1]["val_loss"]


@pytest.mark.slow
def test_a_stop_that_reaches_one_process_ends_both_at_the_same_step(tiny_config, output_dir, torchrun):
    going, folder = torchrun(tiny_config(name="two", training__epochs=500)), RunFolder(output_dir / "two")
    wait_for_checkpoint(folder)
    worker(going, 1).terminate()
    _, complained = going.communicate(timeout=60)
    step = torch.load(folder.checkpoint("latest"), weights_only=True)["step"]
    assert errors(complained) == [f"interrupted; saved at step {step:,}, continue with --resume"]
    assert going.returncode == 1  # torchrun's own, of a process that exited with 130
    assert (read_status(folder).state, read_status(folder).step) == ("stopped", step)


@pytest.mark.slow
def test_a_process_that_is_killed_ends_the_other_in_one_line(tiny_config, output_dir, torchrun):
    going, folder = torchrun(tiny_config(name="two", training__epochs=500)), RunFolder(output_dir / "two")
    wait_for_checkpoint(folder)
    worker(going, 1).kill()
    _, complained = going.communicate(timeout=60)
    (error,) = errors(complained)
    assert error.startswith("error: lost the other processes; --resume continues from the checkpoint of step ")
    assert going.returncode == 1
    assert read_status(folder).state == "failed"
    assert f"error: {read_status(folder).error}" == error


@pytest.mark.slow
def test_an_error_of_the_process_that_writes_is_said_once(tiny_config, output_dir, torchrun, tmp_path):
    (tmp_path / "limited.py").write_text(LIMITED)
    folder = RunFolder(output_dir / "two")
    going = torchrun(tiny_config(name="two"), command=(tmp_path / "limited.py", 100_000))
    _, complained = going.communicate(timeout=100)
    reason = f"{folder.checkpoint('latest')}: File too large"
    assert errors(complained) == [f"error: {reason}"]
    assert going.returncode == 1
    assert (read_status(folder).state, read_status(folder).error) == ("failed", reason)


@pytest.mark.slow
def test_an_error_that_all_have_is_said_once(tiny_config, output_dir, torchrun):
    going = torchrun(tiny_config(name="two"), "--set", "training.batch_size=63")
    _, complained = going.communicate(timeout=100)
    assert errors(complained) == [
        "error: training.batch_size 63 must be divisible by the number of processes, 2: 62 and 64 are"
    ]
    assert going.returncode == 1
    assert not (output_dir / "two").exists()


def test_a_run_continues_by_itself_where_torchrun_restarts_processes(tiny_run, cli, monkeypatch):
    line = ("train", "--config", tiny_run / "config.yaml", "--set", "training.epochs=2")
    assert "holds a run already: continue it with --resume" in cli(*line).err
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    done = cli(*line)
    assert (done.code, records(RunFolder(tiny_run))[-1]["step"]) == (0, 42), done.err


# -- shares --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 5, 64, 1001])
@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_shares_cover_all_images_once_and_evenly(count, size):
    shares = [list(range(count))[World(rank, size).share(count)] for rank in range(size)]
    assert [image for share in shares for image in share] == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_batch_that_cannot_be_shared_names_the_field(tiny_config):
    training = tiny_config(training__batch_size=100).training
    World(size=4).check(training, 1000)
    with pytest.raises(ConfigError, match=r"training.batch_size 100 must be divisible by .* 3: 99 and 102 are"):
        World(size=3).check(training, 1000)
    with pytest.raises(ConfigError, match=r"the 50 training images are one batch, .* the number of processes, 4"):
        World(size=4).check(training, 50)


def test_several_processes_do_not_share_one_gpu(tiny_config):
    assert World(size=2, rank=1, local_rank=1).device("cpu") == torch.device("cpu")
    with pytest.raises(ConfigError, match=r"device 'cuda:0' is not available|training.device cuda:0 is for one"):
        World(size=2).device("cuda:0")


def test_the_shares_of_a_step_are_parts_of_what_one_process_draws_and_their_dropout_differs(tiny_config):
    config = tiny_config(model__dropout=0.5, data__horizontal_flip=True)
    images = load_dataset(config.data, "train")[torch.arange(64)]

    def inputs_and_mask(world: World) -> tuple[list, torch.Tensor]:
        state = TrainState(config, world)
        inputs, masks = [], []
        state.model.register_forward_pre_hook(lambda module, given: inputs.extend(given))
        state.model.middle1.res.dropout.register_forward_hook(lambda module, given, out: masks.append(out == 0))
        _train_step(state, state.model.train(), images, 1e-3, _Window(state.device))
        return inputs, masks[0]

    (whole, _), (first, mask), (second, other_mask) = map(inputs_and_mask, (World(), World(0, 2), World(1, 2)))
    for of_all, of_first, of_second in zip(whole, first, second, strict=True):  # x_t, t, y
        assert torch.equal(of_all, torch.cat([of_first, of_second]))
    assert mask.double().mean() == pytest.approx(0.5, abs=0.05)
    assert (mask == other_mask).double().mean() == pytest.approx(0.5, abs=0.05)


def test_a_checkpoint_from_before_there_were_several_processes_is_one_processs(tiny_config, tmp_path):
    from ddpm.training.checkpoint import save_checkpoint

    state = TrainState(tiny_config())
    save_checkpoint(state, tmp_path / "latest.pt")
    content = torch.load(tmp_path / "latest.pt", weights_only=True)
    del content["made_on"]["processes"]
    torch.save(content, tmp_path / "latest.pt")
    assert restore(TrainState(tiny_config()), tmp_path / "latest.pt") == []
