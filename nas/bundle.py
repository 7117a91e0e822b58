"""export(): the architecture and trained weights of a trial as files that nas is not needed to read, verified."""

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.architecture import Architecture
from nas.data import ImageData
from nas.errors import ExportError, InvalidValue
from nas.joining import images_of
from nas.records import COMPLETE, TrialRecord, best_of
from nas.study import Study
from nas.units import parse_count

__all__ = ["Exported", "export"]

ARCHITECTURE_FILE, WEIGHTS_FILE = "architecture.yaml", "model.safetensors"
IMAGES_IN_DOUBT = 3
"""So many images may be classified otherwise on another kind of device, with another precision."""


@dataclass(frozen=True)
class Exported:
    """What was written where, and the accuracy that the files gave when they were loaded back."""

    folder: Path
    record: TrialRecord
    accuracy: float


def export(
    study: Study,
    out: str | Path,
    *,
    trial: int | None = None,
    max_flops: int | str | None = None,
    data: Any = None,
    device: str = "auto",
) -> Exported:
    """Writes `architecture.yaml` and `model.safetensors` of a trial, loads them back and measures their accuracy.

    The trial is the given one, else the most accurate of at most `max_flops`, else the most accurate. The header of
    the weights holds the class names and the normalisation (JSON). `data` is needed only where a study was searched
    on arrays. The folder appears whole, or not at all.

    Raises:
        ExportError: the trial has no weights, `out` is not empty, or the files do not give the recorded accuracy.
        DataError: the images cannot be had, or are not those of the study.
    """
    out = Path(out)
    record = _chosen(study, trial, parse_count(max_flops, "max_flops") if max_flops is not None else None)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ExportError(f"out={out}: exists and is not an empty folder; name another")
    weights_file = study.weights_file(record.trial)
    if not weights_file.is_file():
        raise ExportError(
            f"trial {record.trial} has no weights in {weights_file.parent}: deleted, or trained by one's own evaluate"
        )
    images = images_of(study.config, data)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as temporary:
            partial = Path(temporary) / "bundle"
            partial.mkdir()
            _write(partial, record, weights_file, images)
            accuracy = _measure(partial, study, images, device)
            assert record.accuracy is not None  # a complete trial has one
            if abs(accuracy - record.accuracy) * len(images.validation.labels) > IMAGES_IN_DOUBT + 0.5:
                raise ExportError(
                    f"trial {record.trial}: the files give {accuracy:.4f}, but {record.accuracy:.4f} was recorded"
                )
            if out.exists():
                out.rmdir()
            shutil.move(partial, out)
    except OSError as error:
        raise ExportError(f"out={out}: cannot be written: {error.strerror or error}") from None
    return Exported(out, record, accuracy)


def _chosen(study: Study, trial: int | None, max_flops: int | None) -> TrialRecord:
    if trial is None:
        return best_of(study.records(), max_flops=max_flops)
    if max_flops is not None:
        raise InvalidValue("trial and max_flops: give one of them; a trial is a choice already")
    record = study.record(trial)
    if record.state != COMPLETE:
        why = f" ({record.reason})" if record.reason else ""
        raise ExportError(f"trial {trial} is {record.state}{why}; only complete trials have weights")
    return record


def _write(folder: Path, record: TrialRecord, weights_file: Path, images: ImageData) -> None:
    from nas.weights import load_weights, save_weights

    (folder / ARCHITECTURE_FILE).write_text(record.architecture.to_yaml(), encoding="utf-8")
    notes = {
        "classes": json.dumps(images.classes),
        "mean": json.dumps(images.normalization.mean),
        "std": json.dumps(images.normalization.std),
        "validation_accuracy": json.dumps(record.accuracy),
    }
    save_weights(folder / WEIGHTS_FILE, load_weights(weights_file), record.architecture, notes=notes)


def _measure(folder: Path, study: Study, images: ImageData, device: str) -> float:
    """The validation accuracy of what is in the folder: nothing is taken from memory but the images."""
    from nas.training import evaluate, on_device
    from nas.weights import load_weights

    architecture = Architecture.from_yaml(folder / ARCHITECTURE_FILE)
    data = on_device(images, study.config.space.recipe, device)
    return evaluate(architecture, load_weights(folder / WEIGHTS_FILE), data, recipe=study.config.space.recipe)
