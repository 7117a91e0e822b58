"""Several processes on one GPU: workers, their supervisor, and trainings that are shared."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import nas
from nas import Architecture, SearchSpace
from tests.helpers import TINY, formula

Report = Callable[[int, float], None]

SEARCH = """
import sys
import torch
import nas
from nas.system.hardware import visible_gpus
from nas.workers.throughput import best_per_gpu
from tests.helpers import TINY

if __name__ == "__main__":
    space = nas.SearchSpace.from_dict(TINY)
    options = {"runs": sys.argv[1], "name": "s", "device": "cuda", "workers": 2, "epochs": 8}
    study = nas.search(space, "digits", trials=6, fidelities=1, **options)
    records = study.records()
    assert [record.state for record in records] == ["complete"] * 6, records
    assert len({record.worker for record in records}) == 2
    assert all(record.accuracy > 0.3 for record in records), records
    # Workers forked from the server could not have used CUDA, had that used it.
    assert not torch.cuda.is_initialized()
    print("searched")
    import time
    workers, start = best_per_gpu(space, seconds=0.3), time.perf_counter()
    assert 1 <= workers <= 8
    assert best_per_gpu(space, seconds=30.0) == workers
    assert time.perf_counter() - start < 10
    assert not torch.cuda.is_initialized()
    print("measured")
"""


def test_a_search_and_its_measuring_leave_the_gpu_to_the_workers(
    tmp_path: Path, in_fresh_process: Callable[..., str]
) -> None:
    assert in_fresh_process(SEARCH, tmp_path).split() == ["searched", "measured"]


def once_asserting(architecture: Architecture, report: Report) -> float:
    """The first training fails on the GPU in a way that CUDA does not recover from."""
    try:
        Path(os.environ["NAS_TEST_MARK"]).touch(exist_ok=False)
    except FileExistsError:
        torch.ones(1, device="cuda").sum().item()  # works
        return formula(architecture, report)
    return float(torch.zeros(1, device="cuda")[torch.tensor([5], device="cuda")].item())


def test_a_failed_device_assert_ends_its_worker_which_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAS_TEST_MARK", str(tmp_path / "asserted"))
    space = SearchSpace.from_dict(TINY)
    study = nas.search(space, trials=4, runs=tmp_path, name="s", evaluate=once_asserting, trial_timeout=100)
    records = study.records()
    [failed] = [record for record in records if record.state == "failed"]
    assert (failed.reason, "device-side assert" in (failed.detail or "")) == ("error", True)
    assert {record.worker for record in records if record is not failed} & {failed.worker} == set()


SHARED = """
import sys
import torch
from nas import Architecture, Input, Recipe, Stage, StemConv, load_data
from nas.training.data_parallel import ProcessGroup
from nas.training.train import on_device, train

backend, rank, processes, meeting = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
network = Architecture(Input(1, 8), 10, (StemConv(16),), (Stage(1, 16, 4, 16), Stage(2, 32, 8, 32)))
recipe = Recipe(epochs=6, batch_size=64, learning_rate=0.01, crop_padding=1)
data = on_device(load_data("digits", network.input), recipe, "cuda")
store = torch.distributed.FileStore(meeting, processes)
torch.distributed.init_process_group(backend, store=store, rank=rank, world_size=processes)
if processes == 1:  # what a team exchanges, as `train` leaves it out for one
    summed = torch.ones(3, device="cuda")
    torch.distributed.all_reduce(summed)
    assert summed.tolist() == [1, 1, 1]
result = train(network, data, recipe, group=ProcessGroup(rank, processes))
assert result.confusion.sum() == len(data.validation), result.confusion.sum()
print(result.accuracy)
torch.distributed.destroy_process_group()
"""


def test_nccl_with_one_process(tmp_path: Path, in_fresh_process: Callable[..., str]) -> None:
    if not torch.distributed.is_nccl_available():
        pytest.skip("this torch has no NCCL")
    assert float(in_fresh_process(SHARED, "nccl", 0, 1, tmp_path / "meeting")) > 0.8


def test_two_processes_share_a_training_on_one_gpu(tmp_path: Path, in_fresh_process: Callable[..., str]) -> None:
    """By gloo: NCCL takes one process a GPU."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(2) as pool:
        ran = [pool.submit(in_fresh_process, SHARED, "gloo", rank, 2, tmp_path / "meeting") for rank in range(2)]
        accuracies = {float(each.result()) for each in ran}
    assert len(accuracies) == 1  # all of the team count the same
    assert accuracies.pop() > 0.7
