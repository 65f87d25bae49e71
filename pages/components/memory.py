"""Memory that a computation has freed goes back to the system.

glibc keeps it, in an arena of each thread, and every run of a page is a thread of its own: a server that many visit
would hold what the largest picture took, as often as there are arenas.
"""

import ctypes
import functools
import gc
import sys
from collections.abc import Callable


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    """glibc's; None where there is another allocator, which has habits of its own."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None


def give_back() -> None:
    """Let the system have what is free; takes milliseconds."""
    if trim := _malloc_trim():
        trim(0)


_modules = 0


def keep_modules() -> None:
    """Have the garbage collector pass over what modules hold, whenever there are new ones.

    Streamlit collects after every run of a page, and looking through torch and its like took 0.2 s each time. What
    visitors hold at such a moment is passed over with it, which happens a few times in the life of a server.
    """
    global _modules
    if len(sys.modules) != _modules:
        _modules = len(sys.modules)
        gc.collect()
        gc.freeze()
