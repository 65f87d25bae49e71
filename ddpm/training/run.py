"""Training a run: its state is on disk, in the run's folder.

The process that trains a run locks it, keeps ``status.json`` up to date, and records every event before passing it on.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

import psutil
import torch

from ..config.edit import config_to_yaml
from ..config.schema import Config
from ..errors import DDPMError, ModelError
from ..files import RunFolder, append_line, remove_leftovers, write_bytes, write_text
from ..image_folder.manifest import MANIFEST
from ..image_folder.reading import Tell
from ..jobs import STATUS_SECONDS, read_status, write_status
from .checkpoint import restore, save_checkpoint, save_ema
from .distributed import World, lost_others
from .events import Event, Progress, SnapshotDue, Stopped, Validated
from .identity import Opened, open_data
from .loop import TrainState, check_labels, train
from .objective import Images
from .runs import how_to_restart, refusal
from .snapshots import forget_after, save_snapshot
from .start import start_from
from .teacher import teacher_of, trajectories_of
from .trackers import Begun, Trackers, check_installed


class Run:
    """A run that this process trains: use it as a context manager, and iterate over ``events``.

    Raises:
        ModelError: the folder holds a run already, there is nothing to resume, or another process trains it.
        ConfigError, DataError: the config or its dataset cannot be used. Nothing is written then.
    """

    def __init__(
        self,
        config: Config,
        folder: RunFolder,
        *,
        resume: bool = False,
        accept_changed_data: bool = False,
        data: tuple[Images, Images] | None = None,
        world: World | None = None,
        track: bool = True,
        tell: Tell = lambda doing: None,
    ):
        """``data`` are training and validation images, by default those that the config names.

        All processes of ``world`` make the same ``Run``; only the leading one locks, writes and, unless ``track`` is
        off, reports to the trackers of the config. ``tell`` is called with what is happening before the first step, and
        can stop it by raising.
        """
        self.config, self.folder, self.resume, self._data = config, folder, resume, data
        self.accept_changed_data, self.world, self.tell = accept_changed_data, world or World(), tell
        self._track = config.training.track if track and self.world.leads else ()
        self.saved: int | None = None  # the step of the latest checkpoint, known to the leading process

    def __enter__(self) -> Run:
        try:
            return self._enter()
        except BaseException as error:
            if self.world.leads and self._launched():  # a status names this process
                left = {"state": "stopped"} if isinstance(error, KeyboardInterrupt) else {
                    "state": "failed", "error": self.world.cause(error)[1]
                }  # fmt: skip
                with suppress(OSError):
                    write_status(self.folder, read_status(self.folder).model_copy(update=left | {"doing": None}))
            raise

    def _launched(self) -> bool:
        """Whether this process is the job that was started for this run."""
        status = read_status(self.folder)
        return status.state == "running" and status.pid == os.getpid()

    def _open(self) -> Opened:
        if self._data:
            return Opened(self.config, *self._data)
        launched, written = self.world.leads and self._launched(), 0.0

        def tell(doing: str) -> None:
            nonlocal written
            self.tell(doing)
            if launched and time.monotonic() - written > STATUS_SECONDS:
                written = time.monotonic()
                write_status(self.folder, read_status(self.folder).model_copy(update={"doing": doing}))

        with self.world.one_first():
            if self.config.model.step_counts:
                teacher = teacher_of(self.config)
                if self.world.leads:  # so that the run can be resumed while its teacher draws
                    self.folder.keep_config(config_to_yaml(self.config))
                return Opened(self.config, *trajectories_of(teacher, self.config, self.folder.trajectories, tell))
            return open_data(
                self.config, self.folder, resume=self.resume, accept=self.accept_changed_data, tell=tell
            )  # fmt: skip

    def _enter(self) -> Run:
        check_installed(self._track)
        latest = self.folder.checkpoint("latest")
        begun = any(path.exists() for path in (latest, self.folder.metrics, self.folder.trajectories))
        if (self.resume or begun) and (why := refusal(self.folder, self.resume)):
            raise ModelError(why)
        self.opened = self._open()
        self.config, self.train_set, self.val_set = self.opened.config, self.opened.train, self.opened.val
        check_labels(self.train_set, self.config)
        self.world.check(self.config.training, len(self.train_set))
        try:
            self.state = TrainState(self.config, self.world)
        except (RuntimeError, MemoryError) as error:
            remedy = f"lower model.base_channels (now {self.config.model.base_channels})"
            raise _explained(error, f"while the network was built: {remedy}") from None
        with ExitStack() as held:
            if self.world.leads:
                held.enter_context(_lock(self.folder))
            self._begin(latest)
            self._held = held.pop_all()  # the lock, until the training ends
        return self

    def _begin(self, latest: Path) -> None:
        if self.world.leads:
            remove_leftovers(self.folder.path)
        again = self.resume and latest.exists()  # else only its teacher has drawn
        inexact = restore(self.state, latest) if again else []
        if not again:
            start_from(self.config, self.state.networks())
        inexact += [f"of the images: {what}" for what in self.opened.changed]
        self.saved = self.state.step if again else None
        recorded = 0
        if self.world.leads:
            recorded = _forget_after(self.folder.metrics, self.state.step)
            forget_after(self.folder, self.state.step)
            self.folder.metrics.parent.mkdir(parents=True, exist_ok=True)
            self.folder.keep_config(config_to_yaml(self.config))
            if self.opened.manifest:
                write_text(self.folder.path / MANIFEST, self.opened.manifest.to_json())
        self._trackers = Trackers(self._track, Begun(self.config, self.folder, self.state.step, recorded))
        me = psutil.Process()
        self.status = read_status(self.folder).model_copy(
            update={
                "state": "running", "pid": me.pid, "process_started": me.create_time(), "error": None,
                "step": self.state.step, "inexact": tuple(inexact), "images_per_second": None, "eta": None,
                "doing": None, "notes": self.opened.notes, "accept_changed_data": False, "remote": None,
            }
        )  # fmt: skip
        self._set()

    def __exit__(self, kind, error, traceback) -> None:
        try:
            if isinstance(error, KeyboardInterrupt):
                self._set(state="stopped", eta=None)
            elif error is not None:
                explained = self._with_way_on(error)
                with suppress(OSError):  # a full disk takes no status either, which must not hide the cause
                    self._set(state="failed", error=self.world.cause(explained)[1], eta=None)
                if explained is not error:
                    raise explained from None
            elif self.status.state == "running":  # left early, without asking the training to stop
                self._set(state="stopped", eta=None)
        finally:
            with self._held:
                self._trackers.close(failed=self.status.state == "failed")

    def _with_way_on(self, error: BaseException) -> BaseException:
        """The error that ended the training, and how to continue."""
        explained = lost_others(
            _explained(
                error,
                f"at step {self.state.step}: lower training.batch_size (now {self.config.training.batch_size}) or "
                "model.base_channels",
            )
        )
        if not isinstance(explained, DDPMError):
            return error
        if not self.world.leads:
            left = "--resume continues from the latest checkpoint, if there was one"
        elif self.saved is not None:
            left = f"--resume continues from the checkpoint of step {self.saved:,}"
        elif self.folder.can_resume:
            left = "--resume begins again with what its teacher has drawn"
        else:
            left = f"run {self.folder.path.name} had no checkpoint yet: {how_to_restart(self.folder)}"
        return type(explained)(f"{explained}; {left}")

    def events(self, should_stop: Callable[[], bool] = lambda: False) -> Iterator[Event]:
        """``train``, every event recorded in the folder before it is passed on."""
        for event in train(self.state, self.train_set, self.val_set, should_stop):
            if self.world.leads:
                self._record(event)
            yield event
        if self.status.state == "running":
            self._set(state="finished", eta=None)

    def _record(self, event: Event) -> None:
        if isinstance(event, Progress | Validated):
            append_line(self.folder.metrics, json.dumps(asdict(event)))
            self._trackers.record(event)
        match event:
            case Progress():
                known = ("step", "total_steps", "images_per_second", "elapsed", "eta", "train_loss")
                values = {name: getattr(event, name) for name in known}
                self.status = self.status.model_copy(update=values)
                if time.time() - self.status.updated > STATUS_SECONDS:
                    self._set()
            case Validated():
                self._save()
                if event.is_best:
                    save_ema(self.state, self.folder.checkpoint("best"))
                self._set(val_loss=event.val_loss, best_val_loss=self.state.best_val_loss)
            case SnapshotDue():
                save_snapshot(self.state, self.folder)
            case Stopped():
                self._save()
                self._set(state="stopped", eta=None)

    def keep_grid(self, step: int, png: bytes) -> None:
        """Keep a grid of samples, drawn after ``step``."""
        path = self.folder.grid(f"step_{step:06d}")
        write_bytes(path, png)
        self._trackers.grid(path, step)

    def _save(self) -> None:
        save_checkpoint(self.state, self.folder.checkpoint("latest"))
        self.saved = self.state.step
        save_ema(self.state, self.folder.checkpoint("ema"))

    def _set(self, **changes) -> None:
        self.status = self.status.model_copy(update={**changes, "updated": time.time()})
        if self.world.leads:
            write_status(self.folder, self.status)


def _explained(error: BaseException, remedy: str) -> BaseException:
    """For an out-of-memory error, one that says when it happened and what to do; else ``error`` itself."""
    told = isinstance(error, RuntimeError) and "memory" in str(error)  # the CPU's allocator has no error class
    if not told and not isinstance(error, MemoryError | torch.OutOfMemoryError):
        return error
    return DDPMError(f"out of memory {remedy}")


@contextmanager
def _lock(folder: RunFolder) -> Iterator[None]:
    """Lock the run for this process; the lock is released when the process ends, however it ends."""
    folder.path.mkdir(parents=True, exist_ok=True)
    with open(folder.lock, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            raise ModelError(f"run {folder.path.name} is being trained by process {owner}") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _forget_after(metrics: Path, step: int) -> int:
    """Drop the records of steps that a resumed run will repeat, and a last line that a kill cut short; returns the last
    step that had been recorded, 0 if none."""
    if not metrics.is_file():
        return 0
    whole = [line for line in metrics.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
    steps = [json.loads(line)["step"] for line in whole]
    kept = [line for line, at in zip(whole, steps, strict=True) if at <= step]
    write_text(metrics, "".join(line + "\n" for line in kept))
    return max(steps, default=0)
