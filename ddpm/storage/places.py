"""From a model reference to its files on this machine. One resolver for the library, command line and pages.

mnist            a model shipped in ``ddpm/pretrained``; else the run of that name
run:NAME         a run under the outputs folder
PATH             a run folder, a checkpoint (.pt), model.safetensors with config.yaml beside it, or the folder of an
                 unconditional pipeline of diffusers
hf://USER/REPO   either of the last two on the Hub, of the newest commit; hf://USER/REPO@REVISION of a branch, a tag or
                 a commit
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from ..config.edit import load_config
from ..config.schema import Config
from ..errors import ModelError, unknown
from ..files import RESULTS, RunFolder, file_sha256, output_dir, user_path
from ..jobs import read_status
from .checkpoints import read_checkpoint
from .hub import Fetched, HubReference, cached, cached_references, fetch, is_on_hub
from .layouts import CONFIG, LAYOUTS, WEIGHTS, Layout, empty_network, layout_at, layout_in
from .pipelines import STEM, why_no_weights
from .weights import MAX_HEADER, brief, load_weights, size_of

PRETRAINED = Path(__file__).parents[1] / "pretrained"
MAX_RESULTS = 2_000_000  # bytes
MAX_WEIGHTS = 2_000_000_000  # bytes of a Hub model's weights; those of mnist are 11,700,000
LOAD_TRIES = 5


@dataclass(frozen=True)
class Place:
    """The files of a model on this machine."""

    reference: str
    source: str
    """Where they came from, for people: shipped model 'mnist', run 'digits', a path."""
    weights: Path
    layout: Layout | None
    """How the folder is laid out; None for a checkpoint, which holds its config."""
    folder: Path
    """What ``layout`` speaks of; for a checkpoint the folder that it lies in."""

    def config(self) -> Config | None:
        """The config without the weights; None where only the weights hold it.

        Raises:
            ModelError, ConfigError: it is not valid.
        """
        if self.layout:
            return self.layout.read(self.folder, self.reference)[0]
        run = RunFolder.of(self.weights)
        return load_config(run.config) if run and run.config.is_file() else None

    def read(self) -> tuple[Config, nn.Module, str]:
        """The config, the network with its weights on the CPU, and the SHA-256 of the file that they are from, in hex.

        Raises:
            ModelError: a file is damaged, or does not fit its config.
        """
        for _ in range(LOAD_TRIES):
            sha256 = file_sha256(self.weights) if self.weights.is_file() else ""
            config, network = self._read()  # which says what is wrong with the file
            if file_sha256(self.weights) == sha256:  # a run that saves meanwhile puts another file there
                return config, network, sha256
        raise ModelError(f"{self.weights} changes again and again while it is read: wait until it is written")

    def _read(self) -> tuple[Config, nn.Module]:
        if self.layout:
            config, network = self.layout.read(self.folder, self.reference)
            return config, self.layout.load(network, self.weights)
        config, content = read_checkpoint(self.weights, "ema")
        network = empty_network(config)
        load_weights(network, content["ema"], str(self.weights))
        return config, network


def resolve(reference: str) -> Place:
    """The files that a reference means; those of a Hub model are fetched.

    Raises:
        ModelError: there is no such model; says what there is.
        HubError: the model cannot be had from the Hub.
    """
    if is_on_hub(reference):
        fetched = fetch_model(reference)
        layout = layout_in(fetched.folder)
        return Place(reference, fetched.reference.short, fetched.folder / layout.weights, layout, fetched.folder)
    name = reference.removeprefix("run:")
    if name == reference and name in shipped_models():
        return _at(reference, PRETRAINED / name / WEIGHTS)
    if name in trained_runs():
        return _at(reference, RunFolder.named(name).checkpoint("ema"))
    if reference and name == reference and (path := _path(reference)):
        return _at(reference, _weights_at(path, reference))
    begun = sorted(path.parent.name for path in output_dir().glob(f"*/{CONFIG}"))
    if name in begun:
        raise ModelError(_no_weights_yet(RunFolder.named(name)))
    valid = [*shipped_models(), *(f"run:{run}" for run in dict.fromkeys([*trained_runs(), *begun]))]
    raise ModelError(unknown("model", reference, valid) + "; or give a path")


def _no_weights_yet(folder: RunFolder) -> str:
    status, first = read_status(folder), load_config(folder.config).training.val_every
    said = f"run {folder.path.name} has no checkpoint yet: it is {status.state}"
    if status.total_steps:
        said += f" at step {status.step:,} of {status.total_steps:,}"
    return f"{said}, the first comes at step {min(first, status.total_steps or first):,}"


def _path(reference: str) -> Path | None:
    """The path that a reference is, None where it looks like a name."""
    path = user_path(reference)
    try:
        return path if path.is_dir() or path.suffix or "/" in reference else None
    except OSError as error:  # as of a name that is too long
        raise ModelError(f"no model at {brief(reference)}: {error.strerror}") from None


def _weights_at(path: Path, reference: str) -> Path:
    """The weights file that a path means, which is one or a folder."""
    is_folder = path.is_dir()
    for candidate in _weights_in(path) if is_folder else (path,):
        if candidate.is_file():
            return candidate
    why = why_no_weights(file.name for file in path.rglob(f"{STEM}*")) if is_folder else None
    raise ModelError(f"no model at {brief(reference)}: " + (why or (
        f"expected a run folder, a .pt checkpoint, a {WEIGHTS}, or a pipeline of diffusers with its weights as "
        "safetensors"
    )))  # fmt: skip


def _weights_in(folder: Path) -> Iterator[Path]:
    """Where the weights of a model in this folder may be."""
    if layout := layout_in(folder):
        yield folder / layout.weights
    yield from (folder / WEIGHTS, folder / "ckpts" / "ema.pt")


def _at(reference: str, weights: Path) -> Place:
    """The place of a weights file, and what it is in words."""
    layout, folder = layout_at(weights) or (None, weights.parent)
    if weights.suffix == ".safetensors" and not layout:
        raise ModelError(f"{weights} has no {CONFIG} beside it")
    if PRETRAINED in weights.parents:
        source = f"shipped model {weights.parent.name!r}"
    else:
        run = RunFolder.of(weights)
        source = f"run {run.path.absolute().name!r}" if run and weights == run.checkpoint("ema") else str(weights)
    return Place(reference, source, weights, layout, folder)


# -- what there is -------------------------------------------------------------------------------------------------


def shipped_models() -> list[str]:
    """Names of the models inside the package."""
    return sorted(path.parent.name for path in PRETRAINED.glob(f"*/{WEIGHTS}"))


def shipped_histories() -> dict[str, RunFolder]:
    """The shipped models that come with the records of their training: by name, the folder as that of a run."""
    folders = {name: RunFolder(PRETRAINED / name) for name in shipped_models()}
    return {name: folder for name, folder in folders.items() if folder.metrics.is_file()}


def trained_runs() -> list[str]:
    """Names of the runs that have weights to sample, the newest first."""
    found = []
    for path in output_dir().glob("*/ckpts/ema.pt"):
        with suppress(FileNotFoundError):  # deleted meanwhile
            found.append((-path.stat().st_mtime, RunFolder.of(path).path.name))
    return [name for _, name in sorted(found)]


def reference_of(config: Config) -> str:
    """What a config alone means: the run that it names, else the shipped model of that name."""
    return f"run:{config.name}" if config.name in trained_runs() else config.name


# -- on the Hub ----------------------------------------------------------------------------------------------------


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
