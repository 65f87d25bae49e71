"""Options that several commands share: the model, how it is sampled, and names of files to write."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from ..config.edit import load_config, renamed
from ..config.schema import Config
from ..config.sections import SamplingConfig
from ..config.settings import Setting, sampler_settings
from ..errors import ConfigError, ModelError, unknown
from ..files import RunFolder, user_path
from ..models import Model, load_model
from ..names import either, labels_named
from ..samplers import SAMPLERS
from ..spacing import SPACINGS
from ..storage.places import pinned, reference_of


class UserPath(click.Path):
    """A path with ~ expanded, even where the shell does not expand it, as in ``--out=~/digits.png``."""

    def __init__(self, **how: Any):
        super().__init__(path_type=Path, **how)

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        return super().convert(user_path(value), parameter, context)


class NameIn(click.Choice):
    """A name in a registry, which may grow after the command was defined."""

    def __init__(self, registry: Mapping[str, Any]):
        self.registry = registry
        super().__init__(())

    @property
    def choices(self) -> tuple[str, ...]:
        return tuple(self.registry)

    @choices.setter
    def choices(self, _: Sequence[str]) -> None: ...


class SamplingCommand(click.Command):
    """A command that adds the options of all samplers that are registered when it runs, after its own."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        *own, help_option = super().get_params(ctx)
        return [*own, *map(_as_option, sampler_settings()), help_option]


def _as_option(setting: Setting) -> click.Option:
    kinds = {"choice": click.Choice(setting.choices), "switch": click.BOOL, "text": click.STRING}
    number = click.INT if isinstance(setting.default, int) else click.FLOAT
    return click.Option([f"--{setting.name.replace('_', '-')}"], type=kinds.get(setting.kind, number),
                        help=setting.description)  # fmt: skip


def model_option(**how: Any) -> Callable:
    """--model REF; a Hub model is fetched, and pinned to its commit for the rest of the command."""
    return click.option(
        "--model", "reference", metavar="REF", help="Shipped name, run:NAME, path or hf://user/repo[@revision].",
        callback=lambda context, parameter, reference: reference and pinned(reference), **how,
    )  # fmt: skip


_WHICH = (
    model_option(),
    click.option("--config", type=UserPath(), help="The run or shipped model that this YAML names."),
)
_SAMPLER = (
    click.option("--sampler", "--method", type=NameIn(SAMPLERS), help="Reverse process."),
    click.option("--num-steps", "--steps", type=int, help="Timesteps to visit."),
)
_WHAT = (
    click.option("--spacing", type=click.Choice(SPACINGS), help="Which timesteps are visited."),
    click.option("--guidance-scale", "--guidance", type=float, help="Classifier-free guidance; 1 is off."),
    click.option(
        "--guidance-interval", nargs=2, type=int, metavar="FIRST LAST", help="Timesteps at which guidance acts."
    ),
    click.option("--seed", type=int, default=0, help="Image k of a seed is the same however many there are."),
    click.option("--device", default="cpu", help="cpu, cuda, cuda:N, mps or auto."),
)


def _labels_option(default: str) -> Callable:
    return click.option(
        "--labels",
        metavar="cat,dog",
        help=f"Classes by name, else by number, repeated to fill; -1 is no class, 'none' for all. Default: {default}.",
    )


def model_options(command: Callable) -> Callable:
    """Which model, and how it is sampled; options left out take the model's defaults."""
    return _with_options(command, (*_WHICH, *_SAMPLER, *_WHAT, _labels_option("all in turn")))


def editing_options(command: Callable) -> Callable:
    """Those of ``model_options``, where no class is asked for by default."""
    return _with_options(command, (*_WHICH, *_SAMPLER, *_WHAT, _labels_option("no class")))


def ladder_options(command: Callable) -> Callable:
    """Those of ``model_options`` that do not choose the sampler."""
    return _with_options(command, (*_WHICH, *_WHAT, _labels_option("all in turn")))


def _with_options(command: Callable, options: Sequence[Callable]) -> Callable:
    for option in reversed(options):
        command = option(command)
    return command


def open_model(reference: str | None, config: Path | None, device: str) -> Model:
    if (reference is None) == (config is None):
        raise click.UsageError("name a model: either --model REF or --config FILE")
    model = load_model(reference_of(load_config(config)) if reference is None else reference, device)
    click.echo(f"model: {model.source} ({model.weights})", err=True)
    return model


def labels_of(model: Model, text: str | None) -> list[int] | None:
    """The labels given by --labels, checked against the model; by default all classes in turn."""
    if text is None:
        return list(range(model.num_classes)) or None
    if text.strip() == "none":
        return None
    if not model.num_classes:
        raise ConfigError(f"{model.source} is unconditional: it takes no --labels, got {text!r}")
    try:
        return labels_named(model.class_names, text)
    except ConfigError as error:
        raise ConfigError(f"--labels: {error}") from None


def indices_of(text: str | None, num_samples: int) -> Sequence[int]:
    """The images given by --indices; by default the first --num-samples."""
    if text is None:
        return range(num_samples)
    indices = numbers("--indices", text)
    if min(indices) < 0:
        raise ConfigError(f"--indices counts from 0, got {min(indices)}")
    return indices


def numbers(option: str, text: str) -> list[int]:
    """Parse an option that takes whole numbers, separated by commas."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"{option} takes numbers such as 0,1,66, got {text!r}") from None


def default_name(kind: str, settings: SamplingConfig, seed: int, count: int) -> str:
    return f"{kind}_{count}_{settings.sampler}_{settings.num_steps}steps_seed{seed}"


def check_suffix(option: str, path: Path | None, *suffixes: str) -> None:
    """Refuse a file to write that has another suffix, before any work is done."""
    if path and path.suffix.lower() not in suffixes:
        raise ConfigError(f"{option} {path}: expected a name that ends in {either(suffixes)}")


# -- training runs --------------------------------------------------------------------------------

accept_option = click.option(
    "--accept-changed-data", is_flag=True, help="Resume even if the images have changed, which is not exact."
)
set_option = click.option(
    "--set", "overrides", multiple=True, metavar="SECTION.FIELD=VALUE", help="Change one field; any number of times."
)


def config_of(path: Path, run: str | None, overrides: tuple[str, ...]) -> Config:
    """The config that --config, --set and --run give together."""
    config = load_config(path, list(overrides))
    return config if run is None else renamed(config, run)


def run_named(name: str) -> RunFolder:
    """The folder of a run.

    Raises:
        ModelError: there is none of that name.
    """
    from ..training.runs import all_runs

    runs = {folder.path.name: folder for folder in all_runs()}
    if name not in runs:
        raise ModelError(unknown("run", name, runs))
    return runs[name]
