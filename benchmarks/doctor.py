"""How often the doctor is right: ``python -m benchmarks.doctor``, an hour on one core.

Faults are drawn by a program: of a kind of ``pages.components.museum.faults``, with a value of its own, in a small
model of a drawn schedule, prediction and size. The doctor is right if the first cause that it names is the one that was
made. Beside them are healthy models, in which it may find nothing. The last faults are kept apart: no threshold of the
doctor was changed after they were drawn; docs/evaluation.md says what else was.

Each case keeps a file in ``outputs/measured/doctor``, so that an interrupted run goes on; ``--only fault-7`` looks at
one.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import torch

from ddpm.config import Config
from ddpm.config.edit import with_overrides
from ddpm.files import output_dir, write_text
from ddpm.models import load_model
from pages.components.museum.faults import BASE, KINDS, Fault, Made, Recipe, trained, used

FAULTS, APART, HEALTHY = 50, 10, 30
SCHEDULES = (
    *((f"schedule.name={name}",) for name in ("linear", "cosine", "sigmoid", "scaled_linear")),
    ("schedule.name=cosine", "schedule.num_timesteps=25"),
)


def folder() -> Path:
    return output_dir() / "measured" / "doctor"


def drawn(draw: random.Random) -> list[str]:
    """A healthy small model, as overrides of the museum's."""
    return [
        "training.epochs=10",
        *draw.choice(SCHEDULES),
        f"diffusion.prediction_type={draw.choice(('eps', 'v', 'x0'))}",
        f"model.base_channels={draw.choice((16, 16, 24))}",
        "model.head_channels=8",
        f"training.seed={draw.randrange(1000)}",
        f"sampling.num_steps={draw.choice((10, 20, 25))}",
        f"sampling.guidance_scale={draw.choice((1, 1.5, 2))}",
    ]


@cache
def healthy(number: int) -> Made:
    """A healthy model, trained once."""
    config = with_overrides(BASE, drawn(random.Random(f"healthy {number}")))
    place = folder() / f"healthy-{number:02d}"
    if not (place / "model.safetensors").exists():
        trained(Recipe(), config).model.save(place)
    model = load_model(str(place))
    return Made(model, model.config.sampling)


def can_have(kind: str, fault: Fault, config: Config) -> bool:
    """Whether what is done wrong is wrong in such a model: no clipping is harmless where x0 is not a quotient, and an
    output can only be misread as another."""
    prediction = config.diffusion.prediction_type
    if kind == "unclipped":
        return prediction == "eps"
    return kind != "misread" or not any(reading.endswith(f"={prediction}") for reading in fault.wrong.reading)


def faulty(number: int) -> tuple[str, Fault, Made]:
    """A fault of one kind after the other, drawn in a model that can have it."""
    kind = list(KINDS)[number % len(KINDS)]
    draw = random.Random(f"fault {number}")
    fault = KINDS[kind](lambda *values: draw.choice(values))
    if fault.of_mnist:
        model = load_model("mnist")
        return kind, fault, used(fault.wrong, Made(model, model.config.sampling))
    if fault.wrong.trains != Recipe().trains:
        config = with_overrides(BASE, drawn(draw))
        while not can_have(kind, fault, config):
            config = with_overrides(BASE, drawn(draw))
        return kind, fault, used(fault.wrong, trained(fault.wrong, config))
    models = map(healthy, draw.sample(range(HEALTHY), HEALTHY))
    return kind, fault, used(fault.wrong, next(of for of in models if can_have(kind, fault, of.model.config)))


def look(name: str, number: int) -> dict[str, Any]:
    """One case, by its name and number: what was made, and what the doctor named."""
    kind, fault, made = faulty(number) if name == "fault" else ("healthy", None, healthy(number))
    signs = list(made.signs())
    named = [sign.cause for sign in signs if sign.wrong]
    right = named[:1] == [fault.cause] if fault else not named
    return {
        "kind": kind, "right": right, "named": named, "measured": [sign.measured for sign in signs if sign.wrong],
        "wrong": repr(fault.wrong) if fault else "", "config": made.model.config.model_dump(mode="json"),
    }  # fmt: skip


def cases() -> list[tuple[str, int]]:
    """Healthy ones first: most faults of sampling are made in one of them."""
    return [("healthy", number) for number in range(HEALTHY)] + [("fault", number) for number in range(FAULTS)]


def table(found: dict[tuple[str, int], dict[str, Any]]) -> str:
    """Shares, and the cases in which the doctor was wrong."""

    def share(label: str, some: Iterable[tuple[str, int]]) -> str:
        there = [found[case]["right"] for case in some if case in found]
        return f"| {label} | {sum(there)} of {len(there)} |"

    faults = [("fault", number) for number in range(FAULTS)]
    lines = [
        "| | right |", "|---|---|",
        share("faults named first", faults),
        share(f"of these the {APART} kept apart", faults[-APART:]),
        share("healthy, nothing found", [("healthy", number) for number in range(HEALTHY)]),
        "",
    ]  # fmt: skip
    for (name, number), case in found.items():
        if not case["right"]:
            named = ", ".join(case["named"]) or "nothing"
            lines.append(f"{name}-{number}, {case['kind']}: {named}; {case['measured'][:1]}; {case['wrong']}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", metavar="NAME-N", help="One case again, such as fault-7.")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = {}
    for name, number in cases():
        path = folder() / f"{name}-{number:02d}.json"
        if arguments.only == f"{name}-{number}" or not (arguments.only or path.exists()):
            write_text(path, json.dumps(look(name, number), indent=1))
            print(path.read_text(encoding="utf-8") if arguments.only else f"{path.stem}", flush=True)
        if path.exists():
            found[name, number] = json.loads(path.read_text(encoding="utf-8"))
    print(table(found))


if __name__ == "__main__":
    main()
