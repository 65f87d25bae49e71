"""Return the memory that a computation has freed to the system.

glibc keeps it, in one arena per thread, and every run of a page is a separate thread: a server with many visitors would
hold what the largest picture took, once for every arena.
"""

import ctypes
import functools
import gc
import sys
from collections.abc import Callable


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    """glibc's function; None with another allocator, which behaves differently."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None


def give_back() -> None:
    """Return what is free to the system; takes milliseconds."""
    if trim := _malloc_trim():
        trim(0)


_modules = 0


def keep_modules() -> None:
    """Make the garbage collector skip what modules hold, whenever there are new ones.

    Streamlit collects after every run of a page, and going through torch and the like took 0.2 s each time. What
    visitors hold at such a moment is skipped too, which happens a few times in the life of a server.
    """
    global _modules
    if len(sys.modules) != _modules:
        _modules = len(sys.modules)
        gc.collect()
        gc.freeze()
