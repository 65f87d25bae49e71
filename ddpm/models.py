"""From a model reference to a model: shipped name, run, or path. One resolver for the library, command line and pages.

mnist            a model shipped in ``ddpm/pretrained``; else the run of that name
run:NAME         a run under the outputs folder
PATH             a run folder, a checkpoint (.pt), model.safetensors with config.yaml beside it, or the folder of an
                 unconditional pipeline of diffusers
hf://USER/REPO   either of the last two on the Hub, of the newest commit; hf://USER/REPO@REVISION of a branch, a tag or
                 a commit
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from .config import Config, config_to_yaml, load_config
from .cost import Cost, cost_of
from .device import Compiled, over_cores, resolve_device
from .diffusion import Denoiser, make_denoiser
from .errors import ConfigError, ModelError, unknown
from .files import RunFolder, output_dir, user_path, write_bytes, write_text
from .names import listed
from .schedule import NoiseSchedule
from .storage.hub import SCHEME, Fetched, HubReference, cached, cached_references, fetch
from .storage.layouts import CONFIG, LAYOUTS, WEIGHTS, empty_network, layout_at, layout_in
from .storage.pipelines import STEM, why_no_weights
from .storage.weights import (
    MAX_HEADER,
    brief,
    load_weights,
    read_checkpoint,
    size_of,
    weights_sha256,
    write_safetensors,
)
from .unet import UNet

PRETRAINED = Path(__file__).parent / "pretrained"
NO_CLASS = "no class"
RESULTS = "evaluation_results.json"
MAX_RESULTS = 2_000_000  # bytes
LOAD_TRIES = 5
MAX_WEIGHTS = 2_000_000_000  # bytes of a Hub model's weights; those of mnist are 11,700,000


@dataclass(frozen=True)
class Model:
    """A network with the config that made it, ready to sample."""

    config: Config
    network: nn.Module
    """A ``UNet``, or what takes its place: (x_t, t, y) -> output, with a ``null_label``."""
    source: str
    """Where it came from, for people: shipped 'mnist', run 'digits', a path."""
    sha256: str = ""
    """SHA-256 of the weights file that was loaded, in hex: what the model is known by; "" for one made in memory."""

    @cached_property
    def schedule(self) -> NoiseSchedule:
        return self.config.schedule.build()

    @cached_property
    def cost(self) -> Cost:
        """What one network evaluation of one image costs; worked out before it is run, in half a second."""
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
        """The name of a label; of -1 "no class"."""
        return NO_CLASS if label == -1 else self.class_names[label]

    def compiled(self) -> Model:
        """The same model with its network compiled, see ``ddpm.device.Compiled``."""
        return replace(self, network=Compiled(self.network))

    def save(self, folder: str | Path) -> Path:
        """Write ``model.safetensors`` and ``config.yaml`` into a folder, which ``load_model`` opens; returns the file
        of the weights.

        Raises:
            ModelError: it is a pipeline of diffusers.
        """
        if not isinstance(self.network, UNet):
            raise ModelError(f"{self.source} is a pipeline of diffusers, which saves and publishes it itself")
        folder = user_path(folder)
        write_safetensors(self.network, folder / WEIGHTS)
        write_text(folder / CONFIG, config_to_yaml(self.config))
        return folder / WEIGHTS

    def class_labels(self, labels: Sequence[int] | None, indices: Sequence[int]) -> Tensor | None:
        """The labels of these images of a set as the network wants them, (N,) long, see ``repeat_labels``.

        Raises:
            ConfigError: a label that the model does not have.
        """
        labels = [-1 if label is None else label for label in ([] if labels is None else labels)]
        if any(isinstance(label, bool) or label != int(label) for label in labels):
            raise ConfigError(f"labels must be whole numbers, or None for no class, got {labels[:5]}")
        labels = [int(label) for label in labels]
        if all(label == -1 for label in labels):
            return None
        if not self.num_classes:
            raise ConfigError(f"{self.source} is unconditional: it takes no labels, got {list(labels)[:5]}")
        for label in labels:
            if not -1 <= label < self.num_classes:
                numbered = self.class_names == tuple(map(str, range(self.num_classes)))  # then they say no more
                names = "" if numbered else f" for {listed(self.class_names)}"
                raise ConfigError(
                    f"label {label} is out of range: 0 to {self.num_classes - 1}{names}, or -1 for no class"
                )
        chosen = repeat_labels(labels, indices)
        return torch.tensor([self.num_classes if label == -1 else label for label in chosen], device=self.device)

    def denoiser(
        self,
        y: Tensor | None = None,
        *,
        guidance_scale: float | Tensor = 1.0,
        guidance_interval: tuple[int, int] | None = None,
        clip: bool = True,
        precision: torch.dtype = torch.float32,
    ) -> Denoiser:
        """The network as a ``Denoiser`` for labels ``y`` (B,) as from ``class_labels``; in mixed precision unless
        ``precision`` is float32; the rest is that of ``make_denoiser``."""

        def network(*batch: Tensor | None) -> Tensor:
            with torch.autocast(self.device.type, precision) if precision != torch.float32 else nullcontext():
                return self.network(*batch)

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


def repeat_labels(labels: Sequence[int] | None, indices: Iterable[int]) -> list[int]:
    """The labels of these images of a set over which ``labels`` is repeated; -1 is no class."""
    return [labels[index % len(labels)] if labels else -1 for index in indices]


def shipped_models() -> list[str]:
    """Names of the models inside the package."""
    return sorted(path.parent.name for path in PRETRAINED.glob(f"*/{WEIGHTS}"))


def shipped_histories() -> dict[str, RunFolder]:
    """The shipped models that come with the records of their training: by name, the folder as that of a run."""
    folders = {name: RunFolder(PRETRAINED / name) for name in shipped_models()}
    return {name: folder for name, folder in folders.items() if folder.metrics.is_file()}


def trained_runs() -> list[str]:
    """Names of the runs that have weights to sample, the newest first."""
    found = output_dir().glob("*/ckpts/ema.pt")
    return [path.parent.parent.name for path in sorted(found, key=lambda path: -path.stat().st_mtime)]


def is_on_hub(reference: str) -> bool:
    return reference.startswith(SCHEME)


def hub_models() -> list[str]:
    """References to the Hub's models that are on this machine, each of its commit, the newest first."""
    return [str(reference) for layout in LAYOUTS for reference in cached_references(layout.files)]


