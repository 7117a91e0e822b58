import os
from pathlib import Path

import pytest
import torch

from nas import NasError
from nas.errors import InvalidValue
from nas.system import hardware as hardware_module
from nas.system.hardware import (
    cores,
    device_id,
    device_of,
    free_memory,
    gpu_count,
    total_memory,
    usual_workers,
    workers_asked_for,
)


def test_what_there_is_is_what_the_system_says() -> None:
    assert 1 <= cores() <= (os.cpu_count() or 1)
    assert 0 < free_memory() <= total_memory()
    assert gpu_count() >= 0


def test_one_worker_a_core_as_far_as_memory_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware_module, "cores", lambda: 8)
    monkeypatch.setattr(hardware_module, "free_memory", lambda: 64 * 10**9)
    assert usual_workers() == 8
    monkeypatch.setattr(hardware_module, "free_memory", lambda: 3 * 10**9 + 1)
    assert usual_workers() == 3
    monkeypatch.setattr(hardware_module, "free_memory", lambda: 1)
    assert usual_workers() == 1


@pytest.mark.parametrize(("text", "most"), [("150000 100000\n", 2), ("max 100000\n", None), ("nonsense", None)])
def test_a_container_s_limit_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, most: int | None
) -> None:
    limit = tmp_path / "cpu.max"
    limit.write_text(text)
    monkeypatch.setattr(hardware_module, "CPU_LIMIT", limit)
    monkeypatch.setattr("psutil.cpu_count", lambda logical: 64)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(64)), raising=False)
    assert cores() == (most or 64)


def test_workers_are_a_number_or_auto() -> None:
    assert workers_asked_for("auto", "workers") is None
    assert workers_asked_for("3", "workers") == workers_asked_for(3, "workers") == 3
    for wrong in ("three", "", "-1", -1, 10**9):
        with pytest.raises(NasError, match="workers="):
            workers_asked_for(wrong, "workers")


def test_devices_are_named_as_in_training() -> None:
    assert device_of("cpu") == torch.device("cpu")
    assert device_of("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(InvalidValue, match="device='cpux': must be one of auto, cpu, cuda; did you mean 'cpu'"):
        device_of("cpux")
    assert device_id(torch.device("cpu")) == "cpu"
