"""Classifies training failures, and decides when they must end a worker or the whole search."""

import sys
import traceback
from collections.abc import Sequence

from nas.errors import DeviceLost, StudyError, TrainingFailed
from nas.study.records import TrialRecord, TrialState
from nas.system.memory import is_out_of_memory

__all__ = ["ALIKE_AT_FIRST", "failure", "raise_if_device_lost", "raise_if_failing"]

DETAIL_CHARACTERS = 2000
OUT_OF_MEMORY, UNFORESEEN = "out_of_memory", "error"
ALIKE_AT_FIRST = 3
"""Number of identical failures, with no other outcome since the search began, after which the search is ended."""
MISTAKES = {"bad_accuracy", "bad_measures"}
"""Reasons that are mistakes of a custom training, of which the first one ends a search."""


def failure(error: Exception) -> tuple[str, str]:
    """Returns the reason code of a failure, and its details: a message, or the end of the traceback."""
    if isinstance(error, TrainingFailed):
        return error.reason, str(error)
    detail = traceback.format_exc()[-DETAIL_CHARACTERS:]
    return OUT_OF_MEMORY if is_out_of_memory(error) else UNFORESEEN, detail.encode("utf-8", "replace").decode()


def raise_if_device_lost(study: str, record: TrialRecord) -> None:
    """Raises if a failed training left CUDA unusable in this process, so that no further one can succeed here.

    Raises:
        DeviceLost: names the trial and the error.
    """
    if record.reason == UNFORESEEN and _device_is_lost():
        raise DeviceLost(
            f"study '{study}': trial {record.trial} failed with a CUDA error after which this process cannot use the "
            f"GPU any more ({_last_line(record)}); the same command goes on"
        )


def _device_is_lost() -> bool:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return False
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False


def raise_if_failing(study: str, records: Sequence[TrialRecord], *, before: int) -> None:
    """Raises if nothing else has happened since this search began than identical failures.

    `ALIKE_AT_FIRST` of them are enough, or one that is a mistake of a custom training.

    Args:
        study: the study's name, for the error message.
        records: all trials of the study.
        before: number of trials that had finished when this search began; they are skipped.

    Raises:
        StudyError: gives the reason and the last line of the recorded detail.
    """
    ended = sorted((record for record in records if record.finished), key=lambda record: record.ended or 0.0)[before:]
    if not ended or ended[0].state != TrialState.FAILED:
        return
    needed = 1 if ended[0].reason in MISTAKES else ALIKE_AT_FIRST
    if len(ended) < needed or any(_kind(record) != _kind(ended[0]) for record in ended):
        return
    what = f"first {needed} trainings all failed" if needed > 1 else "first training failed"
    raise StudyError(
        f"study '{study}': the {what} as {ended[0].reason} ({_last_line(ended[0])}); the search was ended, as the "
        "others would fail too. Once that is fixed, the same command resumes it"
    )


def _kind(record: TrialRecord) -> tuple[str, str | None, str]:
    """Returns what identical failures share: state and reason, plus the exception type if the error was unforeseen."""
    exception = _last_line(record).partition(":")[0] if record.reason == UNFORESEEN else ""
    return record.state, record.reason, exception


def _last_line(record: TrialRecord) -> str:
    """Returns the last line of the detail; for a traceback the exception's line, as CUDA appends advice to it."""
    lines = (record.detail or "").strip().splitlines() or ["nothing else is known"]
    after_frames = max((number for number, line in enumerate(lines, start=1) if line.startswith("  ")), default=None)
    return lines[-1] if after_frames in (None, len(lines)) else lines[after_frames]
