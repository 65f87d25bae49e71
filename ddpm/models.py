"""From a model reference to a model: shipped name, run, or path. One resolver for the library, command line and pages.

mnist            a model shipped in ``ddpm/pretrained``; else the run of that name
run:NAME         a run under the outputs folder
PATH             a run folder, a checkpoint (.pt), or model.safetensors with config.yaml beside it
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from .config import Config, config_to_yaml, load_config
from .device import resolve_device
from .diffusion import Denoiser, make_denoiser
from .errors import ConfigError, ModelError, unknown
from .files import RunFolder, output_dir, write_text
from .schedule import NoiseSchedule
from .unet import UNet
from .weights import load_weights, read_checkpoint, read_safetensors, write_safetensors

PRETRAINED = Path(__file__).parent / "pretrained"
WEIGHTS, CONFIG = "model.safetensors", "config.yaml"


@dataclass(frozen=True)
class Model:
    """A network with the config that made it, ready to sample."""

    config: Config
    network: UNet
    source: str
    """Where it came from, for people: shipped 'mnist', run 'digits', a path."""

    @cached_property
    def schedule(self) -> NoiseSchedule:
        return self.config.schedule.build()

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    @property
    def num_classes(self) -> int:
        return self.config.model.num_classes

    def class_labels(self, labels: Sequence[int] | None, indices: Sequence[int]) -> Tensor | None:
        """The labels of these images of a set as the network wants them, (N,) long, see ``repeat_labels``.

        Raises:
            ConfigError: a label that the model does not have.
        """
        if labels is None or len(labels) == 0 or all(label == -1 for label in labels):
            return None
        if not self.num_classes:
            raise ConfigError(f"{self.source} is unconditional: it takes no labels, got {list(labels)[:5]}")
        for label in labels:
            if not -1 <= label < self.num_classes:
                raise ConfigError(f"label {label} is out of range: 0 to {self.num_classes - 1}, or -1 for no class")
        chosen = repeat_labels(labels, indices)
        return torch.tensor([self.num_classes if label == -1 else label for label in chosen], device=self.device)

    def denoiser(
        self,
        y: Tensor | None = None,
        *,
        guidance_scale: float = 1.0,
        guidance_interval: tuple[int, int] | None = None,
        clip: bool = True,
    ) -> Denoiser:
        """The network as a ``Denoiser`` for labels ``y`` (B,) as from ``class_labels``; the rest is that of
        ``make_denoiser``."""
        return make_denoiser(
            self.network,
            self.schedule,
            self.config.diffusion.prediction_type,
            y,
            null_label=self.network.null_label,
            guidance_scale=guidance_scale,
            guidance_interval=guidance_interval,
            clip=clip,
        )


def repeat_labels(labels: Sequence[int] | None, indices: Iterable[int]) -> list[int]:
    """The labels of these images of a set over which ``labels`` is repeated; -1 is no class."""
    return [labels[index % len(labels)] if labels else -1 for index in indices]


def shipped_models() -> list[str]:
    """Names of the models inside the package."""
    return sorted(path.parent.name for path in PRETRAINED.glob(f"*/{WEIGHTS}"))


def trained_runs() -> list[str]:
    """Names of the runs that have weights to sample, the newest first."""
    found = output_dir().glob("*/ckpts/ema.pt")
    return [path.parent.parent.name for path in sorted(found, key=lambda path: -path.stat().st_mtime)]


def resolve(reference: str) -> Path:
    """The weights file that a reference means.

    Raises:
        ModelError: there is no such model; says what there is.
    """
    name = reference.removeprefix("run:")
    if name == reference and name in shipped_models():
        return PRETRAINED / name / WEIGHTS
    if name in trained_runs():
        return RunFolder.named(name).checkpoint("ema")
    path = Path(reference)
    if reference and name == reference and (path.is_dir() or path.suffix or "/" in reference):
        for candidate in (path / WEIGHTS, path / "ckpts" / "ema.pt") if path.is_dir() else (path,):
            if candidate.is_file():
                return candidate
        raise ModelError(f"no model at {reference}: expected a run folder, a .pt checkpoint or a {WEIGHTS}")
    valid = [*shipped_models(), *(f"run:{run}" for run in trained_runs())]
    raise ModelError(unknown("model", reference, valid) + "; or give a path")


def reference_of(config: Config) -> str:
    """What a config alone means: the run that it names, else the shipped model of that name."""
    return f"run:{config.name}" if config.name in trained_runs() else config.name


def load_model(reference: str = "mnist", device: str | torch.device = "cpu") -> Model:
    """Load a model, strictly: same names, same shapes, and nothing in the file is ever run.

    Args:
        reference: see the module's docstring.
        device: where to put it.

    Raises:
        ModelError: no such model, or a file that is damaged or does not fit its config.
    """
    path = resolve(reference)
    if path.suffix == ".safetensors":
        if not path.with_name(CONFIG).is_file():
            raise ModelError(f"{path} has no {CONFIG} beside it")
        config = load_config(path.with_name(CONFIG))
        weights = read_safetensors(path)
    else:
        config, content = read_checkpoint(path, "ema")
        weights = content["ema"]
    network = UNet(**config.network_arguments())
    load_weights(network, weights, str(path))
    # channels_last is what CPU convolutions are fastest in at inference.
    network = network.eval().requires_grad_(False).to(resolve_device(str(device)), memory_format=torch.channels_last)
    return Model(config, network, describe_source(reference, path))


def describe_source(reference: str, path: Path) -> str:
    """What a reference resolved to, in words."""
    if PRETRAINED in path.parents:
        return f"shipped model {path.parent.name!r}"
    return f"run {path.parent.parent.name!r}" if path.name == "ema.pt" else str(path)


def export_model(reference: str, folder: Path) -> Path:
    """Write a model as ``model.safetensors`` and ``config.yaml`` into ``folder``; returns the weights file."""
    model = load_model(reference)
    write_safetensors(model.network, folder / WEIGHTS)
    write_text(folder / CONFIG, config_to_yaml(model.config))
    return folder / WEIGHTS
