"""Lists the studies in a runs folder or in a database, and validates their names."""

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
    "CONFIRMED",
    "DISTILLED",
    "FINAL",
    "JOURNAL_FILE",
    "as_study_name",
    "is_study",
    "last_modified",
    "list_repetitions",
    "list_studies",
    "repetitions_name",
    "study_name",
    "trial_recipe_name",
    "usual_study_name",
]

CONFIG_FILE, JOURNAL_FILE = "study.yaml", "journal.log"
"""Files that mark a folder as a study; either suffices, as Optuna's journal contains all that study.yaml does."""
CONFIRMED, FINAL, DISTILLED = "confirmed", "final", "distilled"
"""Kinds of repetitions: trainings that confirm a search's, those on all images but the test images, and of the latter
those that learn from other networks too."""
REPETITIONS = re.compile(r"(.+)\.(confirmed|final|distilled)-(\d+)")
NESTED = re.compile(r".+\.((confirmed|final|distilled)-\d+|recipe-.+)")
NAME = re.compile(r"\w[\w.+-]{0,99}(\.(confirmed|final|distilled)-\d{1,6})?")
"""Study names that stay inside the runs folder, even if they come from a database that others write to."""


def list_studies(runs: str | Path, *, storage: str | None = None) -> list[str]:
    """Returns the names of the studies in a runs folder, most recently modified first, or in a database, sorted."""
    if storage is not None:
        with storage_errors("all"):
            names = optuna.get_all_study_names(open_storage(Path(), storage, there=True))
        return sorted(name for name in names if NAME.fullmatch(name) and not NESTED.fullmatch(name))
    return [folder.name for folder in sorted(_studies_in(Path(runs)), key=last_modified, reverse=True)]


def study_name(name: object) -> str:
    """Returns `name` if it is a valid study name.

    Raises:
        StudyError: it is not.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        allowed = "at most 100 letters, digits and . + - _, and begin with a letter or digit"
        raise StudyError(f"study={shown(name)}: must be {allowed}")
    return name


def as_study_name(words: str) -> str:
    """Returns the name of a study after something else, such as a folder: what names may not hold becomes a hyphen."""
    return re.sub(r"[^\w.+-]+", "-", words).strip("-.")


def usual_study_name(space: str, source: str) -> str:
    """Returns the name of a study of the space of this name on a data source, if none is given."""
    words = [space, *([Path(source).name] if Path(source).name != space else [])]
    return as_study_name("-".join(words))


def is_study(folder: Path) -> bool:
    """Returns whether a folder holds a study, however damaged."""
    with suppress(OSError, ValueError):  # not a possible file name
        return (folder / CONFIG_FILE).exists() or (folder / JOURNAL_FILE).is_file()
    return False


def repetitions_name(study: str, epochs: int, kind: str = CONFIRMED) -> str:
    """Returns the name of the study, nested in that of `study`, that repeats its trainings for `epochs` epochs."""
    return f"{study}.{kind}-{epochs}"


def trial_recipe_name(study: str, label: str) -> str:
    """Returns the name of the study, nested in that of `study`, whose trainings try a recipe."""
    return f"{study}.recipe-{label}"


def list_repetitions(study: str, folder: Path, *, kind: str, database: BaseStorage | None) -> dict[int, str]:
    """Returns the names of a study's repetition studies of a kind, by their epochs.

    Args:
        study: the study's name.
        folder: the study's folder.
        kind: `CONFIRMED`, `FINAL` or `DISTILLED`.
        database: the study's database; None: the repetitions are nested in `folder`.
    """
    if database is None:  # ignores the name before the suffix: a copied folder may have been renamed
        names = [found.name for found in _studies_in(folder)]
    else:
        with storage_errors(study):
            names = optuna.get_all_study_names(database)
    matches = [match for name in names if (match := REPETITIONS.fullmatch(name))]
    matches = [match for match in matches if match[2] == kind and (database is None or match[1] == study)]
    return {int(match[3]): match[0] for match in matches}


def _studies_in(folder: Path) -> list[Path]:
    return [found for found in folder.glob("*/") if NAME.fullmatch(found.name) and is_study(found)]


def last_modified(folder: Path) -> float:
    """Returns when a study in a folder last changed, as a Unix timestamp; 0 if it is not there any more."""
    try:
        return next(file.stat().st_mtime for name in (JOURNAL_FILE, CONFIG_FILE) if (file := folder / name).exists())
    except (OSError, StopIteration):  # deleted in the meantime
        return 0.0
