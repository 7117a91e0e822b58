"""Disks of their own for tests that fill them."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def mount(*args: str) -> int:
    try:
        return subprocess.run(["mount", *args], check=False, capture_output=True).returncode
    except OSError:
        return 1


@contextmanager
def mounted(place: Path, size: int) -> Iterator[None]:
    """While it is entered, a folder is a disk of `size` bytes; skips the test where none can be mounted."""
    if mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)):
        pytest.skip("no disk of its own can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk: Path, *, left: int = 0) -> None:
    """Leaves room for `left` bytes, as far as the disk counts them, by the file `filler`."""
    with (disk / "filler").open("wb") as filler:
        filler.truncate(0)
        room = os.statvfs(disk)
        filler.write(bytes(max(0, room.f_bavail * room.f_frsize - left)))
