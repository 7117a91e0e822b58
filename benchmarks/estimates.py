"""Estimates against measured accuracies: which of them the test images agree with.

Searches are replayed on the complete tables for the epochs of 26 full trainings, on ten seeds each; their networks are
then judged by the test accuracy of the same trainings, on images that no search sees. The validation images of a table
may be easier or harder than its test images, so the mean difference over all trainings of a length is taken out.
Deviations are root mean squares over a search's trained networks; optimism is the mean over its front, by measured
accuracy and by estimate. All are percentage points, and contain the noise of the test images.
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
    offsets = {
        length: fmean(row.accuracy - (row.test_accuracy or 0.0) for key, row in table.rows.items() if key[1] == length)
        for length in table.lengths
    }

    def truth(record: TrialRecord) -> float:
        length = record.length or full
        return (table.rows[record.architecture.key, length, 0].test_accuracy or 0.0) + offsets[length]

    records = [record for record in replay(table, trials=TRIALS, seed=seed).records if record.trained]
    known = estimates(records, table.space, table.about["data"]["validation_images"])
    estimated = [replace(record, estimate=known[record.trial]) for record in records]
    return {
        "deviation of measured accuracies": _deviation(records, [truth(record) for record in records]),
        "deviation of estimates": _deviation(estimated, [truth(record) for record in estimated]),
        "optimism of the front by measured accuracies": fmean(r.quality - truth(r) for r in front_of(records)),
        "optimism of the front by estimates": fmean(r.quality - truth(r) for r in front_of(estimated)),
    }


def _deviation(records: Sequence[TrialRecord], truth: Sequence[float]) -> float:
    return float(np.sqrt(np.mean(np.square([r.quality - t for r, t in zip(records, truth, strict=True)]))))
