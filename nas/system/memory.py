"""Memory that trainings have left, given back: between two of them, and before one is tried again for want of it."""

import ctypes
import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["give_all_back", "not_growing"]


@contextmanager
def not_growing() -> Iterator[Callable[[], None]]:
    """Gives what returns the memory that a training has left, so that a run of many does not grow.

    Trainers and networks refer to each other in circles, which stay until Python looks for such: while this is entered
    it looks among what was made since then alone, in about a millisecond. Networks of ever other shapes leave holes,
    which glibc has to be told to return. What torch keeps of a GPU's memory for later, other workers need now.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None

    def give_back() -> None:
        give_all_back()
        if trim is not None:
            trim(0)

    gc.collect()
    gc.freeze()
    try:
        yield give_back
    finally:
        gc.unfreeze()


def give_all_back() -> None:
    """Frees what a training has left, on the GPU too, if this process uses one."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
