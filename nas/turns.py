"""Who trains on a device: many at once, or one alone, for a training that found no memory beside the others."""

import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import ReadWriteLock, Timeout

__all__ = ["alone", "beside_others"]

SECONDS_BETWEEN_LOOKS = 1.0
"""How long a wait lasts at most before a signal, such as Ctrl-C, is answered."""


@contextmanager
def beside_others(device: str) -> Iterator[None]:
    """Trains on a device of this machine together with other workers; waits while one of them wants it alone."""
    lock = _lock(device)
    _take(lock.acquire_read)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def alone(device: str) -> Iterator[None]:
    """Trains on a device of this machine once all others have ended what they train, and before they begin anew."""
    lock = _lock(device)
    _take(lock.acquire_write)
    try:
        yield
    finally:
        lock.release()


def _take(acquire: Callable[[float], object]) -> None:
    while True:
        try:
            acquire(SECONDS_BETWEEN_LOOKS)
            return
        except Timeout:
            continue


def _lock(device: str) -> ReadWriteLock:
    """The lock of a device, for all of this person's searches on this machine."""
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "")
    name = re.sub(r"\W+", "-", device)
    return ReadWriteLock(Path(tempfile.gettempdir()) / f"nas-{user}-{name}.lock.db", is_singleton=False)
