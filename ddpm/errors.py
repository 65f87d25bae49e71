"""Every error that ddpm raises on purpose.

    DDPMError                     one line for the user: what is wrong and what would be right
    ├── ConfigError (ValueError)  a config or an argument: unknown key, wrong type, impossible combination
    ├── ModelError                a model reference, checkpoint or weights file that cannot be used
    ├── DataError                 a dataset that is missing, unreadable or does not fit the config
    ├── HubError                  a failed download from the Hub or upload to it: what, why, and the remedy
    └── MetricError               a metric that cannot be computed here; a result then holds {"unavailable": reason}

The command line prints the message and exits with 1; a page shows it in a box.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable
from difflib import get_close_matches
from typing import NamedTuple
from urllib.error import HTTPError, URLError


class DDPMError(Exception):
    """Base of all errors that ddpm raises on purpose."""


class Fault(NamedTuple):
    """One thing that is wrong in a config."""

    field: str  # "training.epochs"; "" where no single field is to blame
    message: str
    line: int | None = None  # of the YAML text, 1-based


class ConfigError(DDPMError, ValueError):
    """A config, key or argument that is not valid; ``faults`` lists what is wrong in a config, one by one."""

    def __init__(self, message: str, faults: tuple[Fault, ...] = ()):
        super().__init__(message)
        self.faults = faults or (Fault("", message),)


class ModelError(DDPMError):
    """A model reference, checkpoint or weights file that cannot be used."""


class DataError(DDPMError):
    """A dataset that is missing, unreadable or does not fit the config."""


class HubError(DDPMError):
    """A failed download from the Hub or upload to it: what, why, and the remedy. ``status`` is the HTTP status of the
    Hub's answer, if it gave one."""

    def __init__(self, message: str, status: int | None = None):
        super().__init__(message)
        self.status = status


class MetricError(DDPMError):
    """A metric that cannot be computed here: why, and the remedy."""


def unknown(kind: str, name: object, valid: Iterable[str]) -> str:
    """The message for a name that is not valid; it suggests the closest match."""
    valid = list(valid)
    return f"unknown {kind} {name!r}: {did_you_mean(name, valid)}valid are {', '.join(valid)}"


def did_you_mean(name: object, valid: Iterable[str]) -> str:
    """ "did you mean 'cosine'? " for the closest match, "" where none is close."""
    near = get_close_matches(name, list(valid), n=1, cutoff=0.5) if isinstance(name, str) else []
    return f"did you mean {near[0]!r}? " if near else ""


def one_line(error: BaseException) -> str:
    """An error's message for users; for an operating system's error the file and the reason, without numbers and
    brackets; for a network error what failed."""
    match error:
        case HTTPError():
            return f"the server answered {error.code} {error.reason}".rstrip()
        case URLError(reason=BaseException() as reason):
            return one_line(reason)
        case URLError():
            return str(error.reason)
        case socket.gaierror():
            return "the server's name cannot be looked up: is this machine connected to the network?"
        case TimeoutError():
            return str(error) if error.args and not error.strerror else "no answer in time"
        case ssl.SSLError(reason=str(reason)):
            return f"no secure connection: {reason.replace('_', ' ').lower()}"
        case OSError(strerror=str(reason)):
            return f"{error.filename}: {reason}" if error.filename else reason
    return str(error) or type(error).__name__
