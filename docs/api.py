"""Writes docs/api.md from the docstrings of what ``import ddpm`` offers: `python -m docs.api`."""

import dataclasses
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

import ddpm
from ddpm.config.settings import SYMBOLS, Setting, all_settings

HEAD = """# Reference

For people who call the library: everything in `ddpm.__all__`, as its docstrings have it. `python -m docs.api` writes
this page. [In your own code](own-code.md) shows it at work.
"""
SECTION = re.compile(r"(Args|Returns|Raises|Yields):")


def as_markdown(docstring: str) -> str:
    """A docstring with its sections as lists, and what is in code as code."""
    lines, item = [], False
    for line in inspect.cleandoc(docstring).splitlines():
        if found := SECTION.fullmatch(line):
            item = True
            lines += [f"**{found[1]}**", ""]
        elif item and re.match(r"    \S", line):
            lines.append(re.sub(r"^    ([\w*, ]+): ", r"- `\1`: ", line) if ": " in line else f"- {line.strip()}")
        elif item and line.startswith("     "):
            lines.append(f"  {line.strip()}")
        else:
            item = item and not line
            lines.append(line.strip() if not line.startswith("        ") else line)
    return re.sub(r"``(.+?)``", r"`\1`", "\n".join(lines))


def signature_of(name: str, function: object) -> str:
    text = f"{name}{inspect.signature(function)}"
    return re.sub(r"(: |-> )'(.+?)'", r"\1\2", text)  # annotations are strings


def members(kind: type) -> Iterator[tuple[str, str]]:
    """The public methods and properties that a class of ours defines, with what they say."""
    for name, member in vars(kind).items():
        function = getattr(member, "fget", None) or getattr(member, "func", None) or getattr(member, "__func__", member)
        if name.startswith("_") or not inspect.isfunction(function) or not function.__doc__:
            continue
        is_method = inspect.isfunction(member) or isinstance(member, classmethod)
        shown = re.sub(r"\(self(, )?", "(", signature_of(name, getattr(kind, name))) if is_method else name
        yield shown, function.__doc__


def row(setting: Setting) -> str:
    limits = ", ".join(f"{SYMBOLS[kind]} {limit:g}" for kind, limit in setting.limits.items())
    choices = ", ".join(f"`{choice}`" for choice in setting.choices)
    default = setting.to_text(setting.default) or "–"
    return f"| `{setting.name}` | {default} | {limits or choices} | {setting.unit} | {setting.description} |"


def entry(name: str) -> Iterator[str]:
    thing = getattr(ddpm, name)
    yield f"## {name}\n"
    if not inspect.isclass(thing) and not inspect.isfunction(thing):
        yield f"A registry, by name: {', '.join(f'`{key}`' for key in thing)}.\n"
        return
    if inspect.isfunction(thing):
        yield f"```\n{signature_of(name, thing)}\n```\n"
    yield as_markdown(thing.__doc__ or "") + "\n"
    if thing is ddpm.Config:
        for section, settings in all_settings().items():
            yield f"### The section `{section}`\n\n| field | default | allowed | unit | |\n|---|---|---|---|---|"
            yield from map(row, settings)
            yield ""
    elif inspect.isclass(thing) and issubclass(thing, BaseModel):
        yield "Its fields are those of the section `sampling` above.\n"
    elif dataclasses.is_dataclass(thing) or hasattr(thing, "_fields"):
        yield "Fields: " + ", ".join(f"`{field}`" for field in inspect.get_annotations(thing)) + ".\n"
    if inspect.isclass(thing) and not issubclass(thing, BaseModel | Exception):
        for shown, said in members(thing):
            yield f"### `{name}.{shown}`\n\n{as_markdown(said)}\n"


def page() -> str:
    return "\n".join([HEAD, *(line for name in ddpm.__all__ for line in entry(name))])


if __name__ == "__main__":
    Path(__file__).with_name("api.md").write_text(page(), encoding="utf-8")
