"""Who trains on a device: many at once, or one alone, for a training that found no memory beside the others.

A device is named alike by all processes of this machine (`nas.system.hardware.device_id`).
"""

import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import ReadWriteLock, Timeout

__all__ = ["exclusive", "shared"]

SECONDS_BETWEEN_LOOKS = 1.0
"""How long a wait lasts at most before a signal, such as Ctrl-C, is answered."""


@contextmanager
def shared(*devices: str) -> Iterator[None]:
    """Trains on devices of this machine together with other workers; waits while one of them wants one alone."""
    with _held(devices, lambda lock: lock.acquire_read):
        yield


@contextmanager
def exclusive(*devices: str) -> Iterator[None]:
    """Trains on devices of this machine once all others have ended what they train, and before they begin anew."""
    with _held(devices, lambda lock: lock.acquire_write):
        yield


@contextmanager
def _held(devices: Sequence[str], acquiring: Callable[[ReadWriteLock], Callable[[float], object]]) -> Iterator[None]:
    """In an order that is the same for all, so that nobody waits in a circle."""
    with ExitStack() as locks:
        for device in sorted(devices):
            lock = _lock(device)
            _take(acquiring(lock))
            locks.callback(lock.release)
        yield


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
