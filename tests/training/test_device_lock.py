import subprocess
import sys
import time
from pathlib import Path

import pytest

from nas.training.default_objective import alone_if_needed
from nas.training.device_lock import exclusive, shared

HOLDS = """
import sys, time
from nas.training.device_lock import exclusive, shared
with {"alone": exclusive, "beside": shared}[sys.argv[1]](sys.argv[2]):
    print("held", flush=True)
    time.sleep(float(sys.argv[3]))
"""


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def holder(how: str, seconds: float) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, how, "cuda:0", str(seconds)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    return process


def seconds_to_get(how: str, device: str = "cuda:0") -> float:
    start = time.monotonic()
    with {"alone": exclusive, "beside": shared}[how](device):
        return time.monotonic() - start


@pytest.mark.parametrize(
    ("theirs", "ours", "waits"), [("beside", "beside", False), ("beside", "alone", True), ("alone", "beside", True)]
)
def test_many_train_at_once_or_one_alone(theirs: str, ours: str, waits: bool) -> None:
    process = holder(theirs, 1.0)
    assert (seconds_to_get(ours) > 0.5) == waits
    process.communicate()


def test_what_a_killed_process_held_is_free_and_other_devices_are_other_turns() -> None:
    process = holder("alone", 60)
    assert seconds_to_get("beside", "cuda:1") < 0.5
    process.kill()
    process.communicate()
    assert seconds_to_get("beside") < 2


def test_a_training_on_several_devices_waits_for_each() -> None:
    process = holder("alone", 1.0)
    start = time.monotonic()
    with shared("cuda:1", "cuda:0"):
        assert time.monotonic() - start > 0.5
    process.communicate()
    with exclusive("cuda:0", "cuda:1"):
        pass


def test_what_runs_out_of_memory_beside_others_is_tried_once_more_alone() -> None:
    process, calls = holder("beside", 1.0), list[float]()
    start = time.monotonic()

    def attempt() -> str:
        calls.append(time.monotonic() - start)
        if len(calls) == 1:
            raise MemoryError
        return "trained"

    assert alone_if_needed(attempt, "cuda:0") == "trained"
    assert calls[0] < 0.5 < calls[1]  # the second only once the other process had ended
    process.communicate()


def test_what_runs_out_of_memory_twice_has_failed_and_other_failures_are_not_tried_again() -> None:
    calls: list[Exception] = []

    def fails(error: Exception) -> None:
        calls.append(error)
        raise error

    with pytest.raises(MemoryError):
        alone_if_needed(lambda: fails(MemoryError()), "cuda:0")
    assert len(calls) == 2
    with pytest.raises(ValueError, match="wrong"):
        alone_if_needed(lambda: fails(ValueError("wrong")), "cuda:0")
    assert len(calls) == 3
    hidden = RuntimeError("FIND was unable to find an engine to execute this computation")  # cuDNN, for want of memory
    with pytest.raises(RuntimeError, match="engine"):
        alone_if_needed(lambda: fails(hidden), "cuda:0")
    assert len(calls) == 5
    assert seconds_to_get("alone") < 0.5
