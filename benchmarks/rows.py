"""A row of the table, the table, and rounds in which everybody takes a turn."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

LESS_IS_BETTER = ("s", "min", "eps-MSE", "Fréchet distance", "MB", "%", "times")
MORE_IS_BETTER = {"images/s": True} | dict.fromkeys(LESS_IS_BETTER, False)
"""Every unit."""


@dataclass(frozen=True)
class Row:
    """One comparison. ``ours`` and ``peer`` are medians in ``unit``; None where there is nothing to compare or say."""

    task: str
    row: str
    unit: str
    ours: float | None
    peer: float | None = None
    peer_name: str | None = None
    n: int = 1
    """Rounds that count."""
    spread: tuple[float, float] | None = None
    """The lowest and the highest ratio of a round; without a peer, of ours' own values."""
    params_m: float | None = None
    gmac: float | None = None
    """Of the peer's network: millions of parameters, billions of multiplications an image and evaluation."""
    peak_share: tuple[float | None, float | None] | None = None
    """The share of the machine's measured peak, at the precision of each, that ours and the peer reach."""

    @property
    def ratio(self) -> float | None:
        """How many times better ours is, above 1 whatever the unit."""
        return better(self.unit, self.ours, self.peer) if self.ours and self.peer else None

    @classmethod
    def measured(
        cls, task: str, row: str, unit: str, ours: Sequence[float], peer: Sequence[float] = (), **others: Any
    ) -> Row:
        """From the values of the rounds, those of ``ours`` and ``peer`` taken in the same ones."""
        each = [better(unit, *pair) for pair in zip(ours, peer, strict=True)] if peer else ours
        return cls(
            task, row, unit, statistics.median(ours), statistics.median(peer) if peer else None,
            n=len(ours), spread=(min(each), max(each)), **others,
        )  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        names = ("task", "row", "ours", "peer", "peer_name", "unit", "ratio", "n", "spread", "params_m", "gmac")
        return {name: getattr(self, name) for name in (*names, "peak_share")}


def better(unit: str, ours: float, peer: float) -> float:
    return ours / peer if MORE_IS_BETTER[unit] else peer / ours


def json_text(rows: Iterable[Row]) -> str:
    return json.dumps([row.as_json() for row in rows], indent=2) + "\n"


COLUMNS = ("task", "", "ours", "peer", "", "ours is better", "n", "peer's network", "of peak: ours, peer")


def table(rows: Iterable[Row]) -> str:
    """All rows in Markdown."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    return "\n".join(lines + ["| " + " | ".join(_cells(row)) + " |" for row in rows])


def _cells(row: Row) -> list[str]:
    low, high = (_number(value) for value in row.spread) if row.spread else ("", "")
    times = f"{row.ratio:.2f} x" if row.ratio else ""
    spread = f" ({low} to {high})" if row.n > 1 else ""
    size = f"{row.params_m:.2f} M, {row.gmac:.3f} GMAC" if row.gmac else ""
    shares = ", ".join("-" if share is None else f"{share:.0%}" for share in row.peak_share or ())
    ours = "never" if row.ours is None else f"{_number(row.ours)} {row.unit}" + (spread if row.ratio is None else "")
    peer = "" if row.peer is None else f"{_number(row.peer)} {row.unit}"
    return [
        row.task,
        row.row,
        ours,
        peer,
        row.peer_name or "",
        times + (spread if times else ""),
        str(row.n),
        size,
        shares,
    ]


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def turns(names: Sequence[str], number: int) -> list[str]:
    """The order of a round: whoever was first is last in the next."""
    first = number % len(names)
    return [*names[first:], *names[:first]]


def interleaved(works: dict[str, Callable[[], object]], rounds: int, *, warm_up: bool = True) -> dict[str, list[float]]:
    """The seconds that each took in each of ``rounds`` rounds, after one to warm up unless they are warm already."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + warm_up):
        for name in turns(list(works), number):
            start = time.perf_counter()
            works[name]()
            seconds[name].append(time.perf_counter() - start)
    return {name: found[warm_up:] for name, found in seconds.items()}
