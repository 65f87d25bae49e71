"""Schedules, samplers and datasets from outside: modules that register theirs when they are imported."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable
from importlib.metadata import entry_points

from .errors import ConfigError, one_line

VARIABLE = "DDPM_IMPORT"
GROUP = "ddpm.extensions"


def load_extensions(modules: Iterable[str] = ()) -> None:
    """Import ``modules``, those that $DDPM_IMPORT names between commas, and those that installed packages offer as
    entry points of the group ``ddpm.extensions``. Processes that this one starts import them as well.

    Raises:
        ConfigError: one cannot be imported; says why.
    """
    names = [*dict.fromkeys([*filter(None, os.environ.get(VARIABLE, "").split(",")), *modules])]
    for name in names:
        _load(name, lambda name=name: importlib.import_module(name))
    for point in entry_points(group=GROUP):
        _load(f"{point.value} of {point.dist.name if point.dist else 'a package'}", point.load)
    if names:
        os.environ[VARIABLE] = ",".join(names)


def _load(name: str, load) -> None:
    try:
        load()
    except Exception as error:  # whatever somebody's module ends in
        raise ConfigError(f"cannot import {name}: {one_line(error)}") from error
