"""Memory released between trainings, and how running out of it is recognised."""

import ctypes
import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["MAY_LACK_MEMORY", "SAY_NO_MEMORY", "is_out_of_memory", "may_lack_memory", "not_growing", "release_memory"]

SAY_NO_MEMORY = ("can't allocate memory", "out of memory", "ALLOC_FAILED")
"""What torch's RuntimeErrors say where an allocation fails, on the CPU and in some of CUDA's libraries."""
MAY_LACK_MEMORY = (
    "unable to find an engine to execute this computation",
    "Unable to find a valid cuDNN algorithm",
    "STATUS_NOT_INITIALIZED",
)
"""What cuDNN and cuBLAS say also where they find no memory for their workspace, or for the library itself."""


@contextmanager
def not_growing() -> Iterator[Callable[[], None]]:
    """Gives what returns the memory that a training has left, so that a run of many does not grow.

    Trainers and networks refer to each other in circles, which stay until Python looks for such: while this is entered
    it looks among what was made since then alone, in about a millisecond. Networks of ever other shapes leave holes,
    which glibc has to be told to return. What torch keeps of a GPU's memory for later, other workers need now.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None

    def give_back() -> None:
        release_memory()
        if trim is not None:
            trim(0)

    gc.collect()
    gc.freeze()
    try:
        yield give_back
    finally:
        gc.unfreeze()


def release_memory() -> None:
    """Frees what a training has left, on the GPU too, if this process uses one."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def is_out_of_memory(error: Exception) -> bool:
    """Whether a training found no memory, on the CPU or on the GPU."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, without torch
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in SAY_NO_MEMORY)


def may_lack_memory(error: Exception) -> bool:
    """Whether a training may succeed with the GPU to itself: it found no memory, or failed as libraries then may."""
    if is_out_of_memory(error):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in MAY_LACK_MEMORY)
