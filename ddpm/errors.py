"""Every error that ddpm raises on purpose.

    DDPMError                     one line for the user: what is wrong and what would be right
    ├── ConfigError (ValueError)  a config or an argument: unknown key, wrong type, impossible combination
    ├── ModelError                a model reference, checkpoint or weights file that cannot be used
    ├── DataError                 a dataset that is missing, unreadable or does not fit the config
    └── MetricError               a metric that cannot be computed here; a result then holds {"unavailable": reason}

The command line prints the message and exits with 1; a page shows it in a box.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class DDPMError(Exception):
    """Base of all errors that ddpm raises on purpose."""


class ConfigError(DDPMError, ValueError):
    """A config, key or argument that is not valid."""


class ModelError(DDPMError):
    """A model reference, checkpoint or weights file that cannot be used."""


class DataError(DDPMError):
    """A dataset that is missing, unreadable or does not fit the config."""


class MetricError(DDPMError):
    """A metric that cannot be computed here: why, and the remedy."""


def unknown(kind: str, name: object, valid: Iterable[str]) -> str:
    """The sentence for a name that is not among the valid ones; it names the nearest."""
    valid = list(valid)
    near = get_close_matches(str(name), valid, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown {kind} {name!r}: {hint}valid are {', '.join(valid)}"
