"""The runs that are there, and what can become of each."""

from __future__ import annotations

from ..config.edit import differences, load_config
from ..config.schema import Config
from ..files import RunFolder, output_dir
from ..jobs import ACTIVE, read_status


def all_runs() -> list[RunFolder]:
    """Every run folder, the newest first."""
    found = [RunFolder(path.parent) for path in output_dir().glob("*/config.yaml")]
    return sorted(found, key=lambda folder: folder.config.stat().st_mtime, reverse=True)


def refusal(folder: RunFolder, resume: bool) -> str | None:
    """Why a run cannot begin in ``folder``, which is not empty, or cannot be resumed, and what to do instead; None if
    it can."""
    status = read_status(folder)
    if status.remote and status.state in ACTIVE:
        return f"run {folder.path.name} is being trained by {status.remote}: stop it first"
    if folder.checkpoint("latest").is_file():
        there = f"{folder.path} holds a run already"
        return None if resume else f"{there}: continue it with --resume or choose another --run"
    if folder.can_resume:
        drawn = f"the teacher of run {folder.path.name} has begun to draw"
        return None if resume else f"{drawn}: continue it with --resume or choose another --run"
    if not folder.exists() and not folder.metrics.exists():
        holds_none = f"{folder.path} holds no run"
        return f"nothing to resume: {holds_none}" if resume else f"{holds_none} and is not empty: choose another --run"
    ended = f"run {folder.path.name} ended before its first checkpoint: {how_to_restart(folder)}"
    return f"nothing to resume: {ended}" if resume else ended


def how_to_restart(folder: RunFolder) -> str:
    return f"delete it (python -m ddpm runs delete {folder.path.name}) or choose another --run"


def is_finished(folder: RunFolder, config: Config) -> bool:
    """Whether a run has taken all the steps that ``config`` asks for, so that there is nothing to resume."""
    if read_status(folder).state != "finished" or not folder.exists():
        return False
    about_images = {"data.path", "data.digest", "data.class_names"}
    return not differences(load_config(folder.config), config).keys() - about_images


def finished_text(folder: RunFolder, config: Config) -> str:
    status, epochs = read_status(folder), config.training.epochs
    at = f"at step {status.step:,} of {status.total_steps:,}"
    return f"run {folder.path.name} is finished, {at}: to train on, --resume it with training.epochs above {epochs:,}"
