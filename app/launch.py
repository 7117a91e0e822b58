"""Runs `nas` in processes of their own: searches and trainings outlive the dashboard, which says how they begin."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import NamedTuple

import live

from nas.errors import NasError
from nas.study.catalog import study_name
from nas.study.study import Study

BYTES_OF_A_LINE = 200
NAS = (sys.executable, "-P", "-m", "nas")
"""The program, without the modules of the folder that the dashboard was started in."""


class Launch(NamedTuple):
    """A command that was started here: its study, its process, and the file with what it prints."""

    study: str
    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def failed(self) -> str | None:
        """The last line that the command printed if it ended with an error, else None."""
        if not self.process.poll():
            return None
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines() if self.log.is_file() else []
        return lines[-1] if lines else f"it ended with code {self.process.returncode} and said nothing"


def log_lines(place: live.Place, study: str, *, most: int) -> list[str]:
    """Returns the last lines that searches printed which were started here; none if there was no such search."""
    try:
        with _log(place, study).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - most * BYTES_OF_A_LINE))
            return file.read().decode("utf-8", "replace").splitlines()[-most:]
    except OSError:
        return []


def _log(place: live.Place, study: str) -> Path:
    return Path(place.runs) / f"{study}.log"


def command(place: live.Place, study: str, options: list[str]) -> list[str]:
    """Returns the command of a search as a person would type it."""
    return ["nas", "search", *options, "--study", study, *place.options]


def start(place: live.Place, study: str, options: list[str]) -> Launch:
    """Starts `nas search`; the process does not end with the dashboard.

    Args:
        place: where its study is, or will be.
        study: the study's name.
        options: further arguments of the command.

    Raises:
        NasError: the name is not allowed, a search is running on the study, or the folder cannot be written.
    """
    study_name(study)
    if study in live.names(place):
        search = Study.open(study, place.runs, storage=place.storage).attributes.search
        if search is not None and search.live:
            raise NasError(f"study '{study}': a search is running on it")
    return run(command(place, study, options), study, log=_log(place, study))


def run(command: list[str], study: str, *, log: Path) -> Launch:
    """Starts a command on a study; the process does not end with the dashboard.

    Args:
        command: the command as a person would type it.
        study: the study's name.
        log: the file that what it prints is appended to.

    Raises:
        NasError: the file cannot be written.
    """
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            process = subprocess.Popen(
                [*NAS, *command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
    except OSError as error:
        raise NasError(f"{log}: cannot be written: {error.strerror or error}") from None
    threading.Thread(target=process.wait, daemon=True).start()  # so that it does not remain as a zombie
    return Launch(study, process, log)
