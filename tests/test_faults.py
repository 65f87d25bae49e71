"""What goes wrong on real machines, by its real cause, in a process of its own; and what it leaves behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ddpm.config import config_to_yaml
from ddpm.files import RunFolder, append_line, remove_leftovers, write_text
from ddpm.jobs import read_status
from ddpm.training.run import Run
from tests.conftest import ROOT

# Everything that takes memory or files for itself is imported before the limit holds.
LIMITED = """
import resource, sys
import psutil, sklearn.datasets, torch
from ddpm.cli import main
import ddpm.training.queue
torch.optim.AdamW(torch.nn.Conv2d(8, 8, 3).parameters(), fused=True)
limit, spare = sys.argv[1], int(sys.argv[2])
held = psutil.Process().memory_info().vms if limit == "RLIMIT_AS" else 0
resource.setrlimit(getattr(resource, limit), (held + spare, resource.RLIM_INFINITY))
main(sys.argv[3:])
"""


@pytest.fixture
def limited(tmp_path, warm):
    """Run a command line in a process that may have only so many bytes of memory more, or in a file."""

    def run(limit: str, spare: int, *arguments) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-c", LIMITED, limit, str(spare), *map(str, arguments)],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


@pytest.fixture
def begun(tiny_config, output_dir):
    """Train until step 15, checkpoint at 10, in a folder of that name: config file, run folder."""

    def begin(name="job", **changes) -> tuple[Path, RunFolder]:
        torch.set_num_threads(1)
        config = tiny_config(name=name, training__epochs=2, training__sample_every=20, **changes)
        file, folder = output_dir.parent / f"{name}.yaml", RunFolder(output_dir / name)
        write_text(file, config_to_yaml(config))
        with Run(config, folder) as run:
            for event in run.events():
                if event.step > 10:
                    break
        return file, folder

    return begin


def uninterrupted_weights(config_file, output_dir) -> dict:
    from ddpm.config import load_config

    folder = RunFolder(output_dir / "whole")
    with Run(load_config(config_file), folder) as run:
        list(run.events())
    return torch.load(folder.checkpoint("latest"), weights_only=True)


def assert_same_training(one: dict, other: dict) -> None:
    for part in ("model", "ema"):
        assert all(torch.equal(value, other[part][name]) for name, value in one[part].items())


def temporaries(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".*") if path.name != ".lock"]


def assert_failed_in_one_line(done: subprocess.CompletedProcess, line: str) -> None:
    assert done.returncode == 1
    said = [said for said in done.stderr.splitlines() if not said.startswith("warning: schedule.")]  # T is 20 here
    assert said == [f"error: {line}"]


# -- no room for a file --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_checkpoint_that_does_not_fit_leaves_the_last_one_and_the_resume_is_exact(begun, limited, output_dir):
    file, folder = begun()
    kept = folder.checkpoint("latest").read_bytes()
    done = limited("RLIMIT_FSIZE", len(kept) // 2, "train", "--config", file, "--resume")
    reason = f"{folder.checkpoint('latest')}: File too large"
    assert_failed_in_one_line(done, reason)
    assert (read_status(folder).state, read_status(folder).error) == ("failed", reason)
    assert folder.checkpoint("latest").read_bytes() == kept
    assert temporaries(folder.path) == []

    done = limited("RLIMIT_FSIZE", 1 << 40, "train", "--config", file, "--resume")
    assert (done.returncode, done.stderr, read_status(folder).inexact) == (0, "", ())
    resumed = torch.load(folder.checkpoint("latest"), weights_only=True)
    assert_same_training(resumed, uninterrupted_weights(file, output_dir))


@pytest.mark.slow
def test_a_full_disk_is_named_as_such_even_where_no_status_fits_any_more(begun, limited, output_dir):
    disk = output_dir / "full"
    disk.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("no file system of limited size: mount needs root")
    try:
        file, folder = begun("full")
        kept = folder.checkpoint("latest").read_bytes()
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        (disk / "ballast").write_bytes(bytes(free - len(kept) // 2))
        done = limited("RLIMIT_FSIZE", 1 << 40, "train", "--config", file, "--resume")
        assert_failed_in_one_line(done, f"{folder.checkpoint('latest')}: No space left on device")
        assert folder.checkpoint("latest").read_bytes() == kept
        assert temporaries(folder.path) == []
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_record_that_does_not_fit_names_its_file():
    with pytest.raises(OSError, match=r"No space left on device: '/dev/full'"):
        append_line(Path("/dev/full"), "{}")


@pytest.mark.slow
@pytest.mark.parametrize("place", ["below a file", "not writable"])
def test_an_outputs_folder_that_cannot_be_written_is_one_line(begun, limited, tmp_path, monkeypatch, place):
    file, _ = begun()
    if place == "below a file":
        (tmp_path / "file").write_text("")
        outputs, reason = tmp_path / "file", "Not a directory"
    elif os.geteuid() == 0:  # permissions do not bind root, but nobody makes folders in /proc
        outputs, reason = Path("/proc/outputs"), "No such file or directory"
    else:
        outputs, reason = tmp_path / "locked", "Permission denied"
        outputs.mkdir(mode=0o555)
    monkeypatch.setenv("DDPM_OUTPUT_DIR", str(outputs))
    done = limited("RLIMIT_FSIZE", 1 << 40, "train", "--config", file)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {outputs}")
    assert done.stderr.endswith(f": {reason}\n")
    assert done.stderr.count("\n") == 1


# -- no room in memory ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_out_of_memory_names_the_batch_size_and_keeps_the_checkpoint(begun, limited):
    file, folder = begun()
    kept = folder.checkpoint("latest").read_bytes()
    more = ("--set", "training.batch_size=1024", "--set", "training.epochs=100")
    done = limited("RLIMIT_AS", 100 << 20, "train", "--config", file, "--resume", *more)
    reason = "out of memory at step 10: lower training.batch_size (now 1024) or model.base_channels; "
    assert_failed_in_one_line(done, reason + "--resume continues from the checkpoint of step 10")
    assert read_status(folder).state == "failed"
    assert read_status(folder).error.startswith(reason)
    assert folder.checkpoint("latest").read_bytes() == kept


@pytest.mark.slow
@pytest.mark.parametrize("resume", [False, True])
def test_out_of_memory_while_the_network_is_built_names_its_width(begun, limited, resume, output_dir):
    file, folder = begun()
    kept = folder.checkpoint("latest").read_bytes()
    way = ("--resume",) if resume else ("--run", "wide")
    done = limited("RLIMIT_AS", 300 << 20, "train", "--config", file, *way, "--set", "model.base_channels=512")
    reason = "out of memory while the network was built: lower model.base_channels (now 512)"
    assert_failed_in_one_line(done, reason)
    assert folder.checkpoint("latest").read_bytes() == kept
    assert not (output_dir / "wide").exists()


# -- killed while it wrote -----------------------------------------------------------------------------------------

HALF_A_FILE = """
import sys, time
from ddpm.files import atomic_write
with atomic_write(sys.argv[1]) as temporary, open(temporary, "wb") as file:
    file.write(bytes(1000))
    file.flush()
    print(temporary, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def half_written(warm):
    """Start a process that stops half-way through a file: the process, and its temporary file."""
    processes = []

    def start(path: Path) -> tuple[subprocess.Popen, Path]:
        command, env = [sys.executable, "-c", HALF_A_FILE, str(path)], os.environ | {"PYTHONPATH": str(ROOT)}
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env))
        return processes[-1], Path(processes[-1].stdout.readline().strip())

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_what_a_writer_leaves_that_was_killed_is_removed_by_the_next_run(begun, half_written, limited):
    file, folder = begun()
    kept = folder.checkpoint("latest").read_bytes()
    leftovers = []
    for path in (folder.checkpoint("latest"), folder.status):
        writer, temporary = half_written(path)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        leftovers.append(temporary)
    assert [path.stat().st_size for path in leftovers] == [1000, 1000]
    assert folder.checkpoint("latest").read_bytes() == kept
    done = limited("RLIMIT_FSIZE", 1 << 40, "train", "--config", file, "--resume")
    assert (done.returncode, done.stderr) == (0, "")
    assert temporaries(folder.path) == []


@pytest.mark.slow
def test_what_a_living_writer_has_in_hand_is_no_leftover(tmp_path, half_written):
    writer, temporary = half_written(tmp_path / "status.json")
    remove_leftovers(tmp_path)
    assert temporary.stat().st_size == 1000
    writer.kill()
    writer.wait()
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []
