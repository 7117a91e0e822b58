"""A long run does not grow: memory, open files and threads of one worker over many trials; and weights on the disk."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import pytest

import nas
from nas import SearchSpace, Study, TrialRecord
from nas.study.search_state import SearchState
from nas.system.processes import METHOD
from tests.faults.killing import forked

WIDE = {
    "name": "wide",
    "input": {"channels": 1, "size": 8},
    "stem": [{"width": 8}],
    "stages": [
        {"depth": [1, 2], "mid": [8, 12, 16], "groups": [1, 2, 4], "out": [8, 16], "stride": 2},
        {"depth": [1, 2], "mid": [8, 16, 32], "groups": [1, 4, 8], "out": [16, 32]},
    ],
    "recipe": {"epochs": 1, "batch_size": 128, "crop_padding": 1},
}


class Gauge:
    """Reads this process after each trial: megabytes, open files, threads."""

    def __init__(self) -> None:
        self.read: list[tuple[float, int, int]] = []

    def search_started(self, study: Study, trials: int) -> None: ...

    def trial_started(self, record: TrialRecord) -> None: ...

    def epoch_ended(self, trial: int, curve: Sequence[float]) -> None: ...

    def trial_ended(self, record: TrialRecord) -> None:
        process = psutil.Process()
        self.read.append((process.memory_info().rss / 2**20, process.num_fds(), process.num_threads()))

    def search_steered(self, state: SearchState) -> None: ...

    def search_ended(self, reason: str) -> None: ...


def _search(runs: Path, trials: int, answer: Path) -> None:
    gauge = Gauge()
    space = SearchSpace.from_dict(WIDE)
    nas.search(space, "digits", trials=trials, runs=runs, name="s", device="cpu", listener=gauge)
    answer.write_text(json.dumps(gauge.read), encoding="utf-8")


@pytest.mark.skipif(METHOD != "forkserver" or not hasattr(psutil.Process, "num_fds"), reason="as on Linux and macOS")
@pytest.mark.parametrize(("trials", "settled"), [(60, 30), pytest.param(500, 50, marks=pytest.mark.long)])
def test_a_worker_that_trains_on_and_on_does_not_grow(
    tmp_path: Path, tally: Callable[[str, int], None], trials: int, settled: int
) -> None:
    process = forked(_search, tmp_path, trials, tmp_path / "read.json")
    process.join()
    assert process.exitcode == 0
    memory, files, threads = zip(*json.loads((tmp_path / "read.json").read_text(encoding="utf-8")), strict=True)
    assert len(memory) == trials
    after, before = memory[-settled // 2 :], memory[settled // 2 : settled]
    assert max(after) < 1.05 * max(before), f"{max(before):.0f} MB after {settled} trials, {max(after):.0f} at the end"
    assert max(files[settled:]) <= max(files[:settled])
    assert max(threads[settled:]) <= max(threads[:settled])
    tally("trials in one worker that did not grow", trials)
    kept = list((tmp_path / "s" / "artifacts").glob("trial-*.safetensors"))
    assert len(kept) < trials / 3
    tally("trials in one worker that did not grow: their weights on the disk", len(kept))
