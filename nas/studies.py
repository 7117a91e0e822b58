"""Which studies there are: in a folder of studies, or in a database."""

from pathlib import Path

import optuna

from nas.storage import open_storage, storage_errors

__all__ = ["CONFIG_FILE", "JOURNAL_FILE", "list_studies"]

CONFIG_FILE, JOURNAL_FILE = "study.yaml", "journal.log"
"""What makes a folder a study, and Optuna's journal in it."""


def list_studies(runs: str | Path, *, storage: str | None = None) -> list[str]:
    """The names of the studies in a runs folder, the latest touched first; or those in a database, by name."""
    if storage is not None:
        with storage_errors("all"):
            return sorted(optuna.get_all_study_names(open_storage(Path(), storage)))
    files = Path(runs).glob(f"*/{CONFIG_FILE}")
    return [file.parent.name for file in sorted(files, key=_last_touched, reverse=True)]


def _last_touched(config: Path) -> float:
    journal = config.with_name(JOURNAL_FILE)
    try:
        return (journal if journal.exists() else config).stat().st_mtime
    except FileNotFoundError:  # deleted in between
        return 0.0
