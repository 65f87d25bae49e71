"""Read and write the subset of YAML that configs need, with the line of every key."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import yaml

from ..errors import ConfigError, Fault

TAG = "tag:yaml.org,2002:"
NULL, STR = f"{TAG}null", f"{TAG}str"
NUMBERS = {  # YAML 1.1's, without base 60; its floats as YAML 1.2 has them: 1.1 reads 2e-4 as text
    f"{TAG}int": (r"[-+]?(?:0b[01_]*[01][01_]*|0x[0-9a-fA-F_]*[0-9a-fA-F][0-9a-fA-F_]*|0[0-7_]*|[1-9][0-9_]*)",
                  "-+0123456789"),
    f"{TAG}float": (r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?"
                    r"|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+0123456789."),
}  # fmt: skip
GUESSED = {*NUMBERS, f"{TAG}bool"}
"""The types that plain text is taken for by its form, besides null."""
KINDS = {yaml.ScalarNode: GUESSED | {NULL, STR}, yaml.SequenceNode: {f"{TAG}seq"}, yaml.MappingNode: {f"{TAG}map"}}
"""All that a config needs, and all that is ever constructed."""


class _Loader(yaml.SafeLoader):
    """SafeLoader that constructs what a config needs and refuses the rest: dates, sets, merges, base 60, text that an
    explicit tag calls a number, and aliases, with which a few lines can expand to more than memory holds."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.composer.ComposerError(None, None, f"write out what *{event.anchor} means", event.start_mark)
        node = super().compose_node(parent, index)
        if fault := _fault_of(node, self):
            raise yaml.composer.ComposerError(None, None, fault, node.start_mark)
        return node


_Loader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in resolvers if tag in (NULL, f"{TAG}bool")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _tag, (_form, _first) in NUMBERS.items():
    _Loader.add_implicit_resolver(_tag, re.compile(f"(?:{_form})\\Z"), list(_first))


def _fault_of(node: yaml.Node, loader: _Loader) -> str:
    """What is wrong with the tag of a node, "" if nothing is."""
    if node.tag not in KINDS[type(node)]:
        return (
            f"leave out the tag {_shown(node.tag.replace(TAG, '!!'))}: values are numbers, true, false, null and text"
        )
    if not isinstance(node, yaml.ScalarNode) or node.tag == STR:
        return ""
    looks = loader.resolve(yaml.ScalarNode, node.value, (True, False))
    if node.tag == looks or (node.tag.endswith("float") and re.fullmatch(r"[-+]?[0-9_]*[0-9]", node.value)):
        return ""
    return f"{_shown(repr(node.value))} is no {node.tag.removeprefix(TAG)}"


def _shown(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:60]}..."


class _Dumper(yaml.SafeDumper):
    """SafeDumper with a line for every key and lists on one line."""


_Dumper.add_representer(list, lambda dumper, value: dumper.represent_sequence("tag:yaml.org,2002:seq", value, True))
_Dumper.add_implicit_resolver(  # what we read as a number has to be quoted where it is text
    f"{TAG}float", re.compile(rf"(?:{NUMBERS[f'{TAG}float'][0]})\Z"), list("-+.0123456789")
)


def parse_yaml(text: str, source: str = "YAML", is_text: Callable[[str], bool] = lambda field: False) -> Any:
    """Parse YAML text; a syntax error is a ConfigError that names ``source``, line and column.

    Args:
        is_text: whether a field, such as ``data.path``, takes text or a list of texts. In it 2024, no and 1e3 stay as
            written, and a name does not become a number, a switch or a date. "" stands for the whole document.
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
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a number of more than 4,300 digits
        mark = getattr(error, "problem_mark", None)
        reason = "not valid YAML: " + (getattr(error, "problem", None) or str(error)).splitlines()[0]
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        fault = Fault("", reason, mark.line + 1 if mark else None)
        raise ConfigError(f"{source}{where}: {reason}", (fault,)) from None


def _keep_text(node: yaml.Node, field: str, is_text: Callable[[str], bool]) -> None:
    """Read the plain scalars of text fields as text; null still means no value, except in a list."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            _keep_text(value, f"{field}.{key.value}".lstrip("."), is_text)
        return
    if not is_text(field):
        return
    for scalar in node.value if isinstance(node, yaml.SequenceNode) else [node]:
        if scalar.tag in GUESSED or (scalar.tag == NULL and scalar is not node):
            scalar.tag = STR


def dump_yaml(values: Any) -> str:
    """Nested dicts as YAML text, in their order, which ``parse_yaml`` reads back."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, default_flow_style=False, allow_unicode=True)


def lines_of(text: str) -> dict[str, int]:
    """The line, 1-based, of every key of YAML text that ``parse_yaml`` accepts, and of every item of its lists:
    ``{"training.epochs": 12, "model.channel_mult.0": 7, ...}``."""
    lines: dict[str, int] = {}

    def visit(node: yaml.Node, path: str) -> None:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                name = f"{path}{key.value}"
                lines[name] = key.start_mark.line + 1
                visit(value, f"{name}.")
        elif isinstance(node, yaml.SequenceNode):
            for number, item in enumerate(node.value):
                lines[f"{path}{number}"] = item.start_mark.line + 1
                visit(item, f"{path}{number}.")

    visit(yaml.compose(text, Loader=_Loader), "")
    return lines
