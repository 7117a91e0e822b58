import json
from typing import Any

import pytest

from nas import SearchSpace
from nas.errors import TrainingFailed
from nas.system.hardware import cores
from nas.workers import environment as environment_module
from nas.workers.environment import examine, measure
from nas.workers.throughput import throughput


def test_two_workers_at_once_train_more_than_nothing(tiny: SearchSpace) -> None:
    found = throughput(tiny, workers=2, seconds=0.3, device="cpu")
    assert (found.workers, found.gpu_memory) == (2, 0)
    assert found.images_per_second > 100


def test_workers_that_cannot_train_are_told_of(tiny: SearchSpace) -> None:
    with pytest.raises(TrainingFailed, match="2 workers at once cannot train"):
        throughput(tiny, workers=2, seconds=0.3, device="nonsense")


def test_the_machine_is_described_and_measured(tiny: SearchSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = examine()
    assert machine.cores == cores()
    assert machine.versions["torch"]
    assert machine.extras["dashboard"]
    monkeypatch.setattr(environment_module, "gpu_count", lambda: 0)
    monkeypatch.setattr(environment_module, "usual_workers", lambda: 2)
    assert [each.workers for each in measure(tiny, seconds=0.8)] == [1, 2]


def test_the_doctor_s_answer(nas_command: Any) -> None:
    ran = nas_command("doctor", "--seconds", "0")
    assert ran.code == 0
    assert "workers on the CPU" in ran.out or "GPU 0" in ran.out
    assert "Training" not in ran.out
    found = json.loads(nas_command("doctor", "digits", "--seconds", "0.4", "--json").out)
    assert found["cores"] == cores()
    assert found["space"] == "digits"
    assert all(each["images_per_second"] > 0 for each in found["throughput"])
    assert "no ready space" in nas_command("doctor", "nowhere").err
