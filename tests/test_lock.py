"""The container: packages of exact versions and known content, from one index, under an app it cannot change."""

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.test_licences import needed

ROOT = Path(__file__).resolve().parents[1]
OF_PYTORCH = re.compile(r"torch|torchvision|triton|(cuda|nvidia)-.*")  # and of GPUs: not from PyPI in the container


def locked() -> dict[str, tuple[set[str], int]]:
    """Versions and the number of hashes, by the names of the packages in requirements.lock."""
    found: dict[str, tuple[set[str], int]] = {}
    entries = re.split(r"\n(?=\S)", (ROOT / "requirements.lock").read_text(encoding="utf-8"))
    for entry in (entry for entry in entries if not entry.startswith("#")):
        package, *hashes = entry.split(" \\\n")
        wanted = Requirement(package)
        assert all(re.fullmatch(r"\s+--hash=sha256:[0-9a-f]{64}\s*", line) for line in hashes), wanted.name
        (version,) = (item.version for item in wanted.specifier if item.operator == "==")
        versions, count = found.get(wanted.name, (set(), 0))
        found[wanted.name] = versions | {version}, count + len(hashes)
    return found


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.slow
def test_the_lock_has_all_that_is_needed_with_hashes_and_the_versions_of_requirements_txt():
    lock = locked()
    assert all(count for _, count in lock.values())
    missing = [name for name in map(normal, needed()) if name not in lock and not OF_PYTORCH.fullmatch(name)]
    assert not missing, f"make lock: {missing}"
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    for wanted in (Requirement(line) for line in lines if line and line[0] not in "#-"):
        if not OF_PYTORCH.fullmatch(wanted.name):
            (version,) = lock[normal(wanted.name)][0]
            assert wanted.specifier.contains(version), f"make lock: {wanted}"


def test_the_container_installs_what_is_locked_and_its_user_cannot_change_the_app():
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    assert re.fullmatch(
        r"FROM python:3\.11-slim@sha256:[0-9a-f]{64} AS base", next(x for x in lines if x[:4] == "FROM")
    )
    torch, rest = (line for line in lines if line.startswith("RUN pip install"))
    assert "--no-deps --index-url https://download.pytorch.org/whl/cpu $(grep -E '^torch(vision)?==' " in torch
    assert "--no-deps --require-hashes -r requirements.lock" in rest
    assert "index-url" not in rest
    assert not any("--chown" in line for line in lines if line.startswith("COPY"))
    assert "RUN mkdir outputs data && chown user:user outputs data" in lines
