"""When the digit of an image is decided, averaged over many walks: counted beforehand, and shipped with the app.

``python -m pages.components.decided`` counts again, in a few minutes. Run it when the shipped model has
changed; until then no average is shown.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from ddpm import editing
from ddpm.config import SamplingConfig, sampling_settings
from ddpm.evaluation.classifier import classify
from ddpm.files import write_text
from ddpm.models import Model, load_model
from ddpm.sampling import sample

from .models import default_model, identity

FILE = Path(__file__).parents[1] / "opening" / "decided.json"
STEPS, ROOTS, CHILDREN = 20, 40, 8
PLACES = range(0, STEPS, 2)


@dataclass(frozen=True)
class Decided:
    """How many of ``of`` children, of all roots together, are read as their root, over the timestep at which they leave
    it; ``given`` where both were asked for the class of the root, ``none`` where no class was asked for."""

    model: str
    roots: int
    of: int
    times: list[int]
    given: list[int]
    none: list[int]


def settings_of(model: Model) -> SamplingConfig:
    return sampling_settings(model.config, sampler="ddpm", num_steps=STEPS)


def average(model: Model) -> Decided | None:
    """The shipped counts, None if they are of another model."""
    if not FILE.is_file():
        return None
    found = Decided(**json.loads(FILE.read_text(encoding="utf-8")))
    return found if found.model == identity(model) else None


def count(model: Model) -> Decided:
    """Grow ``CHILDREN`` branches at every timestep of ``ROOTS`` walks."""
    settings = settings_of(model)
    same: dict[bool, list[int]] = {}
    for given in (True, False):
        labels = [k % model.num_classes for k in range(ROOTS)] if given else None
        walk = list(sample(model, ROOTS, labels=labels, settings=settings))
        digits = read(walk[-1].x0)
        same[given] = [_same(model, settings, walk, place, digits, labels) for place in PLACES]
    return Decided(
        identity(model), ROOTS, ROOTS * CHILDREN, [walk[place].t for place in PLACES], same[True], same[False]
    )


def _same(
    model: Model, settings: SamplingConfig, walk: list, place: int, digits: list[int], labels: Sequence[int] | None
) -> int:
    step, rest, found = walk[place], settings.model_copy(update={"num_steps": STEPS - place}), 0
    for k, digit in enumerate(digits):
        asked = None if labels is None else [labels[k]]
        *_, end = editing.branch(
            model, step.x_t[k : k + 1], step.t, CHILDREN, labels=asked, settings=rest, seed=1000 + k
        )
        found += sum(each == digit for each in read(end.x0))
    return found


def read(images: torch.Tensor) -> list[int]:
    return classify(images.clamp(-1, 1)).argmax(1).tolist()


def main() -> None:
    reference = default_model()
    if reference is None:
        sys.exit("no model is shipped with this copy")
    write_text(FILE, json.dumps(asdict(count(load_model(reference)))) + "\n")


if __name__ == "__main__":
    main()
