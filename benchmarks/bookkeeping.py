"""Overhead of a trial beyond its training, with two workers on a journal file.

First all that is written of a trial, from its parameters to how it ended, while the other worker writes all the time.
Then searches that train nothing, so that each worker always waits for the other's turn to end, the worst case: the time
from the end of one trial to the beginning of the same worker's next one.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import ClassVar

import numpy as np
import optuna

import nas
from nas import Architecture, Study
from nas.strategy.samplers import ValidSampler
from nas.study.config import StudyConfig
from nas.study.plan import FRONT
from nas.study.records import Outcome, TrialState
from nas.study.storage.trials import distributions

SIZES, MORE, WORKERS = (100, 1_000, 10_000), 100, 2
SPACE = nas.load_space("groupconv32")


def measure() -> Iterator[tuple[str, list[float], str]]:
    """In studies that have so many trials already; at random, then by our own sampler."""
    for size in SIZES:
        with tempfile.TemporaryDirectory() as runs, ProcessPoolExecutor(WORKERS, get_context("spawn")) as pool:
            fill(runs, size)
            taken = pool.map(recording, [runs] * WORKERS, range(WORKERS))
            yield f"writing, after {size:,} trials", [each for one in taken for each in one], "ms"
    for sampler in ("random", FRONT):
        for size in SIZES:
            with tempfile.TemporaryDirectory() as runs:
                fill(runs, size)
                study = nas.search(
                    SPACE,
                    trials=size + MORE,
                    runs=runs,
                    name="b",
                    evaluate=nothing,
                    sampler=sampler,
                    stopping="none",
                    workers=WORKERS,
                )
                new = [record for record in study.records()[size:] if record.state == TrialState.COMPLETE]
                between = [record.measures[BETWEEN] for record in new if BETWEEN in record.measures]
            yield f"from trial to trial, after {size:,}, {sampler}", between, "ms"


def recording(runs: str, seed: int) -> list[float]:
    """Milliseconds that all the writes of a trial take, for each of some trials."""
    study, taken = Study.open("b", runs), []
    outcome = Outcome(0.5, 1.0, (0.5,) * 10)
    for number in range(MORE):
        sampler = ValidSampler(("random", 1_000 * seed + number), SPACE, {})
        start = time.perf_counter()
        trial, _ = study.ask(sampler)
        study.report(trial, outcome.curve)
        study.tell(trial, outcome)
        taken.append((time.perf_counter() - start) * 1e3)
    return taken


BETWEEN = "between (ms)"


@dataclass
class Answer:
    """An accuracy, and how long it took to come to this trial."""

    accuracy: float
    measures: dict[str, float]
    ended: ClassVar[float | None] = None


def nothing(architecture: Architecture, report: Callable[[int, float], None]) -> Answer:
    """A training that takes no time."""
    measures = {BETWEEN: (time.perf_counter() - Answer.ended) * 1e3} if Answer.ended is not None else {}
    Answer.ended = time.perf_counter()
    return Answer(int(architecture.key, 16) % 1000 / 1000, measures)


def fill(runs: str | Path, size: int) -> None:
    """Makes a study of so many trained architectures."""
    study = Study.create("b", runs, StudyConfig(SPACE, {"source": "evaluate"}, 0))
    rng, known, there = np.random.default_rng(0), distributions(SPACE), set[str]()
    while len(there) < size:
        params = SPACE.sample(rng)
        architecture = SPACE.architecture(params)
        if architecture.key in there:
            continue
        there.add(architecture.key)
        trained = optuna.trial.create_trial(
            values=[int(architecture.key, 16) % 1000 / 1000, nas.cost(architecture).flops],
            params=params,
            distributions=known,
            user_attrs={"name": architecture.name, "seconds": 1.0, "curve": [0.5] * 10, "worker": "elsewhere:1"},
        )
        study.optuna_study.add_trial(trained)


if __name__ == "__main__":
    for what, figures, unit in measure():
        print(what, np.percentile(figures, [0, 25, 50, 75, 95, 100]).round(1), unit, len(figures), flush=True)
