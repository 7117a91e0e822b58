"""Estimates against measured accuracies: which of them the test images agree with.

Searches are replayed on the complete tables for the epochs of 26 full trainings, on ten seeds each; their networks are
then judged by the test accuracy of the same trainings, on images that no search sees; trainings of which a table has no
test accuracy, short ones of two tables, are left out. The validation images of a table may be easier or harder than its
test images, so the mean difference over all trainings of a length is taken out. Deviations are root mean squares over a
search's trained networks; optimism is the mean over its front, by measured accuracy and by estimate. All are percentage
points, and contain the noise of the test images.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from statistics import fmean

import numpy as np
import optuna

from benchmarks.search import TABLES
from benchmarks.trend import NAMES
from nas.study.estimates import estimates
from nas.study.records import TrialRecord, front_of
from nas.workflows.tabular_benchmark import Table, replay

SEEDS, TRIALS = 10, 26


def measure() -> Iterator[tuple[str, list[float], str]]:
    """Percentage points, a figure for each seed."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for name in NAMES:
        table = Table.load(TABLES / f"{name}.parquet")
        found = [_judged(table, seed) for seed in range(SEEDS)]
        for what in found[0]:
            yield f"{name}: {what}", [100 * each[what] for each in found], "points"


def _judged(table: Table, seed: int) -> dict[str, float]:
    full = table.lengths[-1]
    pairs = [
        (key[1], row.accuracy, row.test_accuracy) for key, row in table.rows.items() if row.test_accuracy is not None
    ]
    offsets = {length: fmean(v - t for other, v, t in pairs if other == length) for length, _, _ in pairs}

    def truth(record: TrialRecord) -> float | None:
        length = record.length or full
        tested = table.rows[record.architecture.key, length, 0].test_accuracy
        return None if tested is None else tested + offsets[length]

    records = [record for record in replay(table, trials=TRIALS, seed=seed).records if record.trained]
    known = estimates(records, table.space, table.about["data"]["validation_images"])
    estimated = [replace(record, estimate=known[record.trial]) for record in records]

    def errors(of: Sequence[TrialRecord]) -> list[float]:
        """How much too high the networks are put."""
        return [record.quality - true for record in of if (true := truth(record)) is not None]

    return {
        "deviation of measured accuracies": _root_mean_square(errors(records)),
        "deviation of estimates": _root_mean_square(errors(estimated)),
        "optimism of the front by measured accuracies": fmean(errors(front_of(records))),
        "optimism of the front by estimates": fmean(errors(front_of(estimated))),
    }


def _root_mean_square(errors: Sequence[float]) -> float:
    return float(np.sqrt(np.mean(np.square(errors))))
