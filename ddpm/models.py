"""A model, ready to sample, and how it is loaded and saved."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from .config.edit import config_to_yaml
from .config.schema import Config
from .cost import Cost, cost_of
from .device import Compiled, over_cores, resolve_device
from .diffusion import Denoiser, make_denoiser
from .errors import ConfigError, ModelError
from .files import RunFolder, user_path, write_text
from .names import either, listed
from .schedule import NoiseSchedule
from .storage.hub import is_on_hub
from .storage.layouts import CONFIG, WEIGHTS
from .storage.places import resolve
from .storage.weights import write_safetensors
from .unet import UNet

NO_CLASS = "no class"


@dataclass(frozen=True)
class Model:
    """A network with the config that made it, ready to sample."""

    config: Config
    network: nn.Module
    """A ``UNet`` or a substitute: (x_t, t, y) -> output, with a ``null_label``."""
    source: str
    """Where it came from, as shown to users: shipped 'mnist', run 'digits', a path."""
    sha256: str = ""
    """SHA-256 of the loaded weights file, in hex, which identifies the model; "" for one made in memory."""
    reference: str = ""
    """The model reference that it was loaded from; "" for one made in memory."""
    weights: Path | None = None
    """The file that was loaded."""

    @property
    def run(self) -> RunFolder | None:
        """The run that its weights belong to."""
        return RunFolder.of(self.weights) if self.weights else None

    @cached_property
    def schedule(self) -> NoiseSchedule:
        return self.config.schedule.build()

    @cached_property
    def cost(self) -> Cost:
        """What one network evaluation of one image costs, computed without running it, in half a second."""
        return cost_of(self.network, self.config.image_shape)

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    @property
    def num_classes(self) -> int:
        return self.config.model.num_classes

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of its classes in the order of their labels, () for an unconditional model."""
        return self.config.class_names

    def class_name(self, label: int) -> str:
        """The name of a label; "no class" for -1."""
        return NO_CLASS if label == -1 else self.class_names[label]

    def compiled(self) -> Model:
        """The same model with its network compiled, see ``ddpm.device.Compiled``."""
        return replace(self, network=Compiled(self.network))

    def save(self, folder: str | Path, *, places: bool = False) -> Path:
        """Write ``model.safetensors`` and ``config.yaml`` into a folder that ``load_model`` can open; returns the
        weights file.

        Args:
            places: keep where on this machine its images lie; otherwise only their folder's name goes along.

        Raises:
            ModelError: it is a diffusers pipeline.
        """
        if not isinstance(self.network, UNet):
            raise ModelError(f"{self.source} is a pipeline of diffusers, which saves and publishes it itself")
        folder = user_path(folder)
        write_safetensors(self.network, folder / WEIGHTS)
        write_text(folder / CONFIG, config_to_yaml(self.config if places else without_places(self.config)))
        return folder / WEIGHTS

    def class_labels(self, labels: Sequence[int] | Tensor | None, indices: Sequence[int]) -> Tensor | None:
        """The labels of the images at ``indices`` as the network expects them, (N,) long, see ``repeat_labels``; or of
        mixtures, (N, num_classes) shares, one row for each image, as (N, num_classes + 1) float32.

        Raises:
            ConfigError: a label that the model does not have, or shares that are none.
        """
        if isinstance(labels, Tensor) and labels.ndim == 2:
            return self._mixtures(labels, len(indices))
        try:
            labels = [-1 if label is None else label for label in ([] if labels is None else labels)]
            whole = all(not isinstance(label, bool) and label == int(label) for label in labels)
        except (TypeError, ValueError):
            whole = False
        if not whole:
            raise ConfigError(f"labels must be whole numbers in a list, with None for no class, got {str(labels)[:80]}")
        labels = [int(label) for label in labels]
        if all(label == -1 for label in labels):
            return None
        if not self.num_classes:
            raise ConfigError(f"{self.source} is unconditional: it takes no labels, got {list(labels)[:5]}")
        for label in labels:
            if not -1 <= label < self.num_classes:
                numbered = self.class_names == tuple(map(str, range(self.num_classes)))  # then the names add nothing
                names = "" if numbered else f" for {listed(self.class_names)}"
                raise ConfigError(
                    f"label {label} is out of range: 0 to {self.num_classes - 1}{names}, or -1 for no class"
                )
        chosen = repeat_labels(labels, indices)
        return torch.tensor([self.num_classes if label == -1 else label for label in chosen], device=self.device)

    def _mixtures(self, shares: Tensor, count: int) -> Tensor:
        wanted = (count, self.num_classes)
        if not isinstance(self.network, UNet) or not self.num_classes:
            raise ConfigError(f"{self.source} takes no mixtures of classes")
        shares = shares.float().cpu()
        if tuple(shares.shape) != wanted or (shares < 0).any() or not torch.allclose(shares.sum(1), torch.ones(count)):
            raise ConfigError(f"shares of classes must be {wanted}, from 0 to 1, each row with the sum 1")
        return torch.cat([shares, torch.zeros(count, 1)], 1).to(self.device)

    def denoiser(
        self,
        y: Tensor | None = None,
        *,
        guidance_scale: float | Tensor = 1.0,
        guidance_interval: tuple[int, int] | None = None,
        clip: bool = True,
        precision: torch.dtype = torch.float32,
        num_steps: int | None = None,
    ) -> Denoiser:
        """The network as a ``Denoiser`` for labels ``y`` (B,) as from ``class_labels``; in mixed precision unless
        ``precision`` is float32. A distilled model is told in how many steps it is to draw, one of its
        ``step_counts``. The other arguments are those of ``make_denoiser``.

        Raises:
            ConfigError: a distilled model has not learned to draw in ``num_steps``.
        """
        counts = self.config.model.step_counts
        if counts and num_steps not in counts:
            raise ConfigError(f"{self.source} draws in {either(counts)} steps, got num_steps {num_steps}")
        if counts and (isinstance(guidance_scale, Tensor) or guidance_scale != 1):
            raise ConfigError(f"{self.source} takes no guidance: that of its teacher is built in")

        def network(x_t: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
            steps = (torch.full_like(t, counts.index(num_steps)),) if counts else ()
            with torch.autocast(self.device.type, precision) if precision != torch.float32 else nullcontext():
                return self.network(x_t, t, y, *steps)

        return make_denoiser(
            network if isinstance(self.network, Compiled) else over_cores(network),
            self.schedule,
            self.config.diffusion.prediction_type,
            y,
            null_label=self.network.null_label,
            guidance_scale=guidance_scale,
            guidance_interval=guidance_interval,
            clip=clip,
        )


def without_places(config: Config) -> Config:
    """The config without the places on this machine where a folder of images and the model that the training started
    from lie, only with their names."""
    data, training = config.data, config.training
    if data.path is not None:
        data = data.model_copy(update={"path": Path(data.path).resolve().name or "images"})
    if (begun := training.start_from) and not is_on_hub(begun):
        training = training.model_copy(update={"start_from": Path(begun).name})
    return config.model_copy(update={"data": data, "training": training})


def repeat_labels(labels: Sequence[int] | None, indices: Iterable[int]) -> list[int]:
    """The labels of the images at ``indices``, with ``labels`` repeated over the whole set; -1 is no class."""
    return [labels[index % len(labels)] if labels else -1 for index in indices]


def load_model(reference: str = "mnist", device: str | torch.device = "cpu") -> Model:
    """Load a model strictly: names and shapes of the weights must match, and no code in the file is ever run.

    Args:
        reference: see ``ddpm.storage.places``.
        device: where to put it.

    Raises:
        ModelError: no such model, or a file that is damaged or does not fit its config.
        HubError: the model cannot be downloaded from the Hub.
    """
    target, place = resolve_device(str(device)), resolve(reference)
    config, network, sha256 = place.read()
    # channels_last is what CPU convolutions are fastest in at inference.
    network = network.eval().requires_grad_(False).to(target, memory_format=torch.channels_last)
    return Model(config, network, place.source, sha256, reference, place.weights)
