"""Two machines that train one model: network namespaces with a cable between them, in which torchrun runs for real."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest
import torch

from ddpm.config import config_to_yaml
from ddpm.files import RunFolder, write_text
from ddpm.jobs import read_status
from ddpm.training.run import Run
from tests.conftest import ROOT
from tests.test_distributed import errors, records, wait_for_checkpoint

ADDRESSES = ("10.77.0.1", "10.77.0.2")
INSIDE = ("--user", "--net", "--preserve-credentials")


class Host:
    """A network namespace of its own, which ends with the process that holds it."""

    def __init__(self, process: subprocess.Popen):
        self.process = process

    def starts(self, *command: str) -> list[str]:
        return ["nsenter", "--target", str(self.process.pid), *INSIDE, *command]

    def run(self, *command: str) -> None:
        done = subprocess.run(self.starts(*command), capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no network namespaces here: {' '.join(command)}: {done.stderr.strip()}")


def holding(command: list[str]) -> subprocess.Popen:
    """A process that holds a namespace until its input ends, and so also if the tests are killed."""
    hold = ["sh", "-c", "echo there; exec cat"]
    pipe = subprocess.PIPE
    process = subprocess.Popen([*command, *hold], stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    if process.stdout.readline() != "there\n":
        pytest.skip(f"no network namespaces here: {process.communicate()[1].strip()}")
    return process


@pytest.fixture
def hosts() -> Iterator[list[Host]]:
    """Two hosts with a cable between them; skips the test, with the reason, where namespaces are not allowed."""
    for program in ("unshare", "nsenter", "ip"):
        if not shutil.which(program):
            pytest.skip(f"no network namespaces here: there is no program {program}")
    found = []
    try:
        found.append(Host(holding(["unshare", "--map-root-user", "--net"])))
        found.append(Host(holding(found[0].starts("unshare", "--net"))))
        first, second = found
        first.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", str(second.process.pid))
        for host, address in zip(found, ADDRESSES, strict=True):
            host.run("ip", "address", "add", f"{address}/24", "dev", "eth0")
            host.run("ip", "link", "set", "eth0", "up")
            host.run("ip", "link", "set", "lo", "up")
        yield found
    finally:
        for host in found:
            host.process.kill()
            host.process.communicate()


@pytest.fixture
def train_on(tmp_path, hosts):
    """Train a config on both hosts, with one output folder for both; returns torchrun on each."""
    started = []

    def start(config) -> list[subprocess.Popen]:
        file = tmp_path / f"{config.name}.yaml"
        write_text(file, config_to_yaml(config))
        env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "eth0"}
        for rank, host in enumerate(hosts):
            line = [
                sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1",
                "--node-rank", str(rank), "--master-addr", ADDRESSES[0], "--master-port", "29500",
                "-m", "ddpm", "train", "--config", str(file),
            ]  # fmt: skip
            pipe = subprocess.PIPE
            started.append(subprocess.Popen(host.starts(*line), env=env, stdout=pipe, stderr=pipe, text=True))
        return started

    yield start
    for process in started:
        if process.poll() is None:
            process.terminate()
            process.communicate(timeout=60)


@pytest.mark.slow
def test_two_hosts_train_one_model_and_one_goes_on_when_the_process_of_the_other_was_killed(
    tiny_config, output_dir, train_on
):
    config, folder = tiny_config(name="two", training__epochs=4), RunFolder(output_dir / "two")
    first, second = train_on(config)
    wait_for_checkpoint(folder)
    (leader,) = psutil.Process(first.pid).children()
    os.kill(leader.pid, signal.SIGKILL)
    said, complained = first.communicate(timeout=60)
    _, complained_too = second.communicate(timeout=60)
    assert "2 processes" in said
    assert errors(complained) == []  # torchrun alone is left there, and reports in its own way
    assert errors(complained_too) == [
        "error: lost the other processes; --resume continues from the latest checkpoint, if there was one"
    ]
    assert "frame #" not in complained_too, "torch's own stacks"
    assert (first.returncode, second.returncode) == (1, 1)
    step = torch.load(folder.checkpoint("latest"), weights_only=True)["step"]
    assert read_status(folder).state == "crashed"

    torch.set_num_threads(1)
    with Run(config, folder, resume=True) as run:
        assert run.state.step == step
        assert run.status.inexact == ("processes was 2, is 1",)
        list(run.events())
    with Run(tiny_config(name="one", training__epochs=4), RunFolder(output_dir / "one")) as run:
        list(run.events())
    mine, theirs = records(folder), records(RunFolder(output_dir / "one"))
    assert [record["step"] for record in mine] == [record["step"] for record in theirs]
    for ours, other in zip(mine, theirs, strict=True):
        # The same images, noise and timesteps: what differs is the order of summation in float32.
        for name in other.keys() & {"train_loss", "grad_norm", "val_loss", "raw_val_loss"}:
            assert ours[name] == pytest.approx(other[name], rel=1e-3), (name, ours["step"])
