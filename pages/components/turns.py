"""The queue for this machine: one computation at a time, and whose turn it is.

First come, first served would make a picture of five seconds wait for twenty of seven; taking turns step by step would
make it as slow as all of them together. Here every request gets a *due time* when it comes; the earliest goes first:

    due = arrival + PATIENCE x (seconds that it is expected to take) + RECENT x (seconds that its visitor had recently)

So equal requests go in the order in which they came; a short one overtakes a long one, even one that is being computed,
which continues afterwards; and a visitor who asks once in a while overtakes one who keeps asking. Nothing starves: both
terms are capped, so a request is overtaken only by those that come within (PATIENCE + RECENT) x LONGEST seconds after
it, and from then on by none. This is earliest-deadline-first scheduling (Liu & Layland 1973) with deadlines that make
it nearly shortest-job-first under light load.

`python -m benchmarks.public --minutes 3.5` on two cores, 16 digits of a visitor beside 20 who keep asking: after 41 s;
first come, first served, with PATIENCE and RECENT 0, not within 210 s.

A turn lasts from step to step, and is handed over between two steps only to a request that is due earlier. Each visitor
has one request: a newer one replaces the older. Nobody waits for a visitor who has left: a request whose thread has
ended or no longer asks for its turn is skipped.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

PATIENCE = 100.0  # seconds of waiting that weigh as much as one of computing
RECENT = 40.0  # the same, for a second of computing that the visitor has had
HALF_LIFE = 600.0  # seconds after which a visitor's earlier computing counts half
LONGEST = 120.0  # seconds of computing; anything longer counts as this
POLL = 0.5  # seconds between two checks whether a waiting visitor is still there
GONE = 5.0  # seconds after which a request that has not checked is skipped
FIRST_PACE = 0.004  # seconds per unit of work before any of its kind was measured


class Replaced(Exception):
    """The same visitor has asked for something else since."""


class Place(NamedTuple):
    """How many requests go first, and about how many seconds they will take."""

    ahead: int
    seconds: float


@dataclass(eq=False)
class _Request:
    who: str
    kind: str
    work: float
    came: float
    had: float
    """Seconds of computing that the visitor had recently, when it came."""
    seen: float
    thread: threading.Thread = field(default_factory=threading.current_thread)
    replaced: bool = False
    spent: float = 0.0
    since: float = 0.0


class Turn:
    """A request that has its turn. ``waited`` is for how many seconds it has since given way to others."""

    def __init__(self, turns: Turns, request: _Request, on_wait: Callable[[Place], None]):
        self._turns, self._request, self._on_wait = turns, request, on_wait
        self.waited = 0.0

    def give_way(self) -> None:
        """Let requests that are due earlier compute first. Call it between two steps.

        Raises:
            Replaced: the visitor has asked for something else.
        """
        if self._turns._hand_over(self._request):
            started = time.monotonic()
            self._turns._await(self._request, self._on_wait)
            self.waited += time.monotonic() - started


class Turns:
    """Who computes, and who waits. All methods may be called from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._changed = threading.Condition()
        self._requests: dict[str, _Request] = {}
        self._holder: _Request | None = None
        self._recent: dict[str, tuple[float, float]] = {}  # seconds of computing that each visitor had, as of when
        self._pace: dict[str, float] = {}  # seconds per unit of work, for each kind

    @contextmanager
    def turn(
        self, who: str, kind: str, work: float, on_wait: Callable[[Place], None] = lambda place: None
    ) -> Iterator[Turn]:
        """Wait for a turn, and hold it.

        Args:
            who: the visitor.
            kind: what the work is; all of a kind takes equally long per unit.
            work: how much it is.
            on_wait: called with the place in the queue every ``POLL`` seconds. Its errors end the wait and free the
                place.

        Raises:
            Replaced: the visitor has asked for something else meanwhile.
        """
        request, done = self._join(who, kind, work), False
        try:
            self._await(request, on_wait)
            yield Turn(self, request, on_wait)
            done = True
        finally:
            self._leave(request, done)

    def expected(self, kind: str, work: float) -> float | None:
        """The seconds that some work takes, from what was measured of its kind; None before anything was."""
        pace = self._pace.get(kind)
        return None if pace is None else pace * work

    def __len__(self) -> int:
        """How many requests compute or wait."""
        return len(self._requests)

    def _join(self, who: str, kind: str, work: float) -> _Request:
        with self._changed:
            now = self._clock()
            self._requests = {who: request for who, request in self._requests.items() if request.thread.is_alive()}
            older = self._requests.get(who)
            if older and older is self._holder and older.thread is threading.current_thread():
                raise RuntimeError("this thread has its turn already")
            if older:
                older.replaced = True
            request = self._requests[who] = _Request(who, kind, work, now, self._had(who, now), seen=now)
            self._changed.notify_all()
            return request

    def _await(self, request: _Request, on_wait: Callable[[Place], None]) -> None:
        while not self._wait(request):
            on_wait(self._place(request))

    def _wait(self, request: _Request) -> bool:
        """Wait for ``POLL`` seconds at most; True if it is the request's turn."""
        with self._changed:
            request.seen = self._clock()
            self._changed.wait_for(lambda: request.replaced or self._take(request), POLL)
            request.seen = self._clock()
            if request.replaced:
                raise Replaced
            return self._holder is request

    def _take(self, request: _Request) -> bool:
        now = self._clock()
        if self._holder and not self._holder.thread.is_alive():
            self._release(self._holder, now)
        if self._holder is None and self._first(now) is request:
            self._holder, request.since = request, now
        return self._holder is request

    def _expected(self, request: _Request) -> float:
        return request.work * self._pace.get(request.kind, FIRST_PACE)

    def _due(self, request: _Request) -> float:
        """At the machine's current pace: two requests are not compared by paces of different times."""
        return request.came + PATIENCE * min(self._expected(request), LONGEST) + RECENT * min(request.had, LONGEST)

    def _first(self, now: float) -> _Request | None:
        present = (request for request in self._requests.values() if now - request.seen < GONE)
        return min(present, key=self._due, default=None)

    def _hand_over(self, request: _Request) -> bool:
        with self._changed:
            now = self._clock()
            request.seen = now
            if request.replaced:
                raise Replaced
            if self._first(now) is request:
                return False
            self._release(request, now)
            return True

    def _leave(self, request: _Request, done: bool) -> None:
        with self._changed:
            if self._holder is request:
                self._release(request, self._clock())
            if self._requests.get(request.who) is request:
                del self._requests[request.who]
            if done and request.work:
                pace = request.spent / request.work
                before = self._pace.get(request.kind, pace)  # the first is slow: it warms up
                self._pace[request.kind] = pace if pace < before else (before + pace) / 2
            self._changed.notify_all()

    def _release(self, request: _Request, now: float) -> None:
        spent = now - request.since
        request.spent += spent
        had = self._had(request.who, now) + spent
        recent = {who: entry for who, entry in self._recent.items() if self._had(who, now) > 0.01}
        self._recent = recent | {request.who: (had, now)}
        self._holder = None
        self._changed.notify_all()

    def _had(self, who: str, now: float) -> float:
        seconds, then = self._recent.get(who, (0.0, now))
        return seconds * 0.5 ** ((now - then) / HALF_LIFE)

    def _place(self, request: _Request) -> Place:
        with self._changed:
            now = self._clock()
            due = self._due(request)
            ahead = [other for other in self._requests.values()
                     if other is not request and (other is self._holder or self._due(other) < due)]  # fmt: skip
            return Place(len(ahead), sum(self._left(other, now) for other in ahead))

    def _left(self, request: _Request, now: float) -> float:
        running = now - request.since if request is self._holder else 0.0
        return max(0.0, self._expected(request) - request.spent - running)
