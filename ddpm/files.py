"""Where files are stored, and atomic writes: to a temporary name, flushed, then renamed."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

RESULTS = "evaluation_results.json"  # of a run, in its logs; of published weights, beside them


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` to write to; rename it into place when the block succeeds.

    A reader sees the old file or the new one, never a part; a failing block leaves ``path`` untouched. The temporary
    name keeps the suffix, since writers choose their format by it. ``remove_leftovers`` cleans up after killed writers.

    Raises:
        OSError: the disk is full, the folder not writable, ...; it names ``path``.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder, not a file to write", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    except OSError as error:  # it names the temporary file, which means nothing to the user
        raise OSError(error.errno, error.strerror, str(path)) from None
    temporary = Path(name)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)  # while this lock is held, the file is no leftover
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp makes it private to its owner
        os.replace(temporary, path)
    except OSError as error:
        if error.errno is None or error.filename not in (None, name):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None  # a failed write names no file
    finally:
        temporary.unlink(missing_ok=True)
        os.close(handle)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that writers killed inside ``atomic_write`` left in ``folder`` and its subfolders."""
    for path in folder.rglob(".*-????????.*"):
        try:
            with open(path, "rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
        except (BlockingIOError, FileNotFoundError):
            continue  # being written right now, or just renamed into place


def write_text(path: str | Path, text: str) -> None:
    """Write a text file atomically, in UTF-8."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a binary file atomically."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def append_line(path: Path, line: str) -> None:
    """Append a line to a text file; an OSError names ``path``."""
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(line + "\n")
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def user_path(path: str | Path) -> Path:
    """A path from a config, an option or the environment, with a leading ~ expanded."""
    return Path(os.path.expanduser(path))


def data_dir() -> Path:
    """The folder of datasets, in torchvision's layout: $DDPM_DATA_DIR, else ./data."""
    return user_path(os.environ.get("DDPM_DATA_DIR") or "data")


def output_dir() -> Path:
    """The folder of run folders: $DDPM_OUTPUT_DIR, else ./outputs."""
    return user_path(os.environ.get("DDPM_OUTPUT_DIR") or "outputs")


@dataclass(frozen=True)
class RunFolder:
    """The files of one run, ``outputs/<run>/``."""

    path: Path

    @classmethod
    def named(cls, name: str) -> RunFolder:
        return cls(output_dir() / name)

    @classmethod
    def of(cls, weights: Path) -> RunFolder | None:
        """The run that a weights file is a checkpoint of; None for one that is of no run."""
        return cls(weights.parent.parent) if weights.parent.name == "ckpts" else None

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    def keep_config(self, text: str) -> None:
        """Write the config unless it is there already: the age of its file is the age of the run."""
        if not self.config.is_file() or self.config.read_text(encoding="utf-8") != text:
            write_text(self.config, text)

    @property
    def metrics(self) -> Path:
        return self.path / "logs" / "training_metrics.jsonl"

    @property
    def averages(self) -> Path:
        return self.path / "averages"

    @property
    def can_resume(self) -> bool:
        """Whether there is something to continue from: a checkpoint, or what a teacher has drawn so far."""
        return self.checkpoint("latest").is_file() or self.trajectories.is_dir()

    @property
    def trajectories(self) -> Path:
        """The walks of the teacher of a distillation."""
        return self.path / "trajectories"

    @property
    def status(self) -> Path:
        return self.path / "status.json"

    @property
    def lock(self) -> Path:
        """Held by the process that trains the run."""
        return self.path / ".lock"

    @property
    def log(self) -> Path:
        return self.path / "logs" / "train.log"

    def log_tail(self, lines: int) -> str:
        """The last lines that the run printed, "" if it printed none."""
        if not self.log.is_file():
            return ""
        with open(self.log, "rb") as file:
            file.seek(max(0, self.log.stat().st_size - 200 * lines))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])

    @property
    def evaluation(self) -> Path:
        return self.path / "logs" / RESULTS

    @property
    def report(self) -> Path:
        return self.path / "report"

    def checkpoint(self, kind: str) -> Path:
        """kind: latest, best or ema."""
        return self.path / "ckpts" / f"{kind}.pt"

    def grid(self, name: str) -> Path:
        return self.path / "grids" / f"{name}.png"

    def animation(self, name: str) -> Path:
        return self.path / "animations" / name

    def exists(self) -> bool:
        return self.config.is_file()


class EvaluationFolder(RunFolder):
    """A model's folder as its evaluation uses it, with a separate status and log."""

    @property
    def status(self) -> Path:
        return self.path / "logs" / "evaluation_status.json"

    @property
    def log(self) -> Path:
        return self.path / "logs" / "evaluation.log"
