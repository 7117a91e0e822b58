"""Renames, archives and deletes the studies of a folder: moves of their folders, each whole or not at all.

Archived studies lie in `RUNS/.archive`, deleted ones in `RUNS/.bin`, from where both can be restored.
"""

from contextlib import ExitStack
from pathlib import Path

from nas.errors import StudyError
from nas.study.catalog import is_study, list_studies, study_name
from nas.study.storage.locks import search_lock
from nas.study.study import Study
from nas.system.files import free_name, why
from nas.validation import nearest_name

__all__ = ["ARCHIVE", "BIN", "archive_study", "delete_study", "list_put_away", "rename_study", "restore_study"]

ARCHIVE, BIN = ".archive", ".bin"
"""Folders within a runs folder; their names begin with a dot, as no study's does."""


def rename_study(name: str, new: str, runs: str | Path) -> None:
    """Renames a study.

    Raises:
        StudyError: there is no such study, a search is running on it, it is in a database, or the new name is taken or
            not allowed.
    """
    target = Path(runs) / study_name(new)
    if target.exists():
        raise StudyError(f"study '{new}': exists already in {runs}; choose another name")
    _move(name, runs, target)


def archive_study(name: str, runs: str | Path) -> Path:
    """Moves a study to the archive, and returns its folder there; raises like `rename_study`."""
    return _put_away(name, runs, ARCHIVE)


def delete_study(name: str, runs: str | Path) -> Path:
    """Moves a study to the bin, and returns its folder there; raises like `rename_study`."""
    return _put_away(name, runs, BIN)


def restore_study(name: str, runs: str | Path) -> None:
    """Moves a study back from the archive or, if it has none of that name, from the bin.

    Raises:
        StudyError: there is no such study, or its name is taken again.
    """
    for place in (ARCHIVE, BIN):
        folder = Path(runs) / place / study_name(name)
        if is_study(folder):
            target = Path(runs) / name
            if target.exists():
                raise StudyError(f"study '{name}': exists in {runs}, too; rename that one first")
            _rename(folder, target)
            return
    known = [*list_put_away(runs, ARCHIVE), *list_put_away(runs, BIN)]
    there = f"; there are {', '.join(known)}" if known else "; both are empty"
    raise StudyError(f"no study '{name}' in the archive or the bin of {runs}{nearest_name(name, known)}{there}")


def list_put_away(runs: str | Path, place: str) -> list[str]:
    """Returns the names of the studies in `ARCHIVE` or `BIN`, the most recently modified first."""
    return list_studies(Path(runs) / place)


def _put_away(name: str, runs: str | Path, place: str) -> Path:
    folder = Path(runs) / place
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise StudyError(f"study '{name}': {folder} cannot be written: {why(error)}") from None
    target = free_name(folder / study_name(name))
    _move(name, runs, target)
    return target


def _move(name: str, runs: str | Path, target: Path) -> None:
    """Moves a study on which nothing is being trained; a damaged one, too."""
    folder = Path(runs) / study_name(name)
    if (study := _opened(name, runs)) is not None:
        if study.storage is not None:
            raise StudyError(f"study '{name}': its trials are in a database under this name, {study.storage}; leave it")
        if (search := study.attributes.search) is not None and search.live:
            raise StudyError(f"study '{name}': a search is running on it; nas stop {name} ends it")
    with ExitStack() as locks:
        for busy in (folder, *(file.parent for file in folder.glob("*/search.lock"))):
            locks.enter_context(search_lock(busy))
        _rename(folder, target)


def _opened(name: str, runs: str | Path) -> Study | None:
    """Opens a study; None if it is damaged."""
    try:
        return Study.open(name, runs)
    except StudyError:
        if not is_study(Path(runs) / name):
            raise
        return None


def _rename(folder: Path, target: Path) -> None:
    try:
        folder.rename(target)
    except OSError as error:
        raise StudyError(f"study '{folder.name}': cannot be moved to {target}: {why(error)}") from None
