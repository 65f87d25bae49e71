"""A cache that visitors share: a thing that is there is not made again, and one that is being made is waited for."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

POLL = 0.3  # seconds between two checks of what somebody else is having made


@dataclass(eq=False)
class _Making:
    """Something that one visitor's thread is making."""

    told: Any = None
    over: threading.Event = field(default_factory=threading.Event)


class Shelf(Generic[K, V]):
    """Things by key, for all visitors. All methods may be called from any thread.

    Together they have at most ``most_bytes``, as ``size_of`` counts them: the least recently used go first. The newest
    stays, however large it is.
    """

    def __init__(self, most_bytes: int, size_of: Callable[[V], int]):
        self._most, self._size_of = most_bytes, size_of
        self._lock = threading.Lock()
        self._things: OrderedDict[K, V] = OrderedDict()
        self._making: dict[K, _Making] = {}

    def __len__(self) -> int:
        return len(self._things)

    def get(self, key: K) -> V | None:
        """The thing of that key, if there is one; counts as a use of it."""
        with self._lock:
            return self._found(key)

    def _found(self, key: K) -> V | None:
        if key in self._things:
            self._things.move_to_end(key)
        return self._things.get(key)

    def get_or_make(self, key: K, make: Callable[[Callable[[Any], None]], V], watch: Callable[[Any], None]) -> V:
        """The thing of that key, else what ``make`` returns; of all threads that ask at once, only one calls it.

        If that one gives up, because of an error or because its visitor has left, the next of them starts over.

        Args:
            make: called with a function that reports the progress to those who wait.
            watch: called every ``POLL`` seconds while somebody else makes it, with the last report, None before the
                first. Its errors end the wait.
        """
        while True:
            with self._lock:
                if (found := self._found(key)) is not None:
                    return found
                making = self._making.get(key)
                mine = making is None
                if mine:
                    making = self._making[key] = _Making()
            if mine:
                return self._make(key, making, make)
            while not making.over.wait(POLL):
                watch(making.told)

    def _make(self, key: K, making: _Making, make: Callable[[Callable[[Any], None]], V]) -> V:
        def tell(what: Any) -> None:
            making.told = what

        try:
            made = make(tell)
            self._put(key, made)
            return made
        finally:
            with self._lock:
                del self._making[key]
            making.over.set()

    def _put(self, key: K, thing: V) -> None:
        with self._lock:
            self._things[key] = thing
            sizes = {key: self._size_of(thing) for key, thing in self._things.items()}
            total = sum(sizes.values())
            while total > self._most and len(self._things) > 1:
                oldest, _ = self._things.popitem(last=False)
                total -= sizes[oldest]
