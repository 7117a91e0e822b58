"""Journal: Optuna's journal file, faster and safe against killed workers, full disks and power failures."""

import hashlib
import io
import json
import os
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from nas.errors import StudyError
from nas.study.storage import replay_cache
from nas.study.storage.optuna_private import JournalFileLock, JournalSnapshot, replayed_by

__all__ = ["Journal"]

POLL_SECONDS = 0.001
TRIAL_UNDER_WAY = frozenset({4, 5, 8, 9})
"""Optuna's journal op codes for creating a trial and for setting a parameter or an attribute of it."""


WORTH_CACHING = 20_000
"""Number of lines from which a state is cached; reading them takes about half a second."""


class Journal(JournalFileBackend, JournalSnapshot):
    """Optuna's journal file, fsynced when a trial ends or a study changes, but not for each parameter.

    Lines are appended in order, so an fsync covers all earlier lines too. Writes of a killed process survive in any
    case; fsync protects against power failures. An incomplete last line, left by a power failure or a full disk, is
    never appended to: the result would be a damaged line in the middle of the journal.
    """

    def __init__(self, file: Path) -> None:
        super().__init__(str(file), _Lock(file))
        self._file = file
        self._examined = False  # whether this process has verified that the last line is valid, not only terminated
        self._read = (0, 0)  # number of lines read so far, and their length in bytes
        self._hash = hashlib.blake2b()  # of these lines
        self._cached = 0  # number of lines whose state is cached

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """Yields the log entries from a line number on; skips a torn end, which may still be being written.

        Raises:
            StudyError: a line in the middle is damaged.
        """
        if self._read[0] != log_number_from:
            self._read, self._hash = (0, 0), hashlib.blake2b()
        number, offset = self._read
        damaged: int | None = None
        with self._file.open("rb") as file:
            file.seek(offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                number += 1
                if (log := _log_in(line)) is None:
                    damaged = damaged or number
                    continue
                if damaged:
                    raise self.damaged(damaged, "whole lines follow")
                offset += len(line)
                self._hash.update(line)
                self._read = number, offset
                if number > log_number_from:
                    yield log

    def load_snapshot(self) -> bytes | None:
        """Returns the pickled state after the lines of which it is cached, and goes on after them; None without one."""
        state = replay_cache.load(self._file)
        if state is None:
            return None
        self._read, self._hash, self._cached = (state.lines, state.size), state.read, state.lines
        return state.pickled

    def save_snapshot(self, snapshot: bytes) -> None:
        """Does nothing: Optuna offers a snapshot of every hundredth trial, which are more than readers need."""

    def keep(self, storage: JournalStorage) -> None:
        """Caches the state of a storage that has just replayed this journal, if that took long."""
        if self._read[0] - self._cached >= WORTH_CACHING:
            replay_cache.save(self._file, replay_cache.State(*self._read, self._hash, replayed_by(storage)))
            self._cached = self._read[0]

    def damaged(self, line: int | None = None, detail: str = "") -> StudyError:
        """Returns the error for an unusable line, by default the last one read."""
        return StudyError(
            f"{self._file}, line {line or self._read[0]}: is damaged ({detail}); restore the file from a copy, or keep "
            "only the lines before"
        )

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Appends one line per entry: all of them, or none if writing fails.

        Raises:
            OSError: the file cannot be written; names the file.
        """
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
        self._lock.acquire()
        try:
            with _to_append(self._file) as file:
                end = file.seek(0, os.SEEK_END)
                file.seek(max(end - 1, 0))
                if not self._examined or file.read(1) not in (b"", b"\n"):
                    end -= self._drop_torn_end()
                written = 0
                try:
                    while written < len(lines):
                        written += file.write(lines[written:]) or 0
                except BaseException:
                    with suppress(OSError):
                        file.truncate(end)
                    raise
                if any(log["op_code"] not in TRIAL_UNDER_WAY for log in logs):
                    os.fsync(file.fileno())
        except OSError as error:
            raise OSError(error.errno, error.strerror, error.filename or str(self._file)) from None
        finally:
            self._lock.release()

    def drop_torn_end(self) -> int:
        """Moves everything after the last valid line to `FILE.dropped`; returns the number of bytes moved.

        Raises:
            OSError: it cannot be moved.
        """
        self._lock.acquire()
        try:
            return self._drop_torn_end()
        finally:
            self._lock.release()

    def _drop_torn_end(self) -> int:
        """Implements `drop_torn_end`; the caller holds the lock, so no other process is writing the torn end."""
        with self._file.open("r+b") as file:
            content = file.read()
            whole = _whole(content)
            if torn := content[whole:]:
                with self._file.with_name(self._file.name + ".dropped").open("ab") as dropped:
                    dropped.write(torn if torn.endswith(b"\n") else torn + b"\n")
                    dropped.flush()
                    os.fsync(dropped.fileno())
                file.truncate(whole)
                os.fsync(file.fileno())
        self._examined = True
        return len(torn)


class _Lock(JournalFileLock):
    """A lock that the operating system releases when this process ends.

    Optuna's own lock is a symbolic link, which a killed process leaves behind, so that the others wait for half a
    minute. This one has a different name, as opening such a link would open its target: the journal.
    """

    def __init__(self, journal: Path) -> None:
        self._lock = FileLock(f"{journal}.writing", poll_interval=POLL_SECONDS)

    def acquire(self) -> bool:
        self._lock.acquire()
        return True

    def release(self) -> None:
        self._lock.release()


def _to_append(journal: Path) -> io.FileIO:
    """Opens the journal for appending without creating it: one deleted in the middle of a study stays missing."""
    return io.FileIO(os.open(journal, os.O_RDWR | os.O_APPEND | getattr(os, "O_BINARY", 0)), "r+")


def _log_in(line: bytes) -> dict[str, Any] | None:
    """Parses a line; returns None if it is damaged. Some file systems leave NUL bytes after a power failure."""
    try:
        log = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return log if isinstance(log, dict) else None


def _whole(content: bytes) -> int:
    """Returns the length of a journal's content up to the end of its last valid line, in bytes."""
    end = content.rfind(b"\n") + 1
    while end:
        before = content.rfind(b"\n", 0, end - 1) + 1
        if _log_in(content[before:end]) is not None:
            break
        end = before
    return end
