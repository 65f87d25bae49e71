"""Ours beside diffusers and denoising-diffusion-pytorch (lucidrains), in one run and one table: ``make bench``.

Everybody takes turns, round by round, in an order that rotates; the first round warms up. Ours is what is shipped, the
peers' networks are matched to it in parameters and in multiplications, and each runs in its own best setting.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ddpm.errors import DDPMError, one_line
from ddpm.files import write_text

TASKS = ("sample", "digits", "train", "quality", "picture", "overhead", "busy", "live")


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="also keep the rows as a list of objects")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--quick", action="store_true", help="under three minutes: less of everything, fewer rounds")
    how.add_argument(
        "--full", action="store_true", help="also the time to quality: an hour, unless it is there already"
    )
    parser.add_argument("--only", action="append", choices=TASKS, metavar="TASK", help=", ".join(TASKS))
    return parser.parse_args(words)


def tasks_of(arguments: argparse.Namespace) -> list[str]:
    """The tasks to run. The time to quality takes ``--full`` or its name, what keeps the machine busy its name."""
    if arguments.only:
        return [task for task in TASKS if task in arguments.only]
    return [task for task in TASKS if task not in ("busy", "live") and (task != "quality" or arguments.full)]


def main(words: Sequence[str] | None = None) -> None:
    arguments = parse(words)
    try:
        run(arguments)
    except DDPMError as error:  # such as a dataset that is not here
        sys.exit(one_line(error))


def run(arguments: argparse.Namespace) -> None:
    from . import busy, digits, live, overhead, picture, quality, sample, training  # what they import takes seconds
    from .machine import this_machine
    from .rows import json_text, table

    makers = {
        "sample": sample.rows,
        "digits": digits.rows,
        "train": training.rows,
        "quality": quality.rows,
        "picture": picture.rows,
        "overhead": overhead.rows,
        "busy": busy.rows,
        "live": live.rows,
    }
    machine = this_machine()
    print(machine, flush=True)
    rows = []
    for task in tasks_of(arguments):
        rows += makers[task](machine, arguments.quick)
        if arguments.json:  # as it grows: a later task that fails costs no earlier one
            write_text(arguments.json, json_text(rows))
    print(f"\n{table(rows)}")


if __name__ == "__main__":
    main()
