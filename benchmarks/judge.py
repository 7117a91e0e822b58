"""Judges what a search reports by the truth of a complete table of trainings.

The truth of a network trained for some epochs is its mean accuracy over the table's seeds on the test images, which no
search sees. Tables of before three seeds say less: there the mean is smoothed by the model that estimates use, fitted
to all architectures; at lengths of which a table has no test accuracies, validation accuracies are smoothed.

A search reports a front. Within a budget one takes home the network of it that the search puts highest. A report is
worth the area under the true accuracies of what is taken home over log FLOPs, from the table's lowest to its largest,
as a share of the area of the true front: what is reported by luck costs area.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from statistics import fmean

import numpy as np

from nas import cost
from nas.study import pareto
from nas.study.estimates import AccuracyModel, estimated
from nas.study.records import TrialRecord, TrialState, front_of
from nas.workflows.tabular_benchmark import Table, TableRow

ENOUGH_SEEDS = 3


class Judge:
    """The truth of a table, and what reports are worth by it."""

    def __init__(self, table: Table) -> None:
        self.table = table

    @cached_property
    def tested(self) -> dict[tuple[str, int], float]:
        """The mean test accuracy over seeds by architecture key and length, at each length of which a table has them.

        On the scale of the validation images, which may be easier or harder: the mean difference over all trainings of
        the length is added.
        """
        found: dict[tuple[str, int], float] = {}
        for length in self.table.lengths:
            rows = self._rows(length)
            if means := _tests(rows):
                found |= {(key, length): value for key, value in _as_validated(means, rows).items()}
        return found

    @cached_property
    def truth(self) -> dict[tuple[str, int], float]:
        """The true accuracy by architecture key and length, on the scale of the validation images."""
        found: dict[tuple[str, int], float] = {}
        for length in self.table.lengths:
            rows = self._rows(length)
            means = _tests(rows) or {key: fmean(row.accuracy for row in each) for key, each in rows.items()}
            if min(map(len, rows.values())) < ENOUGH_SEEDS:
                means = self._smoothed(means)
            found |= {(key, length): value for key, value in _as_validated(means, rows).items()}
        return found

    def of(self, record: TrialRecord) -> float:
        """Returns the true accuracy of a trial's network as it was trained."""
        return self.truth[record.architecture.key, record.length or self.table.lengths[-1]]

    def estimated(self, records: Sequence[TrialRecord]) -> list[TrialRecord]:
        """Returns the records with estimates, as the search would show them."""
        images = self.table.about["data"]["validation_images"]
        return estimated(records, AccuracyModel.fit(records, self.table.space, images))

    def share(self, records: Sequence[TrialRecord]) -> float:
        """Returns what the front of some records is worth; 0 without any."""
        front = front_of(records)
        flops, levels = [record.flops for record in front], [self.of(record) for record in front]
        return self._area(flops, levels) / self._most

    def optimism(self, records: Sequence[TrialRecord]) -> float:
        """Returns by how much the front of some records is on average put too high, as a share."""
        return fmean(record.quality - self.of(record) for record in front_of(records))

    @cached_property
    def _most(self) -> float:
        full = self.table.lengths[-1]
        flops = np.array([cost(a).flops for a in self.table.architectures], dtype=float)
        values = np.array([self.truth[a.key, full] for a in self.table.architectures])
        front = pareto.front(values.tolist(), flops)
        return self._area(flops[front].tolist(), values[front].tolist())

    def _area(self, flops: Sequence[float], levels: Sequence[float]) -> float:
        full = self.table.lengths[-1]
        most = max(cost(a).flops for a in self.table.architectures)
        lowest = min(self.truth[a.key, full] for a in self.table.architectures)
        widths = np.diff(np.log([*flops, most]))
        return float(((np.array(levels) - lowest) * widths).sum())

    def _rows(self, length: int) -> dict[str, list[TableRow]]:
        """The trainings of a length by architecture key, one for each seed."""
        rows = self.table.rows
        return {
            a.key: [rows[a.key, length, seed] for seed in range(ENOUGH_SEEDS) if (a.key, length, seed) in rows]
            for a in self.table.architectures
        }

    def _smoothed(self, values: dict[str, float]) -> dict[str, float]:
        records = [
            TrialRecord(number, TrialState.COMPLETE, architecture, values[architecture.key])
            for number, architecture in enumerate(self.table.architectures)
        ]
        return {record.architecture.key: record.quality for record in self.estimated(records)}


def _tests(rows: Mapping[str, Sequence[TableRow]]) -> dict[str, float]:
    """The mean test accuracies; none if one is missing."""
    tests = {key: [row.test_accuracy for row in each if row.test_accuracy is not None] for key, each in rows.items()}
    return {key: fmean(each) for key, each in tests.items()} if all(tests.values()) else {}


def _as_validated(means: Mapping[str, float], rows: Mapping[str, Sequence[TableRow]]) -> dict[str, float]:
    """The means, moved so that theirs is that of the validation accuracies."""
    offset = fmean(row.accuracy for each in rows.values() for row in each) - fmean(means.values())
    return {key: value + offset for key, value in means.items()}