def fetch_model(reference: str, on_progress: Callable[[int, int], None] | None = None) -> Fetched:
    """Have a Hub model on this machine: what describes it, then no more bytes of weights than its network has.

    Args:
        on_progress: told of the bytes there are, and of all to come.

    Raises:
        HubError: the Hub refuses or is out of reach; a file is missing or too large.
        ModelError: what describes it is not valid.
    """
    wanted = HubReference.parse(reference)
    for layout in LAYOUTS:
        if wanted.pinned and (folder := cached(wanted, layout.files)):
            return Fetched(wanted, folder)
    first = fetch(wanted, *(layout.described_by for layout in LAYOUTS))
    layout = layout_in(first.folder)
    needed = size_of(layout.read(first.folder, str(first.reference))[1])
    limits = {**layout.described_by, layout.weights: min(needed + 8 + MAX_HEADER, MAX_WEIGHTS)}
    return fetch(first.reference, limits, optional={RESULTS: MAX_RESULTS}, on_progress=on_progress,
                 why_missing=why_no_weights)  # fmt: skip


def pinned(reference: str) -> str:
    """Pin a reference to its commit: a Hub model is fetched and named by its commit; others stay as they are."""
    return str(fetch_model(reference).reference) if is_on_hub(reference) else reference


def resolve(reference: str) -> Path:
    """The weights file that a reference means; those of a Hub model are fetched.

    Raises:
        ModelError: there is no such model; says what there is.
        HubError: the model cannot be had from the Hub.
    """
    if is_on_hub(reference):
        folder = fetch_model(reference).folder
        return folder / layout_in(folder).weights
    name = reference.removeprefix("run:")
    if name == reference and name in shipped_models():
        return PRETRAINED / name / WEIGHTS
    if name in trained_runs():
        return RunFolder.named(name).checkpoint("ema")
    path = user_path(reference)
    try:
        is_folder = path.is_dir()
    except OSError as error:  # as of a name that is too long
        raise ModelError(f"no model at {brief(reference)}: {error.strerror}") from None
    if reference and name == reference and (is_folder or path.suffix or "/" in reference):
        for candidate in _weights_in(path) if is_folder else (path,):
            if candidate.is_file():
                return candidate
        if is_folder and (why := why_no_weights(file.name for file in path.rglob(f"{STEM}*"))):
            raise ModelError(f"no model at {brief(reference)}: {why}")
        raise ModelError(
            f"no model at {brief(reference)}: expected a run folder, a .pt checkpoint, a {WEIGHTS}, or a pipeline of "
            "diffusers with its weights as safetensors"
        )
    valid = [*shipped_models(), *(f"run:{run}" for run in trained_runs())]
    raise ModelError(unknown("model", reference, valid) + "; or give a path")


