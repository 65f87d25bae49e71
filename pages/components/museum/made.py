"""Make the museum: ``python -m pages.components.museum.made`` trains its models, samples them, asks the doctor, and
writes what the page shows into ``pages/museum``; twelve minutes on one core. With the names of exhibits it makes those
alone, of the models that are there.
"""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ddpm.data import load_dataset
from ddpm.evaluation.calibration import image_errors, table_of
from ddpm.files import write_bytes, write_text
from ddpm.media.images import make_grid, png_bytes, to_uint8
from ddpm.models import load_model

from .exhibits import MEASURED, MODELS, SIDES, picture_file
from .faults import KINDS, Fault, Made, first, trained, used

IMAGES = 20
STEPS = 12  # timesteps of the calibration
LOSSES = "losses.json"


def model_folder(kind: str, side: str) -> Path:
    """Where the weights of a side of an exhibit are: what is trained alike is trained once."""
    fault = KINDS[kind](first)
    own = getattr(fault, side).trains
    if own == Fault.right.trains:
        return MODELS / "right"
    return MODELS / f"{kind}-{'right' if own == fault.right.trains else 'wrong'}"


def made(kind: str, side: str) -> Made:
    """A side of an exhibit, of the models that are there.

    Raises:
        ModelError: they are not.
    """
    fault = KINDS[kind](first)
    model = load_model("mnist" if fault.of_mnist else str(model_folder(kind, side)))
    return used(getattr(fault, side), Made(model, model.config.sampling))


def main(names: list[str]) -> None:
    if unknown := set(names) - KINDS.keys():
        sys.exit(f"no exhibit is called {', '.join(sorted(unknown))}: take {', '.join(KINDS)}")
    measured = json.loads(MEASURED.read_text(encoding="utf-8")) if names else {}
    if not names:
        shutil.rmtree(MODELS, ignore_errors=True)
        _train()
    for kind in names or KINDS:
        measured[kind] = {side: _exhibit(kind, side) for side in SIDES}
        write_text(MEASURED, json.dumps(measured, sort_keys=True))
        print(kind, *(measured[kind][side]["signs"][:1] for side in SIDES), flush=True)


def _train() -> None:
    for kind in KINDS:
        fault = KINDS[kind](first)
        for side in () if fault.of_mnist else SIDES:
            folder = model_folder(kind, side)
            if not folder.exists():
                model = trained(getattr(fault, side))
                print(model.model.save(folder), flush=True)
                write_text(folder / LOSSES, json.dumps(_short(model.losses)))


def _short(losses: Iterable[tuple[int, float]]) -> list[tuple[int, float]]:
    """Four digits, no value that JSON lacks, and no more than a chart shows."""
    kept = [(step, float(f"{loss:.4g}")) for step, loss in losses if math.isfinite(loss)]
    return kept[:: math.ceil(len(kept) / 150)]


def _exhibit(kind: str, side: str) -> dict[str, Any]:
    fault, it = KINDS[kind](first), made(kind, side)
    write_bytes(picture_file(kind, side), png_bytes(make_grid(to_uint8(it.images(IMAGES)), 10)))
    signs = list(it.signs())
    (own,) = [sign for sign in signs if sign.cause == fault.cause]
    found = {"measured": own.measured, "signs": [sign.cause for sign in signs if sign.wrong]}
    if fault.of_mnist:
        return found
    losses = json.loads((model_folder(kind, side) / LOSSES).read_text(encoding="utf-8"))
    return found | {"losses": losses, "calibration": _calibration(it)}


def _calibration(it: Made) -> dict[str, Any]:
    """The error of the predicted noise over t, as the model is read here, without a class."""
    model = it.model
    test, last = load_dataset(model.config.data, "test"), model.schedule.num_timesteps - 1
    timesteps = sorted({round(last * k / (STEPS - 1)) for k in range(STEPS)})
    errors = image_errors(model.denoiser(clip=False), model.schedule, test.scaled(), timesteps)
    table = table_of([each.row() for each in errors])
    short = {name: [float(f"{value:.4g}") for value in table[name]] for name in ("mse", "mse_ci95")}
    return {"timesteps": table["timesteps"], **short}


if __name__ == "__main__":
    main(sys.argv[1:])
