"""Weights, confusion matrices and predictions of trials: sharing them, pruning them as the front moves, reading them.

They lie in the study's folder, on the machine that trained a trial, and in the store that the search's plan names.
"""

import io
import re
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.errors import StudyError
from nas.study.plan import SearchPlan
from nas.study.records import TrialRecord, TrialState, trained_networks
from nas.study.storage.artifact_store import ArtifactStore, artifact_store
from nas.study.study import Study
from nas.system.files import write_whole
from nas.training.objective import PREDICTION, label_prediction

__all__ = [
    "KEEP",
    "KEEP_ALL",
    "KEEP_FRONT",
    "KEEP_NONE",
    "brought",
    "kept_by",
    "load_confusion",
    "load_predictions",
    "predictions_of",
    "prune_artifacts",
    "remove_stale_files",
    "save_array",
    "share",
]

KEEP_FRONT, KEEP_ALL, KEEP_NONE = "front", "all", "none"
KEEP = (KEEP_FRONT, KEEP_ALL, KEEP_NONE)
"""Weights and predictions that a search keeps: of trials that may still be selected, of all trained ones, or none."""
OF_TRIAL = re.compile(r"trial-(\d+)\.(safetensors|predictions\.npy)")
"""Names of the files with the weights and the predictions of a trial."""
STALE_SECONDS = 24 * 3600.0
"""Age from which a temporary file or a worker's heartbeat file is stale: no live process is idle for this long."""


def share(study: Study, plan: SearchPlan, files: Iterable[Path]) -> None:
    """Copies files of a trial to the plan's store, if it names one, for other machines.

    Raises:
        StudyError: the store cannot be used, after as long as the plan waits for a storage.
    """
    if (store := _store(study, plan, patience=plan.patience_storage)) is not None:
        for file in files:
            store.put(file.name, file.read_bytes())


def brought(study: Study, file: Path) -> Path:
    """Returns the path of a trial's file, copied from the study's store if it is not on this machine.

    Raises:
        StudyError: the store cannot be used.
    """
    if file.exists() or (store := _store(study, study.attributes.plan)) is None:
        return file
    if (content := store.get(file.name)) is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, content)
    return file


def _store(study: Study, plan: SearchPlan | None, *, patience: float = 0.0) -> ArtifactStore | None:
    """Returns the folder of the study in the store: by its ID, as names may change and be taken twice."""
    if plan is None or plan.artifacts is None:
        return None
    return artifact_store(f"{plan.artifacts.rstrip('/')}/{study.id or study.name}", patience)


def prune_artifacts(study: Study, record: TrialRecord, plan: SearchPlan) -> None:
    """Deletes the files that a recorded trial makes obsolete: its checkpoint, and what is kept of dominated trials.

    Files that cannot be deleted now are retried at the end of the next trial, or before the next search.

    Args:
        study: the study.
        record: the trial that has just been recorded.
        plan: weights and predictions are deleted only if it keeps those of the front.
    """
    with suppress(OSError, StudyError):
        study.checkpoint_file(record).unlink(missing_ok=True)
        if plan.keep == KEEP_FRONT and record.trained:
            there = {file.name for file in study.weights_file(0).parent.iterdir()}
            _delete(study, plan, _beaten(study, there))


def _delete(study: Study, plan: SearchPlan, names: Collection[str]) -> None:
    """Deletes files of trials here and in the store."""
    for name in names:
        study.weights_file(0).with_name(name).unlink(missing_ok=True)
    if names and (store := _store(study, plan)) is not None:
        store.delete(names)


def _beaten(study: Study, there: Iterable[str]) -> list[str]:
    """Returns which of the files there are of networks dominated on accuracy, cost and parameters, or trained longer.

    A lead in accuracy that chance explains does not count: later trainings may reverse it, and estimates may already.
    The rest include the Pareto front and all trials that a parameter limit may select (`nas.analysis.selection`).
    """
    files: dict[int, list[str]] = {}
    for name in there:
        if match := OF_TRIAL.fullmatch(name):
            files.setdefault(int(match[1]), []).append(name)
    trained = [record for record in study.records() if record.trained and record.objective_cost is not None]
    networks = trained_networks(trained)
    points = np.array([(-record.quality, record.objective_cost, record.params) for record in networks])
    images = study.config.effective_images
    unbeaten = set()
    for record, point in zip(networks, points, strict=True):
        if record.trial in files:  # of thousands of trials, some dozens
            lead = record.least_difference(images)
            beaten = (points <= point - [lead, 0, 0]).all(axis=1) & (points < point).any(axis=1)
            if not beaten.any():
                unbeaten.add(record.trial)
    beaten_trials = {record.trial for record in trained} & files.keys() - unbeaten
    return [name for trial in beaten_trials for name in files[trial]]


