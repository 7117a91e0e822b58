"""Which studies there are: in a folder of studies, or in a database."""

import re
from pathlib import Path

import optuna
from optuna.storages import BaseStorage

from nas.storage import open_storage, storage_errors

__all__ = ["CONFIG_FILE", "JOURNAL_FILE", "list_repetitions", "list_studies", "repetitions_name"]

CONFIG_FILE, JOURNAL_FILE = "study.yaml", "journal.log"
"""What makes a folder a study, and Optuna's journal in it."""
REPETITIONS = re.compile(r"(.+)\.confirmed-(\d+)")


def list_studies(runs: str | Path, *, storage: str | None = None) -> list[str]:
    """The names of the studies in a runs folder, the latest touched first; or those in a database, by name."""
    if storage is not None:
        with storage_errors("all"):
            names = optuna.get_all_study_names(open_storage(Path(), storage))
        return sorted(name for name in names if not REPETITIONS.fullmatch(name))
    files = Path(runs).glob(f"*/{CONFIG_FILE}")
    return [file.parent.name for file in sorted(files, key=_last_touched, reverse=True)]


def repetitions_name(study: str, epochs: int) -> str:
    """The study that holds trainings of another's architectures, repeated for so many epochs; it lies in its folder."""
    return f"{study}.confirmed-{epochs}"


def list_repetitions(study: str, folder: Path, *, database: BaseStorage | None) -> dict[int, str]:
    """By their epochs, the names of the studies of repetitions in a study's folder, or of its in a database."""
    if database is None:  # the folder may have been copied, and so have another name than when they were begun
        names = [file.parent.name for file in folder.glob(f"*/{CONFIG_FILE}")]
    else:
        with storage_errors(study):
            names = optuna.get_all_study_names(database)
    matches = [match for name in names if (match := REPETITIONS.fullmatch(name))]
    return {int(match[2]): match[0] for match in matches if database is None or match[1] == study}


def _last_touched(config: Path) -> float:
    journal = config.with_name(JOURNAL_FILE)
    try:
        return (journal if journal.exists() else config).stat().st_mtime
    except FileNotFoundError:  # deleted in between
        return 0.0
