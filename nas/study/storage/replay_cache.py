"""Caches what replaying a long journal gives, as line by line it takes a second for some thousand trials.

A state is used only for a journal that begins with exactly the bytes that it was replayed from; the journal's further
lines are read as usual. States lie in the user's cache folder, not beside the journal: they are pickles, which must not
come from somebody else's folder.
"""

import hashlib
import json
import os
import platform
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import optuna

from nas.system.files import cache_folder, write_whole

__all__ = ["State", "load", "save"]

MOST_KEPT = 20
VERSIONS = [optuna.__version__, platform.python_version()]
"""What a pickle may depend on."""


class State(NamedTuple):
    """What the first `lines` lines of a journal, of `size` bytes, give; `read` has hashed exactly those."""

    lines: int
    size: int
    read: "hashlib.blake2b"
    pickled: bytes


def load(journal: Path) -> State | None:
    """Returns the cached state of a journal; None if there is none that fits."""
    file = _file_of(journal)
    with suppress(OSError, ValueError, KeyError, TypeError):
        if file.is_symlink() or not _is_own(file):
            return None
        header, _, pickled = file.read_bytes().partition(b"\n")
        about = json.loads(header)
        read = hashlib.blake2b()
        with journal.open("rb") as opened:
            left = about["size"]
            while left and (part := opened.read(min(left, 2**20))):
                read.update(part)
                left -= len(part)
        known = about["versions"], about["read"], about["pickled"]
        if known == (VERSIONS, read.hexdigest(), hashlib.blake2b(pickled).hexdigest()):
            return State(about["lines"], about["size"], read, pickled)
    return None


def save(journal: Path, state: State) -> None:
    """Keeps a state for `load`, and forgets those that were saved long ago; without a word where that is impossible."""
    about = {
        "versions": VERSIONS,
        "lines": state.lines,
        "size": state.size,
        "read": state.read.hexdigest(),
        "pickled": hashlib.blake2b(state.pickled).hexdigest(),
    }
    file = _file_of(journal)
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(file, json.dumps(about).encode() + b"\n" + state.pickled)
        for old in sorted(file.parent.iterdir(), key=lambda each: each.stat().st_mtime)[:-MOST_KEPT]:
            old.unlink()


def _file_of(journal: Path) -> Path:
    name = hashlib.blake2b(str(journal.absolute()).encode(), digest_size=16).hexdigest()
    return cache_folder() / "journals" / name


def _is_own(file: Path) -> bool:
    """Whether only this user can have written a file."""
    if not hasattr(os, "getuid"):
        return True
    return all(each.stat().st_uid == os.getuid() and not each.stat().st_mode & 0o022 for each in (file, file.parent))
