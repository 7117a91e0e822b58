import json
from pathlib import Path

import pytest
import torch

from nas import NasError, SearchSpace
from nas.system import gpus as gpus_module
from nas.system.gpus import Gpu, gpus
from nas.workers import throughput as throughput_module
from nas.workers.throughput import CONTEXT_MEMORY, Throughput, best_per_gpu

CARD = Gpu("H100", 80 * 10**9, 80 * 10**9, True, "cuda-1")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_machine_without_gpus_has_none_and_one_that_does_not_work_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    assert gpus() == ()
    monkeypatch.setattr(gpus_module, "gpu_count", lambda: 1)  # as where the driver is there, and broken
    with pytest.raises(NasError, match=r"device='cuda': the GPU cannot be used \(.+\); allowed: cpu"):
        gpus()
    assert not torch.cuda.is_initialized()  # type: ignore[no-untyped-call]  # looking is left to another process


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """With how many workers it was measured; four on this card train the most."""
    numbers: list[int] = []

    def throughput(space: SearchSpace, *, workers: int, seconds: float, device: str) -> Throughput:
        numbers.append(workers)
        return Throughput(workers, 1000.0 * min(workers, 4), 10**9)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(throughput_module, "throughput", throughput)
    monkeypatch.setattr(throughput_module, "cores", lambda: 16)
    monkeypatch.setattr(throughput_module, "gpus", lambda: (CARD,))
    return numbers


def test_how_many_workers_suit_a_gpu_is_measured_once_for_a_card_and_a_space(
    measured: list[int], tiny: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert best_per_gpu(tiny) == 4
    assert measured == [1, 2, 4, 8]
    assert best_per_gpu(tiny) == 4
    assert measured == [1, 2, 4, 8]
    best_per_gpu(tiny.with_changes(classes=20))
    assert len(measured) == 8
    monkeypatch.setattr(throughput_module, "gpus", lambda: (CARD._replace(name="another"),))
    best_per_gpu(tiny)
    assert len(measured) == 12


def test_what_is_known_must_fit_the_memory_that_is_free_now(
    measured: list[int], tiny: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    best_per_gpu(tiny)
    busy = CARD._replace(free=3 * (10**9 + CONTEXT_MEMORY))
    monkeypatch.setattr(throughput_module, "gpus", lambda: (busy,))
    measured.clear()
    assert best_per_gpu(tiny) == 2
    assert measured == [1, 2]


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"workers": 0, "images_per_second": 1, "gpu_memory": 0}', "[" * 9999]
)
def test_a_damaged_file_is_measured_over(measured: list[int], tiny: SearchSpace, tmp_path: Path, content: str) -> None:
    best_per_gpu(tiny)
    [file] = (tmp_path / "nas").iterdir()
    assert json.loads(file.read_text())["workers"] == 4
    file.write_text(content)
    assert best_per_gpu(tiny) == 4
    assert len(measured) == 8
    assert json.loads(file.read_text())["workers"] == 4