def _weights_in(folder: Path) -> Iterator[Path]:
    """Where the weights of a model in this folder may be."""
    if layout := layout_in(folder):
        yield folder / layout.weights
    yield from (folder / WEIGHTS, folder / "ckpts" / "ema.pt")


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
        HubError: the model cannot be had from the Hub.
    """
    path = resolve(reference)
    for _ in range(LOAD_TRIES):
        sha256 = weights_sha256(path) if path.is_file() else ""
        config, network = _read(reference, path)  # which says what is wrong with the file
        if weights_sha256(path) == sha256:  # a run that saves meanwhile puts another file there
            break
    else:
        raise ModelError(f"{path} changes again and again while it is read: wait until it is written")
    # channels_last is what CPU convolutions are fastest in at inference.
    network = network.eval().requires_grad_(False).to(resolve_device(str(device)), memory_format=torch.channels_last)
    return Model(config, network, describe_source(reference, path), sha256)


def _read(reference: str, path: Path) -> tuple[Config, nn.Module]:
    """The config and the network of a weights file."""
    if path.suffix == ".safetensors":
        if not (found := layout_at(path)):
            raise ModelError(f"{path} has no {CONFIG} beside it")
        layout, folder = found
        config, network = layout.read(folder, reference)
        return config, layout.load(network, path)
    config, content = read_checkpoint(path, "ema")
    network = empty_network(config)
    load_weights(network, content["ema"], str(path))
    return config, network


def describe_source(reference: str, path: Path) -> str:
    """What a reference resolved to, in words."""
    if is_on_hub(reference):
        _, folder = layout_at(path)
        return replace(HubReference.parse(reference), revision=folder.name).short
    if PRETRAINED in path.parents:
        return f"shipped model {path.parent.name!r}"
    return f"run {path.parent.parent.name!r}" if path.name == "ema.pt" else str(path)


def config_of(reference: str) -> Config | None:
    """The config of a model that is on this machine, without its weights; None where only its weights hold it.

    Raises:
        ModelError: no such model, or its config is not valid.
    """
    path = resolve(reference)
    if found := layout_at(path):
        layout, folder = found
        return layout.read(folder, reference)[0]
    beside = path.parent.parent / CONFIG  # a run's
    return load_config(beside) if beside.is_file() else None


def export_model(reference: str, folder: Path, model: Model | None = None) -> Path:
    """Write a model as ``model.safetensors`` and ``config.yaml`` into ``folder``; returns the weights file.

    Weights that are a safetensors file go as they are, so that what was said of the file still holds. ``model`` is what
    the reference was loaded as, where it was."""
    model = model or load_model(reference)
    path, source = model.save(folder), resolve(reference)
    content = source.read_bytes() if source.suffix == ".safetensors" else b""
    if hashlib.sha256(content).hexdigest() == model.sha256:
        write_bytes(path, content)
    return path
