"""What a trial costs beside its training: proposing, recording, in a journal file."""

import itertools
import tempfile
import time
from collections.abc import Iterator

import nas
from nas import Architecture

TRIALS = 200


def measure() -> Iterator[tuple[str, list[float], str]]:
    """A search on the digits' space with a training that takes no time, by TPE and at random."""
    for sampler in ("tpe", "random"):
        ended: list[float] = []

        def evaluate(architecture: Architecture, report: object, ended: list[float] = ended) -> float:
            ended.append(time.perf_counter())
            return int(architecture.key, 16) % 1000 / 1000

        with tempfile.TemporaryDirectory() as runs:
            nas.search("digits", trials=TRIALS, runs=runs, name="b", evaluate=evaluate, sampler=sampler)
        between = [(after - before) * 1e3 for before, after in itertools.pairwise(ended)]
        yield f"trials 2 to 100, {sampler}", between[:99], "ms"
        yield f"trials 101 to {TRIALS}, {sampler}", between[99:], "ms"
