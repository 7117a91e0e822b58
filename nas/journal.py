"""Optuna's journal file, made quick and safe for many workers that may be killed at any moment."""

import json
import os
from pathlib import Path
from typing import Any

from filelock import FileLock
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock

__all__ = ["Journal", "cut_torn_line"]

POLL_SECONDS = 0.001
TRIAL_UNDER_WAY = frozenset({4, 5, 8, 9})
"""Optuna's codes in a journal for a trial that is created, or given a parameter or an attribute."""


class Journal(JournalFileBackend):
    """Optuna's journal file, forced onto the disk when a trial ends or a study changes, and not at each parameter.

    Lines are appended in order, so that all that came before is on the disk too. What a killed process has written is
    safe in any case; forcing is for power cuts.
    """

    def __init__(self, file: Path) -> None:
        super().__init__(str(file), _Lock(file))
        self._file = file

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Adds one line for each."""
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
        self._lock.acquire()
        try:
            with self._file.open("ab") as file:
                file.write(lines)
                file.flush()
                if any(log["op_code"] not in TRIAL_UNDER_WAY for log in logs):
                    os.fsync(file.fileno())
        finally:
            self._lock.release()


class _Lock(BaseJournalFileLock):
    """A lock that the system holds for this process, and that goes with it.

    Optuna's own is a symbolic link, which a killed process leaves behind: the others then wait for half a minute. This
    one has another name, as opening such a link would open what it points to: the journal.
    """

    def __init__(self, journal: Path) -> None:
        self._lock = FileLock(f"{journal}.writing", poll_interval=POLL_SECONDS)

    def acquire(self) -> bool:
        self._lock.acquire()
        return True

    def release(self) -> None:
        self._lock.release()


def cut_torn_line(journal: Path) -> None:
    """Drops a last line that a killed writer left unfinished; what is appended to it would be lost with it."""
    lock = _Lock(journal)
    lock.acquire()
    try:
        with journal.open("r+b") as file:
            content = file.read()
            whole = content.rfind(b"\n") + 1
            if whole < len(content):
                file.truncate(whole)
    finally:
        lock.release()
