"""The dataset of a run: what it was when the run began, and whether it has changed since.

For a folder of images a run keeps the manifest beside its config. The config holds the digest, the names of the
classes, and the absolute path, so that the run can resume from any directory.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..config.data_section import DataConfig
from ..config.edit import config_from_dict
from ..config.schema import Config
from ..data import load_dataset, open_folder
from ..errors import ConfigError, DataError, ModelError
from ..files import RunFolder
from ..image_folder.manifest import MANIFEST, Manifest, changes, list_folder
from ..image_folder.reading import Tell, find_manifest
from ..names import listed
from ..storage.checkpoints import read_checkpoint
from .objective import Images

UNKNOWN = "which images it began with was not recorded"


@dataclass(frozen=True, eq=False)
class Opened:
    """The dataset of a run, read."""

    config: Config
    """Completed with what was found: the classes of a folder, its digest, and its path."""
    train: Images
    val: Images
    manifest: Manifest | None = None
    """For a folder."""
    notes: tuple[str, ...] = ()
    """What was skipped, and what is odd about the images, in sentences."""
    changed: tuple[str, ...] = ()
    """How the images differ from those that the run began with, a phrase each."""


def open_data(
    config: Config, folder: RunFolder, *, resume: bool, accept: bool = False, tell: Tell = lambda doing: None
) -> Opened:
    """Read a run's training and validation images.

    Args:
        accept: continue with images that have changed since the run began.
        tell: see ``ddpm.image_folder.reading.read_folder``.

    Raises:
        DataError: the dataset cannot be used.
        ConfigError: its classes or its content differ from what the config states.
        ModelError: it has changed since the run began, and ``accept`` is not given, or classes were renamed.
    """
    if config.data.dataset != "folder":
        return Opened(config, *(load_dataset(config.data, split) for split in ("train", "val")))
    now = find_manifest(list_folder(config.data.folder), tell)
    began = _began_with(folder) if resume else None
    changed = _check(config, now, began, accept)
    earlier = began is not None and began.data.digest is None
    found = _filled_in(config, now, began)
    opened = open_folder(found.data, earlier=earlier, tell=tell)
    splits = (opened.split(split) for split in ("train", "val"))
    return Opened(found, *splits, opened.manifest, opened.notes, tuple(changed))


def with_absolute_path(config: Config) -> Config:
    """The config with an absolute path to its images, since nothing records the directory it was launched from."""
    if config.data.path is None:
        return config
    data = config.data.model_copy(update={"path": str(config.data.folder)})
    return config.model_copy(update={"data": data})


def changes_of(folder: RunFolder, config: Config) -> list[str]:
    """How the images differ from those that a run began with, a phrase each; empty if they do not.

    Raises:
        DataError: the images are not there, or cannot be used.
        ModelError: the run cannot continue with them, or its checkpoint is damaged.
    """
    if config.data.dataset != "folder" or config.model.step_counts:  # a student learns from its teacher's images
        return []
    return _check(config, find_manifest(list_folder(config.data.folder)), _began_with(folder), accept=True)


def check_unchanged(folder: RunFolder, config: Config) -> None:
    """Refuse to continue with other images than those that the run began with.

    Raises:
        DataError, ModelError: as for ``changes_of``, and if it finds a change.
    """
    if changed := changes_of(folder, config):
        raise _refused(config, changed)


@dataclass(frozen=True)
class _Beginning:
    """What a run began with."""

    data: DataConfig
    manifest: Manifest | None


def _began_with(folder: RunFolder) -> _Beginning:
    saved, _ = read_checkpoint(folder.checkpoint("latest"))
    try:
        manifest = Manifest.read(folder.path / MANIFEST)
    except DataError:  # missing or damaged: the digest still tells whether anything has changed
        manifest = None
    return _Beginning(saved.data, manifest)


def _check(config: Config, now: Manifest, began: _Beginning | None, accept: bool) -> list[str]:
    """What has changed; raises if that, or what the config states, rules out training."""
    data, classes = config.data, now.class_names
    stated = data.class_names or (began.data.class_names if began else None)
    changed = _changes(now, began) if began else []
    if stated and set(stated) != set(classes) and (config.model.num_classes or not began):
        what = f"data.path {data.folder} has the classes {listed(classes) or 'none'}"
        if began:
            raise ModelError(
                f"{what}, and the run has learned {listed(stated)} ({'; '.join(changed)}): labels would mean something "
                "else; put the folders back, or start a new run"
            )
        raise ConfigError(f"{what}, and data.class_names says {listed(stated)}: leave data.class_names out")
    if (count := config.model.num_classes) and count != len(classes):
        raise ConfigError(
            f"model.num_classes is {count}, and data.path {data.folder} has {len(classes)} class folders"
            + (f" ({listed(classes)}): set it to {len(classes)}, or to 0 to learn without classes" if classes else
               ": set it to 0, or sort the images into folders, one for each class")
        )  # fmt: skip
    if not began and data.digest not in (None, now.digest):
        raise ConfigError(
            f"data.digest belongs to other images than those in data.path {data.folder}: leave it out (--set "
            "data.digest=null) to learn from what is there"
        )
    if changed and not accept and data.digest != now.digest:
        raise _refused(config, changed)
    return changed


def _refused(config: Config, changed: list[str]) -> ModelError:
    return ModelError(
        f"data.path {config.data.folder} is not what this run began with: {'; '.join(changed)}; put it back, or "
        "continue with what is there by --accept-changed-data, which is not exact"
    )


def _changes(now: Manifest, began: _Beginning) -> list[str]:
    digest = began.manifest.digest if began.manifest else began.data.digest
    if digest == now.digest:
        return []
    if digest is None:
        return [UNKNOWN]
    return changes(began.manifest, now) if began.manifest else [f"how is not known, since its {MANIFEST} is missing"]


def _filled_in(config: Config, now: Manifest, began: _Beginning | None) -> Config:
    """The config completed from its folder of images.

    A run that began before there were digests continues without one: its images are split by file name, and its classes
    are in alphabetical order.
    """
    earlier = began is not None and began.data.digest is None
    names = config.data.class_names or (began.data.class_names if began else None)
    if set(names or ()) != set(now.class_names):  # without classes to ask for, their names may change
        names = None
    names = names or (tuple(sorted(now.class_names)) if earlier else now.class_names)
    values = config.model_dump(mode="json")
    values["data"] |= {
        "path": str(config.data.folder), "class_names": names, "digest": None if earlier else now.digest
    }  # fmt: skip
    return config_from_dict(values)
