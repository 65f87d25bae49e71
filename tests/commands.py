"""Whether a command that a document or a workflow shows is one that a reader can run."""

import importlib.util
import re
import shlex

import click
import yaml

from ddpm.cli import cli
from tests.conftest import ROOT

ELSEWHERE = {"hf", "pip", "pre-commit", "export", "cd", ".", "docker", "sudo"}  # others' programs, and the shell's own


def check_command(line: str) -> None:
    """Fail unless what ``line`` calls exists with the options that it is given: a program with its subcommand, a
    module, a target of make, or a script."""
    words = shlex.split(line)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):  # variables of the environment
        words.pop(0)
    program, *words = words
    if program.endswith("python") and words[0] == "-m":
        _check_module(*words[1:])
    elif program == "torchrun":
        _check_module(*words[words.index("-m") + 1 :])
    elif program == "ddpm":
        _check_ddpm(words)
    elif program == "make":
        targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
        assert {word for word in words if "=" not in word} <= targets, line
    elif program == "bash":
        _check_script(*words)
    else:
        assert program in ELSEWHERE, f"{program} is nothing that this repository or its set-up brings: {line}"


def _check_module(module: str, *words: str) -> None:
    if module == "ddpm":
        _check_ddpm([*words])
        return
    spec = importlib.util.find_spec(module)
    assert spec, f"no module {module}"
    if module.split(".")[0] in ("benchmarks", "tests"):
        folder = ROOT.joinpath(*module.split("."))
        source = (folder / "__main__.py" if folder.is_dir() else folder.with_suffix(".py")).read_text(encoding="utf-8")
        for word in words:
            assert not word.startswith("--") or f'"{word}"' in source, f"{module} has no option {word}"


def _check_ddpm(words: list[str]) -> None:
    command, rest = cli, words[2:] if words[:1] == ["--import"] else words
    while rest and rest[0] in getattr(command, "commands", {}):
        command, rest = command.commands[rest[0]], rest[1:]
    known = {name for parameter in command.get_params(click.Context(command)) for name in parameter.opts}
    unknown = {word for word in rest if word.startswith("--")} - known
    assert not unknown, f"{' '.join(words)}: no option {', '.join(unknown)}"
    does_something = not getattr(command, "commands", None) or command.invoke_without_command or "--help" in rest
    assert does_something, f"{' '.join(words)} names a group, not a command"


def _check_script(script: str, *words: str) -> None:
    source = (ROOT / script).read_text(encoding="utf-8")
    for word in words:
        assert re.search(rf"[ |]{re.escape(word)}( \||\))", source), f"{script} does not know {word}"


def read_yaml(path) -> dict:
    return yaml.safe_load(path.read_text(encoding="utf-8"))