def kept_by(study: Study | None) -> str:
    """Returns the `keep` of a study's last search, else `KEEP_FRONT`; a plan older than the option means `KEEP_ALL`."""
    plan = study.attributes.plan if study else None
    return plan.keep if plan else KEEP_FRONT


def remove_stale_files(study: Study) -> None:
    """Deletes, before a search, the files that killed processes left behind.

    These are artifacts of failed trials, checkpoints that no running or waiting trial will resume from, partially
    written files, and the heartbeat files of dead workers; in the store, what no machine keeps any more.
    """
    artifacts = study.weights_file(0).parent
    there = set(artifacts.iterdir())
    records = study.records()
    wanted = {
        study.checkpoint_file(record) for record in records if record.state in (TrialState.RUNNING, TrialState.WAITING)
    }
    left = {file for file in there if file.name.startswith("checkpoint-")} - wanted
    failed = {file for record in records if record.state == TrialState.FAILED for file in _files(study, record)}
    left |= failed & there
    long_gone = [
        *artifacts.glob("*.partial"),
        *study.folder.glob("*.partial"),
        *(study.folder / "workers").glob("worker-*"),
    ]
    for file in [*left, *filter(_is_stale, long_gone)]:
        with suppress(OSError):
            file.unlink()
    plan = study.attributes.plan
    if plan is not None and (store := _store(study, plan)) is not None:
        with suppress(StudyError):
            stored = store.names()
            store.delete(
                [
                    *(stored & {file.name for file in failed}),
                    *(_beaten(study, stored) if plan.keep == KEEP_FRONT else []),
                ]
            )


def _files(study: Study, record: TrialRecord) -> set[Path]:
    return {file(record.trial) for file in (study.weights_file, study.confusion_file, study.predictions_file)}


def _is_stale(file: Path) -> bool:
    with suppress(OSError):
        return time.time() - file.stat().st_mtime > STALE_SECONDS
    return False


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Writes a confusion matrix or predictions atomically as an `.npy` file."""
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    write_whole(path, content.getvalue())


def load_confusion(path: Path) -> NDArray[np.int64] | None:
    """Reads a matrix (classes, classes) of counts; returns None if there is no such file.

    Raises:
        StudyError: the file is damaged.
    """
    if not path.is_file():
        return None
    matrix = _load_array(path)
    square = matrix.ndim == 2 and len(set(matrix.shape)) == 1
    if not square or matrix.dtype.kind not in "iu" or (matrix < 0).any():
        raise StudyError(f"{path}: is damaged: not a confusion matrix")
    return np.asarray(matrix, dtype=np.int64)


def load_predictions(path: Path, *, classes: int, multi_label: bool = False) -> NDArray[np.void] | None:
    """Reads the predictions (images,) of a trial; returns None if there is no such file.

    Each is a `PREDICTION`, or if `multi_label` a `label_prediction`.

    Raises:
        StudyError: the file is damaged, or names other classes than there are.
    """
    if not path.is_file():
        return None
    found = _load_array(path)
    expected = label_prediction(classes) if multi_label else PREDICTION
    if found.dtype != expected or found.ndim != 1 or not _is_sound(found, classes):
        raise StudyError(f"{path}: is damaged: not the predictions for {classes} classes")
    return np.array(found)


def predictions_of(study: Study, record: TrialRecord) -> NDArray[np.void]:
    """Returns what a trial's network predicts for each validation image.

    Raises:
        StudyError: its predictions were not kept, or their file is damaged.
    """
    file = brought(study, study.predictions_file(record.trial))
    config = study.config
    found = load_predictions(file, classes=len(config.classes), multi_label=config.is_multi_label)
    if found is None:
        why = "they are kept like its weights" if record.trained else f"it is {record.state}"
        raise StudyError(f"trial {record.trial} of '{study.name}': has no predictions; {why}")
    return found


def _is_sound(predictions: NDArray[np.void], classes: int) -> bool:
    """Returns whether all classes exist and all probabilities lie in [0, 1]."""
    of_labels = predictions.dtype != PREDICTION
    known = of_labels or all((predictions[name] < classes).all() for name in ("label", "predicted"))
    shares = (predictions[name] for name in (("probability",) if of_labels else ("confidence", "label_confidence")))
    return known and all(((share >= 0) & (share <= 1)).all() for share in shares)


def _load_array(path: Path) -> NDArray[Any]:
    """Maps an array into memory, as a false shape in the header must not allocate any; an empty one if it cannot."""
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError, EOFError, TypeError, SyntaxError, MemoryError, RecursionError):
        return np.zeros(0)
