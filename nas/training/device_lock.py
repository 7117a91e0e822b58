"""Locks devices for training: shared by many workers, or exclusive for a training that needs all the memory.

Devices are named by IDs that all processes of this machine share (`nas.system.hardware.device_id`).
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
"""Maximum delay before a waiting process handles a signal such as Ctrl-C."""


@contextmanager
def shared(*devices: str) -> Iterator[None]:
    """Holds shared locks on devices; waits while another worker holds or wants exclusive access."""
    with _held(devices, lambda lock: lock.acquire_read):
        yield


@contextmanager
def exclusive(*devices: str) -> Iterator[None]:
    """Holds exclusive locks on devices; waits until the other workers have finished their current trainings."""
    with _held(devices, lambda lock: lock.acquire_write):
        yield


@contextmanager
def _held(devices: Sequence[str], acquiring: Callable[[ReadWriteLock], Callable[[float], object]]) -> Iterator[None]:
    """Acquires the locks in sorted order, to avoid deadlock."""
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
    """Returns the lock of a device, shared by all of this user's searches on this machine."""
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "")
    name = re.sub(r"\W+", "-", device)
    return ReadWriteLock(Path(tempfile.gettempdir()) / f"nas-{user}-{name}.lock.db", is_singleton=False)
