"""Classifies training failures, and decides when they must end a worker or the whole search."""

import sys
import traceback
from collections.abc import Sequence
from itertools import takewhile

from nas.errors import DeviceLost, StudyError, TrainingFailed
from nas.study.records import TrialRecord, TrialState
from nas.system.memory import is_out_of_memory

__all__ = ["ALIKE_AT_FIRST", "failure", "raise_if_device_lost", "raise_if_failing"]

DETAIL_CHARACTERS = 2000
OUT_OF_MEMORY, UNFORESEEN = "out_of_memory", "error"
ALIKE_AT_FIRST = 3
"""Number of identical failures, with no other outcome since the search began, after which the search is ended."""
ALIKE_IN_A_ROW = 10
"""The same once there were other outcomes."""
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
    """Raises if the trainings of this search fail in a way that leaves no hope for the others.

    That is the case if nothing else has happened since it began than `ALIKE_AT_FIRST` identical failures, or one that
    is a mistake of a custom training, and after `ALIKE_IN_A_ROW` identical failures at any time: a failed training does
    not count towards the budget, so that the search would go on for ever.

    Args:
        study: the study's name, for the error message.
        records: all trials of the study.
        before: number of trials that had finished when this search began; they are skipped.

    Raises:
        StudyError: gives the reason and the last line of the recorded detail.
    """
    ended = sorted((record for record in records if record.finished), key=lambda record: record.ended or 0.0)[before:]
    if not ended or ended[-1].state != TrialState.FAILED:
        return
    last = ended[-1]
    alike = sum(1 for _ in takewhile(lambda record: _kind(record) == _kind(last), reversed(ended)))
    at_first = 1 if last.reason in MISTAKES else ALIKE_AT_FIRST
    if alike < (at_first if alike == len(ended) else ALIKE_IN_A_ROW):
        return
    which = "first" if alike == len(ended) else "last"
    what = f"{which} {alike} trainings all failed" if alike > 1 else f"{which} training failed"
    raise StudyError(
        f"study '{study}': the {what} as {last.reason} ({_last_line(last)}); the search was ended, as the others would "
        "fail too. Once that is fixed, the same command resumes it"
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
