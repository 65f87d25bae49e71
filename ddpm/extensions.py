"""Third-party schedules, samplers and datasets: modules that register them on import."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable
from importlib.metadata import entry_points

from .errors import ConfigError, one_line

VARIABLE = "DDPM_IMPORT"
GROUP = "ddpm.extensions"


def load_extensions(modules: Iterable[str] = ()) -> None:
    """Import ``modules``, the comma-separated ones in $DDPM_IMPORT, and those that installed packages offer as entry
    points of the group ``ddpm.extensions``. Child processes import them too.

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
    except Exception as error:  # a third-party module may raise anything
        raise ConfigError(f"cannot import {name}: {one_line(error)}") from error
