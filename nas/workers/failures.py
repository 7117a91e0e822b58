"""How a training fails: the reason code that is recorded, and when a search or a worker cannot go on."""

import sys
import traceback
from collections.abc import Sequence

from nas.errors import DeviceLost, StudyError, TrainingFailed
from nas.study.records import FAILED, TrialRecord
from nas.system.memory import is_out_of_memory

__all__ = ["ALIKE_AT_FIRST", "failure", "raise_if_device_lost", "raise_if_failing"]

DETAIL_CHARACTERS = 2000
OUT_OF_MEMORY, UNFORESEEN = "out_of_memory", "error"
ALIKE_AT_FIRST = 3
"""So many failures of one kind, and nothing else since a search began, are no bad luck: something is broken."""


def failure(error: Exception) -> tuple[str, str]:
    """A reason code, and what a person needs to mend it: a message, or the end of the traceback."""
    if isinstance(error, TrainingFailed):
        return error.reason, str(error)
    detail = traceback.format_exc()[-DETAIL_CHARACTERS:]
    return OUT_OF_MEMORY if is_out_of_memory(error) else UNFORESEEN, detail.encode("utf-8", "replace").decode()


def raise_if_device_lost(study: str, record: TrialRecord) -> None:
    """Ends the work of this process if a training has failed in such a way that none on the GPU can succeed here.

    Raises:
        DeviceLost: naming the trial and the error.
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


def raise_if_failing(study: str, records: Sequence[TrialRecord], *, before: int) -> bool:
    """Ends a search whose first trainings, after the `before` that had ended when it began, all failed alike.

    Returns whether they have ended, and not so: then it need not be asked again.

    Raises:
        StudyError: naming the reason, and the last line of what is recorded of it.
    """
    ended = sorted((record for record in records if record.finished), key=lambda record: record.ended or 0.0)
    first = ended[before : before + ALIKE_AT_FIRST]
    if len(first) < ALIKE_AT_FIRST:
        return False
    if len({_kind(record) for record in first}) > 1 or first[0].state != FAILED:
        return True
    raise StudyError(
        f"study '{study}': the first {len(first)} trainings all failed as {first[0].reason} ({_last_line(first[0])}); "
        "the search was ended, as the others would fail too. Once that is mended, the same command goes on"
    )


def _kind(record: TrialRecord) -> tuple[str, str | None, str]:
    """What must be the same for failures to be alike: an unforeseen one also has its exception, but not its message."""
    exception = _last_line(record).partition(":")[0] if record.reason == UNFORESEEN else ""
    return record.state, record.reason, exception


def _last_line(record: TrialRecord) -> str:
    """Of a traceback the line of the exception, which CUDA's messages follow up with advice."""
    lines = (record.detail or "").strip().splitlines() or ["nothing else is known"]
    after_frames = max((number for number, line in enumerate(lines, start=1) if line.startswith("  ")), default=None)
    return lines[-1] if after_frames in (None, len(lines)) else lines[after_frames]
