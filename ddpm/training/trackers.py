"""Training curves in other programs: TensorBoard, Trackio, Weights & Biases, each imported only if a config names it.

A run reports to them what it has recorded in its own folder, under the same steps. A resumed run repeats the steps
since its checkpoint: TensorBoard takes back what it had of them, the other two are not told twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from ..config.edit import config_to_yaml
from ..config.schema import Config
from ..errors import ConfigError, one_line
from ..files import RunFolder, write_text
from .events import Progress, Validated

PROJECT = "ddpm-lab"  # of Trackio and of Weights & Biases
GRIDS = "samples"
LEFT_OUT = ("step", "total_steps", "eta", "is_best", "loss_by_t")


@dataclass(frozen=True)
class Begun:
    """The run that a tracker is opened for."""

    config: Config
    folder: RunFolder
    step: int
    """The step that the training continues from, 0 for a new run."""
    recorded: int
    """The last step that the run had recorded before; from ``step`` to here it repeats itself."""


class Tracker(Protocol):
    """Shows a run; made from a ``Begun``."""

    def scalars(self, values: Mapping[str, float], step: int) -> None: ...

    def grid(self, png: Path, step: int) -> None: ...

    def close(self, failed: bool) -> None: ...


class TensorBoard:
    """Event files in ``outputs/<run>/tensorboard``: ``tensorboard --logdir outputs``."""

    def __init__(self, begun: Begun):
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(begun.folder.path / "tensorboard", purge_step=begun.step + 1)
        self._writer.add_text("config", f"```yaml\n{config_to_yaml(begun.config)}```", begun.step)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()  # a killed run keeps its curves

    def grid(self, png: Path, step: int) -> None:
        import numpy as np
        from PIL import Image

        with Image.open(png) as picture:
            self._writer.add_image(GRIDS, np.asarray(picture.convert("RGB")), step, dataformats="HWC")

    def close(self, failed: bool) -> None:
        self._writer.close()


class _Logged:
    """A run of a library in the manner of Weights & Biases: whatever it has already is not logged again."""

    _run: Any
    _image: Callable[[str], Any]
    """Makes what it logs as an image out of a file."""
    _recorded: int
    """The last step that it has."""

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        if step > self._recorded:
            self._run.log(dict(values), step=step)

    def grid(self, png: Path, step: int) -> None:
        if step > self._recorded:
            self._run.log({GRIDS: self._image(str(png))}, step=step)


class Trackio(_Logged):
    """A run of the project ``PROJECT``, in Trackio's own folder ($TRACKIO_DIR): ``trackio show``."""

    def __init__(self, begun: Begun):
        import trackio

        self._image, self._finish, self._recorded = trackio.Image, trackio.finish, begun.recorded
        self._run = trackio.init(
            PROJECT, begun.config.name, config=begun.config.model_dump(mode="json"),
            resume="allow" if begun.recorded else "never",
        )  # fmt: skip

    def close(self, failed: bool) -> None:
        self._finish()  # of the module, which else ends the run once more at exit


class WandB(_Logged):
    """A run of the project ``PROJECT`` on Weights & Biases, or offline in ``outputs/<run>/wandb``: ``wandb sync``."""

    def __init__(self, begun: Begun):
        import wandb

        self._image, self._recorded = wandb.Image, begun.recorded
        self._run = wandb.init(
            project=PROJECT, name=begun.config.name, id=_wandb_id(begun.folder.path / "wandb" / "run_id"),
            dir=str(begun.folder.path), config=begun.config.model_dump(mode="json"), resume="allow",
        )  # fmt: skip

    def close(self, failed: bool) -> None:
        self._run.finish(exit_code=int(failed))


def _wandb_id(path: Path) -> str:
    """The id of a run, kept in its folder: another run that takes its name later is another run there too."""
    if not path.is_file():
        write_text(path, uuid4().hex)
    return path.read_text(encoding="utf-8").strip()


TRACKERS = {"tensorboard": TensorBoard, "trackio": Trackio, "wandb": WandB}
"""By the name in ``training.track``, which is that of the pip package too."""


class Trackers:
    """All trackers of a run."""

    def __init__(self, names: Sequence[str], begun: Begun):
        """Open them.

        Raises:
            ConfigError: one is not installed, or does not start; those before it are closed again.
        """
        check_installed(names)
        self._all: list[Tracker] = []
        with ExitStack() as undo:
            undo.callback(self.close, failed=True)
            for name in names:
                self._all.append(_opened(name, begun))
            undo.pop_all()

    def record(self, event: Progress | Validated) -> None:
        for tracker in self._all:
            tracker.scalars(scalars_of(event), event.step)

    def grid(self, png: Path, step: int) -> None:
        for tracker in self._all:
            tracker.grid(png, step)

    def close(self, failed: bool) -> None:
        with ExitStack() as each:  # that one cannot be closed keeps no other open
            for tracker in self._all:
                each.callback(tracker.close, failed)


def not_installed(names: Sequence[str]) -> list[str]:
    """What is missing for these trackers, one sentence without its full stop each; [] if nothing is."""
    return [f"{name} is not installed: pip install {name}" for name in names if find_spec(name) is None]


def check_installed(names: Sequence[str]) -> None:
    """Refuse trackers whose packages are missing.

    Raises:
        ConfigError: names the packages.
    """
    if missing := not_installed(names):
        raise ConfigError(f"training.track: {'; '.join(missing)}")


def _opened(name: str, begun: Begun) -> Tracker:
    try:
        return TRACKERS[name](begun)
    except Exception as error:  # a program of others may raise anything: no login, no network, a broken installation
        raise ConfigError(f"training.track: {name} does not start: {one_line(error)}") from error


def scalars_of(event: Progress | Validated) -> dict[str, float]:
    """The numbers of a record by the names that trackers show: ``training/train_loss``, ``validation/val_loss`` and
    ``loss_by_t/0``, the band of the smallest t."""
    group = "training" if isinstance(event, Progress) else "validation"
    values = {f"{group}/{name}": value for name, value in asdict(event).items() if name not in LEFT_OUT}
    values |= {f"loss_by_t/{band}": value for band, value in enumerate(getattr(event, "loss_by_t", ()))}
    return {name: value for name, value in values.items() if value is not None and math.isfinite(value)}
