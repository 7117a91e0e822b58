"""Optuna's journal file, made quick, and safe for many workers that may be killed and disks that may fill."""

import io
import json
import os
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock

from nas.errors import StudyError

__all__ = ["Journal"]

POLL_SECONDS = 0.001
TRIAL_UNDER_WAY = frozenset({4, 5, 8, 9})
"""Optuna's codes in a journal for a trial that is created, or given a parameter or an attribute."""


class Journal(JournalFileBackend):
    """Optuna's journal file, forced onto the disk when a trial ends or a study changes, and not at each parameter.

    Lines are appended in order, so that all that came before is on the disk too. What a killed process has written is
    safe in any case; forcing is for power cuts. What such a one, or a full disk, has left at the end that is not a
    whole line is never appended to: the two would be one damaged line with others after it.
    """

    def __init__(self, file: Path) -> None:
        super().__init__(str(file), _Lock(file))
        self._file = file
        self._examined = False  # whether this process has seen that the last line is whole, and not only that it ends
        self._read = (0, 0)  # so many lines were read, and take up so many bytes

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """The lines from that number on, without what is not whole at the end; it may be being written.

        Raises:
            StudyError: a line that others follow is damaged.
        """
        number, offset = self._read if self._read[0] == log_number_from else (0, 0)
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
                if number > log_number_from:
                    self._read = number, offset
                    yield log

    def damaged(self, line: int | None = None, detail: str = "") -> StudyError:
        """What to raise where a line, by default the last that was read, cannot be used."""
        return StudyError(
            f"{self._file}, line {line or self._read[0]}: is damaged ({detail}); restore the file from a copy, or keep "
            "only the lines before"
        )

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Adds one line for each: all of them, or none where the disk is full.

        Raises:
            OSError: naming the file.
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
        """Moves what follows the last whole line to `FILE.dropped`; returns how many bytes that is.

        Raises:
            OSError: it cannot be moved.
        """
        self._lock.acquire()
        try:
            return self._drop_torn_end()
        finally:
            self._lock.release()

    def _drop_torn_end(self) -> int:
        """While the lock is held: so nobody is writing what is torn."""
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


def _to_append(journal: Path) -> io.FileIO:
    """Opens it; one that was deleted is not made again, in the middle of its study."""
    return io.FileIO(os.open(journal, os.O_RDWR | os.O_APPEND | getattr(os, "O_BINARY", 0)), "r+")


def _log_in(line: bytes) -> dict[str, Any] | None:
    """What a line says; None where it is damaged. Some file systems leave NUL bytes after a loss of power."""
    try:
        log = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return log if isinstance(log, dict) else None


def _whole(content: bytes) -> int:
    """How much of a journal there is up to the end of its last whole line."""
    end = content.rfind(b"\n") + 1
    while end:
        before = content.rfind(b"\n", 0, end - 1) + 1
        if _log_in(content[before:end]) is not None:
            break
        end = before
    return end
