"""The README tells the truth: its files exist, its Python runs, and its commands are commands."""

import re
import shlex
from pathlib import Path

import pytest

from ddpm.cli import cli

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands() -> list[str]:
    lines = "\n".join(blocks("bash")).splitlines()
    return [line.split("#")[0].strip() for line in lines if line.startswith(("python -m ddpm", "torchrun"))]


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\((?!https?://)([^)]+)\)", README))))
def test_every_file_that_is_linked_exists(target):
    assert (ROOT / target).is_file()


@pytest.mark.parametrize("line", commands())
def test_every_command_exists_with_its_options(line):
    command, words = cli, shlex.split(line.partition(" -m ddpm ")[2])
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    known = {name for parameter in command.params for name in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known
    does_something = not getattr(command, "commands", None) or command.invoke_without_command
    assert does_something, f"{line} names a group, not a command"


def test_the_library_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (example,) = blocks("python")
    exec(compile(example.replace("num_steps=100", "num_steps=5"), "README.md", "exec"), {})
    assert (tmp_path / "digits.png").stat().st_size > 1000
    assert (tmp_path / "seven.gif").stat().st_size > 1000


def test_every_setting_of_the_environment_stands_in_the_table():
    files = [path for folder in ("ddpm", "pages") for path in (ROOT / folder).rglob("*.py")]
    sources = [path.read_text(encoding="utf-8") for path in files]
    used = {name for source in sources for name in re.findall(r'"(DDPM_[A-Z_]+)"', source)}
    assert used == set(re.findall(r"^\| `(DDPM_[A-Z_]+)` \|", README, re.MULTILINE))


def test_every_promise_of_security_names_tests_that_exist():
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "SECURITY.md").read_text(encoding="utf-8")))
    there = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert len(named) > 40
    assert named <= there, named - there
