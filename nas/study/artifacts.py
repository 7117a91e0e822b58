"""Weights and confusion matrices on disk: what is written, what is kept as the front moves, what is stale."""

import io
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.errors import StudyError
from nas.study.plan import SearchPlan
from nas.study.records import COMPLETE, FAILED, RUNNING, WAITING, TrialRecord
from nas.study.study import Study
from nas.system.files import write_whole

__all__ = [
    "KEEP",
    "KEEP_ALL",
    "KEEP_FRONT",
    "KEEP_NONE",
    "kept_by",
    "load_confusion",
    "prune_artifacts",
    "remove_stale_files",
    "save_confusion",
]

KEEP_FRONT, KEEP_ALL, KEEP_NONE = "front", "all", "none"
KEEP = (KEEP_FRONT, KEEP_ALL, KEEP_NONE)
"""Whose weights a search keeps: those of trials that may still be picked, of all complete ones, or of none."""
STALE_SECONDS = 24 * 3600.0
"""Nobody writes a file, or is silent and alive, for so long."""


def prune_artifacts(study: Study, record: TrialRecord, keep: str) -> None:
    """Once a trial is told, deletes what is of no use any more: what it could have gone on from, beaten weights.

    What cannot be deleted now is tried again at the next trial's end, or before the next search.
    """
    with suppress(OSError):
        study.checkpoint_file(record).unlink(missing_ok=True)
        if keep == KEEP_FRONT and record.state == COMPLETE:
            _drop_beaten(study)


def _drop_beaten(study: Study) -> None:
    """Deletes the weights of each complete trial that another one beats on accuracy, cost and parameters at once.

    The others are the front, and whatever a limit on the parameters may pick (`nas.analysis.selection`).
    """
    complete = [record for record in study.records() if record.state == COMPLETE and record.objective_cost is not None]
    there = set(study.weights_file(0).parent.iterdir())
    points = np.array([(-(record.accuracy or 0.0), record.objective_cost, record.params) for record in complete])
    for record, point in zip(complete, points, strict=True):
        file = study.weights_file(record.trial)
        if file in there and ((points <= point).all(axis=1) & (points < point).any(axis=1)).any():
            file.unlink(missing_ok=True)


def kept_by(study: Study | None) -> str:
    """Whose weights a study's last search kept: those of all where it was begun before there was a choice."""
    plan = study.attribute("plan") if study else None
    return KEEP_FRONT if plan is None else SearchPlan.from_dict(plan).keep


def remove_stale_files(study: Study) -> None:
    """Before a search: deletes what processes that were killed have left behind, and nobody will use.

    Artifacts of trainings that were not told, what trainings would go on from that nobody will train again,
    half-written files, and the presence of workers long gone.
    """
    artifacts = study.weights_file(0).parent
    there = set(artifacts.iterdir())
    records = study.records()
    wanted = {study.checkpoint_file(record) for record in records if record.state in (RUNNING, WAITING)}
    left = {file for file in there if file.name.startswith("checkpoint-")} - wanted
    for record in records:
        if record.state == FAILED:
            left |= {study.weights_file(record.trial), study.confusion_file(record.trial)} & there
    long_gone = [
        *artifacts.glob("*.partial"),
        *study.folder.glob("*.partial"),
        *(study.folder / "workers").glob("worker-*"),
    ]
    for file in [*left, *filter(_is_stale, long_gone)]:
        with suppress(OSError):
            file.unlink()


def _is_stale(file: Path) -> bool:
    with suppress(OSError):
        return time.time() - file.stat().st_mtime > STALE_SECONDS
    return False


def save_confusion(path: Path, matrix: NDArray[np.int64]) -> None:
    """Writes a matrix (classes, classes) as an `.npy` file. Whole or not at all."""
    content = io.BytesIO()
    np.save(content, matrix, allow_pickle=False)
    write_whole(path, content.getvalue())


def load_confusion(path: Path) -> NDArray[np.int64] | None:
    """Reads what `save_confusion` wrote; None where there is no such file.

    Raises:
        StudyError: the file is damaged.
    """
    if not path.is_file():
        return None
    try:  # as a map: a header that lies about the shape is no reason to ask for so much memory
        matrix: NDArray[Any] = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError, EOFError, TypeError, SyntaxError, MemoryError, RecursionError):
        matrix = np.zeros(0)
    square = matrix.ndim == 2 and len(set(matrix.shape)) == 1
    if not square or matrix.dtype.kind not in "iu" or (matrix < 0).any():
        raise StudyError(f"{path}: is damaged: not a confusion matrix")
    return np.asarray(matrix, dtype=np.int64)
