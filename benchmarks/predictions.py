"""Predictions: what the model of a search expects of networks that were not trained, against their trainings.

Searches are replayed on the complete tables, on ten seeds each. After the epochs of some full trainings, the model
predicts every network of the table that the search has not trained in full, as `nas predict` and the dashboard's page
Design do; it is judged by test accuracies of full trainings, on images that no search sees, the mean over a table's
seeds (`Judge.tested`). Errors are medians of absolute differences, in percentage points. Coverage is the share of
networks whose accuracy is within the interval of 90 %, which should lie between 85 and 95 %: of the interval that is
shown, which contains the chance in which images were drawn for validation, and of that of comparisons, which does not.
As the mean difference between validation and test images is taken out, the second is the one to judge. Where a table
has one seed, the accuracies that judge contain its noise, which no interval claims to cover.
"""

from collections.abc import Iterator, Sequence
from statistics import NormalDist

import numpy as np
import optuna

from benchmarks.judge import Judge
from benchmarks.search import TABLES
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
    for file in sorted(TABLES.glob("*.parquet")):
        judge = Judge(Table.load(file))
        full = judge.table.lengths[-1]
        replays = [replay(judge.table, trials=MOMENTS[-1] + 1, seed=seed).records for seed in range(SEEDS)]
        for moment in MOMENTS:
            judged = [_judged(judge, _until(records, moment, full)) for records in replays]
            yield f"{file.stem}, after {moment}: error", [100 * each[0] for each in judged], "points"
            yield f"{file.stem}, after {moment}: coverage as shown", [100 * each[1] for each in judged], "%"
            yield f"{file.stem}, after {moment}: coverage in comparisons", [100 * each[2] for each in judged], "%"


def _until(records: Sequence[TrialRecord], moment: int, full: int) -> list[TrialRecord]:
    """Returns the first trials that cost no more than the epochs of `moment` full trainings."""
    return [record for number, record in enumerate(records, 1) if trainings_spent(records[:number], full) <= moment]


def _judged(judge: Judge, records: Sequence[TrialRecord]) -> tuple[float, float, float]:
    """Returns the median absolute error, and the coverage as shown and in comparisons, in [0, 1]."""
    table, full = judge.table, judge.table.lengths[-1]
    model = AccuracyModel.fit(records, table.space, table.about["data"]["validation_images"])
    assert model is not None  # a search has more short trainings than a model needs
    known = {record.architecture.key for record in records if record.length in (None, full)}
    unseen = [architecture for architecture in table.architectures if architecture.key not in known]
    found = np.array([model.estimates(unseen)]).squeeze(0)
    differences = np.abs(found[:, 0] - [judge.tested[architecture.key, full] for architecture in unseen])
    shown = differences <= TAIL / Z * (found[:, 2] - found[:, 1]) / 2
    compared = differences <= TAIL * found[:, 3]
    return float(np.median(differences)), float(np.mean(shown)), float(np.mean(compared))
