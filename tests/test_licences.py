"""Nothing that the app needs is under a licence that would bind what uses it."""

import re
from importlib import metadata

import pytest
from packaging.requirements import Requirement

from tests.conftest import ROOT

# MPL binds the files that are under it alone, which are used here as they are.
COMPATIBLE = re.compile(
    r"MIT(-CMU)?|(0|[23]-Clause )?BSD(-[23]-Clause)?|Apache(-2\.0| Software| 2\.0)?( WITH LLVM-exception)?|BSL-1\.0"
    r"|PSF(-2\.0)?|Python Software Foundation|MPL-2\.0|Mozilla Public 2\.0 \(MPL 2\.0\)|Zlib|CC0-1\.0|ISC"
)


def licence(package: metadata.Distribution) -> str:
    """As an expression; else as classifiers; else the free text's first line."""
    meta = package.metadata
    classifiers = [text for text in meta.get_all("Classifier", []) if text.startswith("License :: OSI")]
    return (
        meta.get("License-Expression")
        or " AND ".join(text.split(" :: ")[-1] for text in classifiers)
        or (meta.get("License") or "none").splitlines()[0]
    )


def needed() -> dict[str, str]:
    """The licence of every package that requirements.txt brings, by its name."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    todo, found = [Requirement(line).name for line in lines if line and line[0] not in "#-"], {}
    while todo:
        package = metadata.distribution(todo.pop())
        name = package.metadata["Name"].lower()
        if name in found:
            continue
        found[name] = licence(package)
        wanted = [Requirement(text) for text in package.requires or []]
        todo += [item.name for item in wanted if item.marker is None or item.marker.evaluate({"extra": ""})]
    return found


@pytest.mark.slow
def test_every_package_that_is_needed_is_under_a_compatible_licence():
    packages = needed()
    assert {"torch", "streamlit", "numpy"} < packages.keys()
    bad = {
        name: text
        for name, text in packages.items()
        if not all(
            COMPATIBLE.fullmatch(re.sub(r"\s*License\s*", " ", part).strip()) for part in re.split(r" AND | OR ", text)
        )
    }
    assert not bad
