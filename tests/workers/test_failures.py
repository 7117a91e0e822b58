import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import nas
from nas import SearchSpace
from nas.architectures.architecture import Architecture, Input, Stage, StemConv
from nas.errors import DeviceLost, StudyError, TrainingFailed
from nas.study.records import TrialRecord, TrialState, trainings_spent
from nas.system.memory import is_out_of_memory, may_lack_memory
from nas.workers.failures import failure, raise_if_device_lost, raise_if_failing
from tests.helpers import formula

ASSERT = """CUDA error: device-side assert triggered
CUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below might be incorrect.
For debugging consider passing CUDA_LAUNCH_BLOCKING=1
Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.
"""


def failed(reason: str, detail: str) -> TrialRecord:
    architecture = Architecture(Input(1, 8), 10, (StemConv(8),), (Stage(1, 8, 1, 8),))
    return TrialRecord(3, TrialState.FAILED, architecture, reason=reason, detail=detail)


def detail_of(error: Exception) -> str:
    try:
        raise error
    except Exception:
        return traceback.format_exc()


def test_a_training_that_exits_the_program_has_failed_and_the_search_goes_on(tmp_path: Path, tiny: SearchSpace) -> None:
    def evaluate(architecture: Architecture, report: Callable[[int, float], None]) -> float:
        if architecture == trained[0]:
            sys.exit(3)
        return formula(architecture, report)

    trained = [record.architecture for record in _searched(tiny, tmp_path / "a", formula).records()]
    records = _searched(tiny, tmp_path / "b", evaluate).records()
    failures = [record for record in records if record.state == TrialState.FAILED]
    assert [(record.architecture, record.reason, record.detail) for record in failures] == [
        (trained[0], "exited", "the training called sys.exit(3)")
    ]
    assert sum(record.state == TrialState.COMPLETE for record in records) == 3


def _searched(space: SearchSpace, runs: Path, evaluate: Any) -> nas.Study:
    return nas.search(space, "digits", trials=3, name="s", runs=runs, evaluate=evaluate, references=False)


@pytest.mark.parametrize(
    ("error", "memory", "retried"),
    [
        (MemoryError(), True, True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True, True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True, True),
        (RuntimeError("GET was unable to find an engine to execute this computation"), False, True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_NOT_INITIALIZED"), False, True),
        (RuntimeError(ASSERT), False, False),
        (ValueError("unable to find an engine to execute this computation"), False, False),
    ],
)
def test_what_is_tried_again_alone(error: Exception, memory: bool, retried: bool) -> None:
    assert (is_out_of_memory(error), may_lack_memory(error)) == (memory, retried)


def test_failures_have_a_reason_and_a_detail() -> None:
    assert failure(TrainingFailed("not_finite", "the loss was not finite in epoch 2")) == (
        "not_finite",
        "the loss was not finite in epoch 2",
    )
    assert failure(MemoryError())[0] == "out_of_memory"
    assert failure(RuntimeError(ASSERT))[0] == "error"


def test_a_gpu_that_cannot_be_used_any_more_ends_the_work_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    record = failed("error", detail_of(RuntimeError(ASSERT)))
    raise_if_device_lost("s", record)  # this process uses no GPU
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    raise_if_device_lost("s", record)  # it works as before

    def synchronize() -> None:
        raise RuntimeError(ASSERT)

    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    with pytest.raises(DeviceLost, match=r"study 's': trial 3 .*Error: CUDA error: device-side assert triggered\)"):
        raise_if_device_lost("s", record)
    raise_if_device_lost("s", replace(record, reason="not_finite"))


def ended(*outcomes: str | None) -> list[TrialRecord]:
    """Finished trials in order: failed for a reason, or complete."""
    known = failed("error", "")
    return [
        replace(known, trial=n, ended=float(n), reason=reason, detail=reason)
        if reason
        else replace(known, trial=n, ended=float(n), state=TrialState.COMPLETE, accuracy=0.5, reason=None)
        for n, reason in enumerate(outcomes)
    ]


@pytest.mark.parametrize(
    ("outcomes", "before", "message"),
    [
        (["timeout"] * 3, 0, "the first 3 trainings all failed as timeout"),
        ([None, *["timeout"] * 3], 1, "the first 3 trainings all failed as timeout"),
        (["timeout"] * 5, 0, "the first 3 trainings all failed as timeout"),  # several workers at once
        (["bad_accuracy"], 0, "the first training failed as bad_accuracy"),
    ],
)
def test_a_search_ends_where_trainings_keep_failing(outcomes: list[str | None], before: int, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        raise_if_failing("s", ended(*outcomes), before=before)


@pytest.mark.parametrize(
    ("outcomes", "before"),
    [
        ([], 0),
        (["timeout"] * 2, 0),
        (["timeout", "timeout", "error"], 0),
        ([None, *["timeout"] * 20], 0),
        ([*["timeout"] * 20, None], 0),
        (["timeout"] * 3, 3),
        ([None, "bad_accuracy"], 0),
    ],
)
def test_a_search_goes_on_after_failures_that_differ_or_are_few(outcomes: list[str | None], before: int) -> None:
    raise_if_failing("s", ended(*outcomes), before=before)


def test_failures_cost_no_budget_until_they_prevail() -> None:
    assert trainings_spent(ended(None, *["error"] * 5, None), 10) == 2
    assert trainings_spent(ended(*["error"] * 10), 10) == 0
    assert trainings_spent(ended(None, *["error"] * 13), 10) == 1 + 2
