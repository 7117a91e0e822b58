"""Trials per second without training, by number of workers: the upper bound of a storage and a sampler.

All workers share the cores of this machine, which bound many of them; on a cluster each has its own. Studies are empty
at first; what is counted begins when the last worker has begun.
"""

import tempfile
from collections.abc import Iterator
from contextlib import nullcontext

import nas
from benchmarks.bookkeeping import SPACE, nothing
from nas.study.plan import FRONT
from nas.study.records import TrialState
from tests.postgresql import binaries, server

WORKERS = (1, 2, 4, 8, 16, 32)
TRIALS = {"random": 200, FRONT: 100}


def measure() -> Iterator[tuple[str, list[float], str]]:
    """From the first trial's start to the last one's end, in a journal file and in PostgreSQL."""
    places = {"journal": nullcontext(None), "PostgreSQL": server() if binaries() else None}
    for name, place in places.items():
        if place is None:
            continue
        with place as url:
            for sampler, trials in TRIALS.items():
                for workers in WORKERS:
                    yield f"{name}, {sampler}, {workers} workers", [rate(url, sampler, trials, workers)], "/s"


def rate(url: str | None, sampler: str, trials: int, workers: int) -> float:
    """Trials per second while all workers are at work."""
    with tempfile.TemporaryDirectory() as runs:
        study = nas.search(
            SPACE,
            trials=trials,
            runs=runs,
            name=f"{sampler}-{workers}",
            evaluate=nothing,
            sampler=sampler,
            fidelities=1,
            stopping="none",
            workers=workers,
            storage=url,
        )
        records = [record for record in study.records() if record.state == TrialState.COMPLETE]
    there = {record.worker for record in records}
    begun = max(min(r.started or 0.0 for r in records if r.worker == worker) for worker in there)
    after = [record for record in records if (record.started or 0.0) >= begun]
    return len(after) / (max(record.ended or 0.0 for record in records) - begun)
