"""Predictions: what the model of a search expects of networks that were not trained, against their trainings.

Searches are replayed on the complete tables, on ten seeds each. After the epochs of some full trainings, the model
predicts every network of the table that the search has not trained in full, as `nas predict` and the dashboard's page
Design do; it is judged by the test accuracy of their full trainings, on images that no search sees. The validation
images of a table may be easier or harder than its test images, so the mean difference over all full trainings is taken
out. Errors are medians of absolute differences, in percentage points. Coverage is the share of networks whose accuracy
is within the interval of 90 %, which should lie between 85 and 95 %: of the interval that is shown, which contains the
chance in which images were drawn for validation, and of that of comparisons, which does not. As the mean difference is
taken out, the second is the one to judge. The accuracies that judge contain the noise of one seed, which no interval
claims to cover.
"""

from collections.abc import Iterator, Sequence
from statistics import NormalDist, fmean

import numpy as np
import optuna

from benchmarks.search import TABLES
from benchmarks.trend import NAMES
from nas.architectures.architecture import Architecture
from nas.study.estimates import AccuracyModel
from nas.study.precision import Z
from nas.study.records import TrialRecord, trainings_spent
from nas.workflows.tabular_benchmark import Table, replay

SEEDS, MOMENTS = 10, (5, 12, 25)
TAIL = NormalDist().inv_cdf(0.95)
"""Half an interval of 90 %, in standard errors."""


def measure() -> Iterator[tuple[str, list[float], str]]:
    """Percentage points and per cent, a figure for each seed."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for name in NAMES:
        table = Table.load(TABLES / f"{name}.parquet")
        replays = [replay(table, trials=MOMENTS[-1] + 1, seed=seed).records for seed in range(SEEDS)]
        for moment in MOMENTS:
            judged = [_judged(table, _until(records, moment, table.lengths[-1])) for records in replays]
            yield f"{name}, after {moment}: error", [100 * each[0] for each in judged], "points"
            yield f"{name}, after {moment}: coverage as shown", [100 * each[1] for each in judged], "%"
            yield f"{name}, after {moment}: coverage in comparisons", [100 * each[2] for each in judged], "%"


def _until(records: Sequence[TrialRecord], moment: int, full: int) -> list[TrialRecord]:
    """Returns the first trials that cost no more than the epochs of `moment` full trainings."""
    return [record for number, record in enumerate(records, 1) if trainings_spent(records[:number], full) <= moment]


def _judged(table: Table, records: Sequence[TrialRecord]) -> tuple[float, float, float]:
    """Returns the median absolute error, and the coverage as shown and in comparisons, in [0, 1]."""
    full = table.lengths[-1]
    whole = [row for (_, length, _), row in table.rows.items() if length == full]
    offset = fmean(row.accuracy - (row.test_accuracy or 0.0) for row in whole)

    def truth(architecture: Architecture) -> float:
        return (table.rows[architecture.key, full, 0].test_accuracy or 0.0) + offset

    model = AccuracyModel.fit(records, table.space, table.about["data"]["validation_images"])
    assert model is not None  # a search has more short trainings than a model needs
    known = {record.architecture.key for record in records if record.length in (None, full)}
    unseen = [architecture for architecture in table.architectures if architecture.key not in known]
    found = np.array([model.estimates(unseen)]).squeeze(0)
    differences = np.abs(found[:, 0] - [truth(architecture) for architecture in unseen])
    shown = differences <= TAIL / Z * (found[:, 2] - found[:, 1]) / 2
    compared = differences <= TAIL * found[:, 3]
    return float(np.median(differences)), float(np.mean(shown)), float(np.mean(compared))
