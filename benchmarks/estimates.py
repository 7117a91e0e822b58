"""Estimates against measured accuracies: which of them the test images agree with.

Searches are replayed on the complete tables for the epochs of 26 full trainings, on ten seeds each; their networks are
then judged by test accuracies, on images that no search sees, the mean over a table's seeds (`Judge.tested`). Trainings
of lengths of which a table has none, short ones of two tables, are left out. Deviations are root mean squares over a
search's trained networks; optimism is the mean over its front, by measured accuracy and by estimate. All are percentage
points, and contain the noise of the test images.
"""

from collections.abc import Iterator, Sequence
from statistics import fmean

import numpy as np
import optuna

from benchmarks.judge import Judge
from benchmarks.search import TABLES
from nas.study.records import TrialRecord, front_of
from nas.workflows.tabular_benchmark import Table, replay

SEEDS, TRIALS = 10, 26


def measure() -> Iterator[tuple[str, list[float], str]]:
    """Percentage points, a figure for each seed."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for file in sorted(TABLES.glob("*.parquet")):
        judge = Judge(Table.load(file))
        found = [_judged(judge, seed) for seed in range(SEEDS)]
        for what in found[0]:
            yield f"{file.stem}: {what}", [100 * each[what] for each in found], "points"


def _judged(judge: Judge, seed: int) -> dict[str, float]:
    records = [record for record in replay(judge.table, trials=TRIALS, seed=seed).records if record.trained]
    estimated = judge.estimated(records)
    full = judge.table.lengths[-1]

    def errors(of: Sequence[TrialRecord]) -> list[float]:
        """How much too high the networks are put."""
        keys = [(record.architecture.key, record.length or full) for record in of]
        return [record.quality - judge.tested[key] for record, key in zip(of, keys, strict=True) if key in judge.tested]

    return {
        "deviation of measured accuracies": _root_mean_square(errors(records)),
        "deviation of estimates": _root_mean_square(errors(estimated)),
        "optimism of the front by measured accuracies": fmean(errors(front_of(records))),
        "optimism of the front by estimates": fmean(errors(front_of(estimated))),
    }


def _root_mean_square(errors: Sequence[float]) -> float:
    return float(np.sqrt(np.mean(np.square(errors))))
