"""Weights and confusion matrices on disk: writing them, pruning them as the front moves, removing stale files."""

import io
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.errors import StudyError
from nas.study.records import TrialRecord, TrialState, trained_networks
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
"""Weights that a search keeps: those of trials that may still be selected, of all trained networks, or none."""
STALE_SECONDS = 24 * 3600.0
"""Age from which a temporary file or a worker's heartbeat file is stale: no live process is idle for this long."""


def prune_artifacts(study: Study, record: TrialRecord, keep: str) -> None:
    """Deletes the files that a recorded trial makes obsolete: its checkpoint, and the weights of dominated trials.

    Files that cannot be deleted now are retried at the end of the next trial, or before the next search.

    Args:
        study: the study.
        record: the trial that has just been recorded.
        keep: one of `KEEP`; weights are deleted only for `KEEP_FRONT`.
    """
    with suppress(OSError):
        study.checkpoint_file(record).unlink(missing_ok=True)
        if keep == KEEP_FRONT and record.trained:
            _drop_beaten(study)


def _drop_beaten(study: Study) -> None:
    """Deletes the weights of networks that are dominated on accuracy, cost and parameters, or were trained longer.

    A lead in accuracy of less than a standard error does not count, as later trainings may reverse it. The rest include
    the Pareto front and all trials that a parameter limit may select (`nas.analysis.selection`).
    """
    trained = [record for record in study.records() if record.trained and record.objective_cost is not None]
    networks = trained_networks(trained)
    there = set(study.weights_file(0).parent.iterdir())
    points = np.array([(-record.quality, record.objective_cost, record.params) for record in networks])
    images = study.config.validation_images
    leads = [record.least_difference(images) / 2 for record in networks]  # a standard error of the difference
    unbeaten = {
        record.trial
        for record, point, lead in zip(networks, points, leads, strict=True)
        if not ((points <= point - [lead, 0, 0]).all(axis=1) & (points < point).any(axis=1)).any()
    }
    for record in trained:
        file = study.weights_file(record.trial)
        if file in there and record.trial not in unbeaten:
            file.unlink(missing_ok=True)


def kept_by(study: Study | None) -> str:
    """Returns the `keep` of a study's last search, else `KEEP_FRONT`; a plan older than the option means `KEEP_ALL`."""
    plan = study.attributes.plan if study else None
    return plan.keep if plan else KEEP_FRONT


def remove_stale_files(study: Study) -> None:
    """Deletes, before a search, the files that killed processes left behind.

    These are artifacts of failed trials, checkpoints that no running or waiting trial will resume from, partially
    written files, and the heartbeat files of dead workers.
    """
    artifacts = study.weights_file(0).parent
    there = set(artifacts.iterdir())
    records = study.records()
    wanted = {
        study.checkpoint_file(record) for record in records if record.state in (TrialState.RUNNING, TrialState.WAITING)
    }
    left = {file for file in there if file.name.startswith("checkpoint-")} - wanted
    for record in records:
        if record.state == TrialState.FAILED:
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
    """Writes a matrix (classes, classes) atomically as an `.npy` file."""
    content = io.BytesIO()
    np.save(content, matrix, allow_pickle=False)
    write_whole(path, content.getvalue())


def load_confusion(path: Path) -> NDArray[np.int64] | None:
    """Reads a matrix that `save_confusion` wrote; returns None if there is no such file.

    Raises:
        StudyError: the file is damaged.
    """
    if not path.is_file():
        return None
    try:  # memory-mapped: a false shape in the header must not allocate memory
        matrix: NDArray[Any] = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError, EOFError, TypeError, SyntaxError, MemoryError, RecursionError):
        matrix = np.zeros(0)
    square = matrix.ndim == 2 and len(set(matrix.shape)) == 1
    if not square or matrix.dtype.kind not in "iu" or (matrix < 0).any():
        raise StudyError(f"{path}: is damaged: not a confusion matrix")
    return np.asarray(matrix, dtype=np.int64)
