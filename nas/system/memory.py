"""Releases memory between trainings, and recognises out-of-memory errors."""

import ctypes
import gc
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = [
    "MAY_LACK_MEMORY",
    "SAY_NO_MEMORY",
    "is_out_of_memory",
    "may_lack_memory",
    "not_growing",
    "release_memory",
    "without_collections",
]

SAY_NO_MEMORY = ("can't allocate memory", "out of memory", "ALLOC_FAILED")
"""Phrases in torch's RuntimeErrors for a failed allocation, on the CPU and in some CUDA libraries."""
MAY_LACK_MEMORY = (
    "unable to find an engine to execute this computation",
    "Unable to find a valid cuDNN algorithm",
    "STATUS_NOT_INITIALIZED",
)
"""Errors of cuDNN and cuBLAS that may also mean too little memory for a workspace or for the library itself."""
WORK_PER_COLLECTION = 9
"""The least time between two collections on a CPU, in durations of a collection."""


@contextmanager
def not_growing() -> Iterator[Callable[[], None]]:
    """Yields a function that frees the memory left by a training, so that a series of trainings does not grow.

    Trainers and networks form reference cycles, which only the garbage collector frees. Objects from before this
    context are frozen, so that a collection takes about a millisecond; as the study's own objects slow it down, it is
    left out where it would take more than a tenth of the time. Networks of varying shapes fragment the heap, which
    glibc returns only on `malloc_trim`. GPU memory cached by torch is always released, as other workers need it.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    due = 0.0

    def give_back() -> None:
        nonlocal due
        began = time.monotonic()
        if began < due and not _uses_cuda():
            return
        release_memory()
        if trim is not None:
            trim(0)
        ended = time.monotonic()
        due = ended + WORK_PER_COLLECTION * (ended - began)

    gc.collect()
    gc.freeze()
    try:
        yield give_back
    finally:
        gc.unfreeze()


def release_memory() -> None:
    """Frees the memory left by a training, including torch's GPU cache if this process uses a GPU."""
    gc.collect()
    if _uses_cuda():
        sys.modules["torch"].cuda.empty_cache()


def _uses_cuda() -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and bool(torch.cuda.is_initialized())


@contextmanager
def without_collections() -> Iterator[None]:
    """Keeps the garbage collector from going again and again through the thousands of objects that are created."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def is_out_of_memory(error: Exception) -> bool:
    """Returns whether an error means that a training ran out of CPU or GPU memory."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, without torch
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in SAY_NO_MEMORY)


def may_lack_memory(error: Exception) -> bool:
    """Returns whether a failed training may succeed with the GPU to itself: memory certainly or possibly ran out."""
    if is_out_of_memory(error):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in MAY_LACK_MEMORY)
