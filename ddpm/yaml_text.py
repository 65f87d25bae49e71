"""YAML text: parsed with YAML 1.2's floats, with the line of every key."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import yaml

from .errors import ConfigError, Fault

NULL = "tag:yaml.org,2002:null"
GUESSED = {f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "bool", "timestamp", "merge", "value")}
"""What YAML takes plain text for by its looks."""


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's floats: 1.1 reads 2e-4 as a string. Aliases, by which a few lines can mean more than
    memory holds, are refused."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.composer.ComposerError(None, None, f"write out what *{event.anchor} means", event.start_mark)
        return super().compose_node(parent, index)


class _Dumper(yaml.SafeDumper):
    """SafeDumper with a line for every key and lists on one line."""


_Dumper.add_representer(list, lambda dumper, value: dumper.represent_sequence("tag:yaml.org,2002:seq", value, True))
for _side in (_Loader, _Dumper):  # what one reads as a number, the other has to quote where it is text
    _side.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?(?:\d[\d_]*\.?\d*|\.\d+)[eE][-+]?\d+$"),
        list("-+.0123456789"),
    )


def parse_yaml(text: str, source: str = "YAML", is_text: Callable[[str], bool] = lambda field: False) -> Any:
    """Parse YAML text; a syntax error is a ConfigError that names ``source``, line and column.

    Args:
        is_text: whether a field, such as ``data.path``, takes text or a list of texts. There 2024, no and 1e3 are read
            as they are written, and a name does not become a number, a switch or a date. The whole is the field "".
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _keep_text(node, "", is_text)
        return loader.construct_document(node)
    except RecursionError:
        raise ConfigError(f"{source}: not valid YAML: nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2024-13-45
        mark = getattr(error, "problem_mark", None)
        reason = "not valid YAML: " + (getattr(error, "problem", None) or str(error)).splitlines()[0]
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        fault = Fault("", reason, mark.line + 1 if mark else None)
        raise ConfigError(f"{source}{where}: {reason}", (fault,)) from None


def _keep_text(node: yaml.Node, field: str, is_text: Callable[[str], bool]) -> None:
    """Have the plain scalars of text fields constructed as text; null is no value there too, except in a list."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            _keep_text(value, f"{field}.{key.value}".lstrip("."), is_text)
        return
    if not is_text(field):
        return
    for scalar in node.value if isinstance(node, yaml.SequenceNode) else [node]:
        if scalar.tag in GUESSED or (scalar.tag == NULL and scalar is not node):
            scalar.tag = "tag:yaml.org,2002:str"


def dump_yaml(values: Any) -> str:
    """Nested dicts as YAML text, in their order, which ``parse_yaml`` reads back."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, default_flow_style=False, allow_unicode=True)


def lines_of(text: str) -> dict[str, int]:
    """The line, 1-based, of every key of YAML text that ``parse_yaml`` accepts: ``{"training.epochs": 12, ...}``."""
    lines: dict[str, int] = {}

    def visit(node: yaml.Node, path: str) -> None:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                name = f"{path}{key.value}"
                lines[name] = key.start_mark.line + 1
                visit(value, f"{name}.")

    visit(yaml.compose(text, Loader=_Loader), "")
    return lines
