"""Training in your own program: a config, images in memory, and a loop over events."""

from __future__ import annotations

import copy
from collections.abc import Iterator

from ..config.edit import config_from_dict
from ..config.schema import Config
from ..data import ImageSet, hold_out, load_dataset
from ..errors import DataError
from ..models import Model
from .events import Event
from .loop import TrainState
from .loop import train as train_loop
from .objective import Images
from .start import start_from
from .teacher import teacher_of, trajectories_of


class Training:
    """A training in memory: iterate over it for its events, then take ``model``. Nothing is written."""

    def __init__(self, config: Config, images: Images, held_out: Images):
        self.config, self._images, self._held_out = config, images, held_out
        self._state = TrainState(config)
        start_from(config, self._state.networks())

    def __iter__(self) -> Iterator[Event]:
        """The events from the current step to the end of ``config.training.epochs``; can be left and resumed."""
        return train_loop(self._state, self._images, self._held_out)

    @property
    def model(self) -> Model:
        """A copy of the averaged weights as they are now, ready to sample."""
        network = copy.deepcopy(self._state.ema.model).eval().requires_grad_(False)
        return Model(self.config, network, f"{self.config.name}, trained in memory")


def train(config: Config, images: ImageSet | None = None, held_out: ImageSet | None = None) -> Training:
    """Train a model: ``training = ddpm.train(config, images)``, then ``for event in training: ...``.

    Args:
        config: what to train. If ``images`` are given, its section ``data`` is changed to describe them: dataset
            ``arrays``, their size, channels and class names; val_fraction and horizontal_flip stay.
        images: for training, as from ``ImageSet.from_arrays``; by default the dataset that the config names, or the
            walks of its teacher, which are drawn first, if ``model.step_counts`` asks for a distillation.
        held_out: images for validation; by default val_fraction of ``images``.

    Raises:
        ConfigError: the config does not fit the images' size or labels.
        DataError: no image would be left for training or for validation, or the images of the two differ in size.
    """
    if images is None:
        if held_out is not None:
            raise DataError("held_out goes with images of your own: the config's dataset has its own split")
        if config.model.step_counts:
            return Training(config, *trajectories_of(teacher_of(config), config))
        return Training(config, load_dataset(config.data, "train"), load_dataset(config.data, "val"))
    if config.model.step_counts:
        raise DataError("a distillation takes no images: it learns from its teacher's, see model.step_counts")
    config = _describing(config, images)
    if held_out is None:
        if len(images) < 2:
            raise DataError(f"{len(images)} images are too few: at least one to learn from, and one to validate with")
        val, rest = hold_out(len(images), "arrays", config.data.val_fraction)
        images, held_out = images[rest], images[val]
    if not len(images) or not len(held_out) or images.images.shape[1:] != held_out.images.shape[1:]:
        raise DataError(
            f"images and held_out must each hold images of one size, got {tuple(images.images.shape)} and "
            f"{tuple(held_out.images.shape)}"
        )
    return Training(config, images, held_out)


def _describing(config: Config, images: ImageSet) -> Config:
    """The config with a section ``data`` that describes the images."""
    _, channels, size, _ = images.images.shape
    values = config.model_dump(mode="json", exclude_none=True)
    kept = {name: values["data"][name] for name in ("val_fraction", "horizontal_flip")}
    values["data"] = {"dataset": "arrays", "image_size": size, "channels": channels, **kept}
    if images.class_names:
        values["data"]["class_names"] = list(images.class_names)
    return config_from_dict(values, "the config for these images")
