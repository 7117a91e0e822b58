"""Which studies there are: in a folder of studies, or in a database."""

import re
from contextlib import suppress
from pathlib import Path

import optuna
from optuna.storages import BaseStorage

from nas.errors import StudyError
from nas.study.storage.backend import open_storage, storage_errors
from nas.validation import shown

__all__ = [
    "CONFIG_FILE",
    "JOURNAL_FILE",
    "is_study",
    "list_repetitions",
    "list_studies",
    "repetitions_name",
    "study_name",
]

CONFIG_FILE, JOURNAL_FILE = "study.yaml", "journal.log"
"""What makes a folder a study: either is enough, as Optuna's journal says all that study.yaml says."""
REPETITIONS = re.compile(r"(.+)\.confirmed-(\d+)")
NAME = re.compile(r"\w[\w.+-]{0,99}(\.confirmed-\d{1,6})?")
"""A name that stays inside the runs folder, whoever gives it: a person, or a database that others write to."""


def list_studies(runs: str | Path, *, storage: str | None = None) -> list[str]:
    """The names of the studies in a runs folder, the latest touched first; or those in a database, by name."""
    if storage is not None:
        with storage_errors("all"):
            names = optuna.get_all_study_names(open_storage(Path(), storage, there=True))
        return sorted(name for name in names if NAME.fullmatch(name) and not REPETITIONS.fullmatch(name))
    return [folder.name for folder in sorted(_studies_in(Path(runs)), key=_last_touched, reverse=True)]


def study_name(name: object) -> str:
    """`name` if a study can be called so.

    Raises:
        StudyError: it cannot, and so there is none.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        allowed = "at most 100 letters, digits and . + - _, and begin with a letter or digit"
        raise StudyError(f"study={shown(name)}: must be {allowed}")
    return name


def is_study(folder: Path) -> bool:
    """Whether a folder is a study's, however damaged."""
    with suppress(OSError, ValueError):  # no name that a file can have
        return (folder / CONFIG_FILE).exists() or (folder / JOURNAL_FILE).is_file()
    return False


def repetitions_name(study: str, epochs: int) -> str:
    """The study that holds trainings of another's architectures, repeated for so many epochs; it lies in its folder."""
    return f"{study}.confirmed-{epochs}"


def list_repetitions(study: str, folder: Path, *, database: BaseStorage | None) -> dict[int, str]:
    """By their epochs, the names of the studies of repetitions in a study's folder, or of its in a database."""
    if database is None:  # the folder may have been copied, and so have another name than when they were begun
        names = [found.name for found in _studies_in(folder)]
    else:
        with storage_errors(study):
            names = optuna.get_all_study_names(database)
    matches = [match for name in names if (match := REPETITIONS.fullmatch(name))]
    return {int(match[2]): match[0] for match in matches if database is None or match[1] == study}


def _studies_in(folder: Path) -> list[Path]:
    return [found for found in folder.glob("*/") if NAME.fullmatch(found.name) and is_study(found)]


def _last_touched(folder: Path) -> float:
    try:
        return next(file.stat().st_mtime for name in (JOURNAL_FILE, CONFIG_FILE) if (file := folder / name).exists())
    except (OSError, StopIteration):  # deleted in between
        return 0.0
