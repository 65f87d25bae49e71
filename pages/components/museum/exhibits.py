"""The exhibits of the museum: what was measured, and the words beside it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[2] / "museum"
MODELS, MEASURED, WORDS = FOLDER / "models", FOLDER / "measured.json", FOLDER / "exhibits.yaml"
SIDES = ("wrong", "right")


@dataclass(frozen=True)
class Exhibit:
    """A fault as the page shows it."""

    kind: str
    """Its name in ``faults.KINDS``."""
    title: str
    see: str
    why: str
    wrong: str
    right: str
    measured: dict[str, dict[str, Any]]
    """Of both ``SIDES``: the sentence of the doctor's sign, the causes it names, and, where a small model was trained
    for it, losses and calibration."""

    def picture(self, side: str) -> bytes:
        """The PNG of 20 samples, 10 in a row, at their own size."""
        return picture_file(self.kind, side).read_bytes()

    def sign(self, side: str) -> str:
        """What the doctor measured, as a sentence."""
        measured = self.measured[side]["measured"]
        return f"{measured[0].upper()}{measured[1:]}."

    def differs(self, what: str) -> bool:
        """Whether the two sides have other ``losses``, or another ``calibration``."""
        wrong, right = (self.measured[side].get(what) for side in SIDES)
        return wrong != right


def picture_file(kind: str, side: str) -> Path:
    return FOLDER / "pictures" / f"{kind}-{side}.png"


@cache
def exhibits() -> dict[str, Exhibit]:
    """All exhibits, in the order of their words."""
    words = yaml.safe_load(WORDS.read_text(encoding="utf-8"))
    measured = json.loads(MEASURED.read_text(encoding="utf-8"))
    return {kind: Exhibit(kind, **said, measured=measured[kind]) for kind, said in words.items()}
