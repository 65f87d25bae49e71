"""Runs as jobs: real processes, stopped, killed, queued and resumed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from ddpm import jobs
from ddpm.config import config_to_yaml, load_config
from ddpm.device import THREADS
from ddpm.errors import DataError, ModelError
from ddpm.files import EvaluationFolder, RunFolder, write_text
from ddpm.jobs import Status, process_of, read_status, write_status
from ddpm.training import queue
from ddpm.training.checkpoint import why_inexact
from ddpm.training.run import Run


@pytest.fixture
def slow_config(tiny_config):
    """Steps enough for a process to be caught at, 84 in an epoch, of a network of one level."""

    def make(name="job", **changes):
        network = {"model__channel_mult": [1], "model__attention_resolutions": []}
        training = {"training__batch_size": 16, "training__epochs": 4, "training__val_every": 25}
        return tiny_config(name=name, **network | training | changes)

    return make


@pytest.fixture(autouse=True)
def no_process_outlives_its_test(output_dir, monkeypatch, warm):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", os.getcwd())
    yield
    for path in output_dir.glob("*/status.json"):
        write_status(RunFolder(path.parent), read_status(RunFolder(path.parent)).model_copy(update={"queued_at": None}))
        jobs.kill(RunFolder(path.parent))


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def saved_step(folder) -> int:
    """The step of the latest checkpoint, 0 where there is none."""
    latest = folder.checkpoint("latest")
    return torch.load(latest, weights_only=True)["step"] if latest.is_file() else 0


def trained(config, folder) -> dict:
    with Run(config, folder) as run:
        list(run.events())
    return torch.load(folder.checkpoint("ema"), weights_only=True)


@pytest.mark.slow
def test_a_launched_run_finishes_by_itself(tiny_config, output_dir):
    folder = queue.launch(tiny_config(name="job", training__epochs=2))
    assert read_status(folder).state == "running"
    wait_for(lambda: read_status(folder).state != "running")
    status = read_status(folder)
    assert (status.state, status.step, status.total_steps) == ("finished", 42, 42)
    assert "validation loss" in folder.log.read_text()


@pytest.mark.slow
def test_a_launched_run_leaves_a_core_to_others_and_can_go_on_exactly(tiny_config, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS")
    folder = queue.launch(tiny_config(name="job"))
    wait_for(lambda: read_status(folder).state == "finished")
    made_on = torch.load(folder.checkpoint("latest"), weights_only=True)["made_on"]
    assert made_on["threads"] == jobs.threads_per_run() == max(1, THREADS - 1)
    config = tiny_config(name="job")
    assert why_inexact(folder.checkpoint("latest"), config, jobs.threads_per_run()) == []
    other = jobs.threads_per_run() + 1
    assert why_inexact(folder.checkpoint("latest"), config, other) == [f"threads was {other - 1}, is {other}"]


@pytest.mark.slow
def test_stop_finishes_the_step_and_resume_ends_with_the_same_weights(slow_config, output_dir):
    config = slow_config(training__epochs=3)
    torch.set_num_threads(1)
    whole = trained(config, RunFolder(output_dir / "whole"))
    folder = queue.launch(config)
    wait_for(lambda: read_status(folder).step > 30)
    queue.stop(folder)
    wait_for(lambda: read_status(folder).state == "stopped")
    at = read_status(folder).step
    assert torch.load(folder.checkpoint("latest"), weights_only=True)["step"] == at < 252
    queue.launch(config, resume=True)
    wait_for(lambda: read_status(folder).state == "finished")
    assert read_status(folder).inexact == ()
    resumed = torch.load(folder.checkpoint("ema"), weights_only=True)
    assert all(torch.equal(resumed["ema"][name], value) for name, value in whole["ema"].items())


def many_kills() -> int:
    """DDPM_KILLS=20 asks for that many, on the shipped preset instead of the tiny model."""
    return int(os.environ.get("DDPM_KILLS", "0"))


def kill_at_random(folder, chance) -> None:
    wait_for(lambda: read_status(folder).step)
    time.sleep(chance.uniform(0, 1))
    if process := process_of(read_status(folder)):
        process.kill()
        process.wait(10)


def kill_while_writing(folder) -> bool:
    """Kill the run as soon as it writes a checkpoint; whether it was still at it."""
    process = process_of(read_status(folder))
    ckpts = folder.checkpoint("latest").parent

    def writing() -> list:
        return list(ckpts.glob(".latest-*"))

    deadline = time.monotonic() + 120
    while not writing():  # a few milliseconds long, so there is no time to sleep
        assert time.monotonic() < deadline, "waited in vain"
    process.kill()
    process.wait(10)
    return bool(writing())


@pytest.mark.slow
def test_a_run_killed_at_random_moments_and_while_it_writes_ends_with_the_same_weights(slow_config, output_dir):
    config, kills = slow_config(), many_kills() or 2
    if many_kills():
        preset = Path(__file__).parent.parent / "configs" / "digits.yaml"
        config = load_config(preset, ["training.val_every=40", "training.log_every=7", "training.sample_every=100000"])
    torch.set_num_threads(1)
    whole, chance, halves = RunFolder(output_dir / "whole"), random.Random(0), 0
    weights = trained(config, whole)
    folder = queue.launch(config)
    for number in range(kills):
        # Progress is assured: every life of the run leaves a checkpoint later than the one it began with.
        started = saved_step(folder)
        wait_for(lambda: read_status(folder).state == "running")
        wait_for(lambda at=started: saved_step(folder) > at, 300)
        if number % 2 == 0:
            halves += kill_while_writing(folder)
        else:
            kill_at_random(folder, chance)
        assert read_status(folder).state == "crashed", "the kill came too late to count"
        queue.launch(config, resume=True)
    assert halves, "no kill hit a checkpoint that was being written"
    wait_for(lambda: read_status(folder).state != "running", 600)
    assert (read_status(folder).state, read_status(folder).inexact) == ("finished", ())
    resumed = torch.load(folder.checkpoint("ema"), weights_only=True)
    assert all(torch.equal(resumed["ema"][name], value) for name, value in weights["ema"].items())
    assert not list(folder.path.rglob(".*-????????.*"))

    def figures(run) -> list[tuple]:
        names = ("step", "train_loss", "learning_rate", "grad_norm", "val_loss", "raw_val_loss", "is_best")
        records = map(json.loads, run.metrics.read_text().splitlines())
        return [tuple(record.get(name) for name in names) for record in records]

    assert figures(folder) == figures(whole)


@pytest.mark.slow
def test_a_second_run_waits_in_the_queue_until_the_first_ends(slow_config, tiny_config):
    first, second = queue.launch(slow_config("first")), queue.launch(tiny_config(name="second"))
    assert [read_status(run).state for run in (first, second)] == ["running", "queued"]
    wait_for(lambda: read_status(first).step)
    queue.stop(first)
    wait_for(lambda: read_status(second).state == "finished")
    assert read_status(first).state == "stopped"


def test_a_queued_run_can_be_stopped_and_a_going_one_not_deleted(slow_config, tiny_config):
    first, second = queue.launch(slow_config("first")), queue.launch(tiny_config(name="second"))
    queue.stop(second)
    assert read_status(second).state == "stopped"
    with pytest.raises(ModelError, match="first is running: stop it first"):
        queue.delete(first)
    queue.delete(second)
    assert not second.path.exists()


def test_a_process_that_got_the_same_id_is_not_taken_for_the_run(output_dir):
    folder, bystander = (
        RunFolder(output_dir / "old"),
        subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE),
    )
    try:
        born = psutil.Process(bystander.pid).create_time()
        write_status(folder, Status(state="running", pid=bystander.pid, process_started=born - 100))
        assert read_status(folder).state == "crashed"
        jobs.kill(folder)
        queue.stop(folder)
        assert bystander.poll() is None
    finally:
        bystander.communicate(b"\n")


class Ended(psutil.Process):
    """This process, which no signal reaches, as one that ends between the look at it and the signal."""

    def send_signal(self, number):
        pass

    def wait(self, timeout=None):
        return None


@pytest.mark.parametrize("end", [queue.stop, jobs.kill])
def test_a_process_that_has_just_ended_by_itself_needs_no_signal(end, output_dir, monkeypatch):
    folder, me = EvaluationFolder(output_dir / "x"), Ended()
    write_status(folder, Status(state="running", pid=me.pid, process_started=me.create_time()))
    for module in (jobs, queue):  # else the signal would reach this process
        monkeypatch.setattr(module, "process_of", lambda status: me)

    def finish(*_):
        write_status(folder, Status(state="finished", step=7))
        raise psutil.NoSuchProcess(me.pid)

    monkeypatch.setattr(Ended, "send_signal", finish)
    end(folder)
    assert (read_status(folder).state, read_status(folder).step) == ("finished", 7)


def test_a_process_that_does_not_end_or_is_somebody_elses_is_said_to(output_dir, monkeypatch):
    folder, me = RunFolder(output_dir / "x"), Ended()
    for module in (jobs, queue):  # else the signal would reach this process
        monkeypatch.setattr(module, "process_of", lambda status: me)

    def fail(error):
        def raising(*_):
            raise error

        return raising

    monkeypatch.setattr(Ended, "wait", fail(psutil.TimeoutExpired(10, me.pid)))
    with pytest.raises(ModelError, match=f"process {me.pid} was killed and has not ended after 10 s"):
        jobs.kill(folder)
    monkeypatch.setattr(Ended, "send_signal", fail(psutil.AccessDenied(me.pid)))
    for end in (queue.stop, jobs.kill):
        with pytest.raises(ModelError, match=f"process {me.pid} belongs to another user"):
            end(folder)


def test_a_run_that_finishes_while_its_status_is_read_has_not_crashed(output_dir, monkeypatch):
    folder = RunFolder(output_dir / "x")
    write_status(folder, Status(state="running", pid=1, process_started=1.0))

    def ends(status):
        write_status(folder, Status(state="finished"))

    monkeypatch.setattr(jobs, "process_of", ends)
    assert read_status(folder).state == "finished"


def test_a_folder_that_is_not_there_is_refused_before_the_name_is_taken(tiny_config, output_dir):
    config = tiny_config(data__dataset="folder", data__path="nowhere", model__num_classes=0)
    with pytest.raises(DataError, match=r"data\.path .*/nowhere is not a folder"):
        queue.launch(config)
    assert not (output_dir / "tiny").exists()


@pytest.mark.slow
def test_two_processes_do_not_train_one_run(slow_config, output_dir, tiny_config):
    folder = queue.launch(slow_config())
    wait_for(lambda: folder.checkpoint("latest").is_file())
    with pytest.raises(ModelError, match=rf"is being trained by process {read_status(folder).pid}"):
        Run(slow_config(), folder, resume=True).__enter__()
    with pytest.raises(ModelError, match="is running already"):
        queue.launch(slow_config(), resume=True)
    assert read_status(folder).state == "running"


@pytest.mark.slow
def test_a_changed_network_is_refused_and_a_changed_rate_is_not_exact(tiny_run, tiny_config):
    folder = RunFolder(tiny_run)
    with pytest.raises(
        ModelError, match=r"model.base_channels was 8 when .* is 16 now: set it back, or start a new run"
    ):
        Run(tiny_config(model__base_channels=16), folder, resume=True).__enter__()
    with Run(tiny_config(training__learning_rate=1e-4), folder, resume=True) as run:
        assert "training.learning_rate has changed" in run.status.inexact


def test_a_damaged_status_is_said_to_be(output_dir, tiny_config):
    folder = RunFolder(output_dir / "x")
    write_text(folder.config, config_to_yaml(tiny_config()))
    write_text(folder.status, "{")
    assert "status.json is damaged" in read_status(folder).error


@pytest.mark.slow
def test_ctrl_c_finishes_the_step_and_exits_with_130(slow_config, output_dir):
    config = slow_config()
    write_text(output_dir / "job.yaml", config_to_yaml(config))
    command = [sys.executable, "-m", "ddpm", "train", "--config", str(output_dir / "job.yaml")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    folder = RunFolder(output_dir / "job")
    wait_for(lambda: read_status(folder).step)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "continue with --resume" in said
    assert read_status(folder).state == "stopped"
