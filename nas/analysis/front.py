"""The numbers of the accuracy–cost front that figures and tables show."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nas.analysis.cost_metrics import FLOPS, CostMetric, default_cost_metric
from nas.analysis.selection import references
from nas.study.records import TrialRecord, TrialState, front_of, knee_of

__all__ = ["CELLS", "DRAWN_WHOLE", "FrontNumbers", "front_numbers", "lowest_accuracy", "thinned"]

DRAWN_WHOLE = 1000
CELLS = (160, 100)
"""If there are more than `DRAWN_WHOLE` trials, one is drawn per cell of a grid this fine; a cell is some pixels
wide."""


class FrontNumbers(NamedTuple):
    """Trials by their position relative to the Pareto front, which is sorted by ascending cost.

    `near` are beaten by no more than chance explains, `beaten` by more. `band` has a (cost, accuracy) for each corner
    of the line below which a trial is beaten beyond chance; `intervals` has the 95 % interval of each member's
    accuracy. Both are empty if there are no estimates and the number of images is unknown.
    """

    front: list[TrialRecord]
    knee: TrialRecord | None
    near: list[TrialRecord]
    beaten: list[TrialRecord]
    short: list[TrialRecord]
    stopped: list[TrialRecord]
    failed: list[TrialRecord]
    running: list[TrialRecord]
    references: dict[str, TrialRecord]
    intervals: list[tuple[float, float]]
    band: list[tuple[float, float]]


def front_numbers(
    records: Sequence[TrialRecord], *, axis: CostMetric | None = None, images: int | None = None
) -> FrontNumbers:
    """Groups the trials by their position relative to the front.

    Args:
        records: Trials of the study.
        axis: Cost; None: the study's.
        images: Number of validation images that accuracies are measured on; None if unknown.
    """
    axis = axis or default_cost_metric(records)
    front = front_of(records, by=axis.value)
    costs = np.array([axis.value(record) for record in front], dtype=float)
    floors = [record.quality - record.least_difference(images) for record in front]
    on_front = {record.trial for record in front}
    near, beaten = list[TrialRecord](), list[TrialRecord]()
    others = [
        record
        for record in records
        if record.state == TrialState.COMPLETE and record.trial not in on_front and axis.value(record) is not None
    ]
    below = np.searchsorted(costs, np.array([axis.value(record) for record in others], dtype=float), side="right") - 1
    for record, place in zip(others, below.tolist(), strict=True):
        (near if record.quality >= floors[place] else beaten).append(record)
    intervals = [interval for record in front if (interval := record.interval(images)) is not None]
    band = list(zip(costs.tolist(), floors, strict=True)) if intervals else []
    states: dict[str, list[TrialRecord]] = {
        TrialState.SHORT: [],
        TrialState.STOPPED: [],
        TrialState.FAILED: [],
        TrialState.RUNNING: [],
    }
    for record in records:
        if record.state in states and record.trial not in on_front and axis.value(record) is not None:
            states[record.state].append(record)
    return FrontNumbers(
        front,
        knee_of(front, by=axis.value),
        near,
        beaten,
        states[TrialState.SHORT],
        states[TrialState.STOPPED],
        [record for record in states[TrialState.FAILED] if record.finished],
        states[TrialState.RUNNING],
        {name: record for name, record in references(records).items() if axis.value(record) is not None},
        intervals,
        band,
    )


def thinned(records: Sequence[TrialRecord], axis: CostMetric = FLOPS, *, log: bool = True) -> Sequence[TrialRecord]:
    """Returns the trials that can be told apart in a figure: of many, the first in each cell of a fine grid.

    Taking the first keeps the drawn points in place as trials are added.

    Args:
        records: Trials with an accuracy and a cost.
        axis: Cost on the figure's x-axis.
        log: Whether that axis is logarithmic.
    """
    if len(records) <= DRAWN_WHOLE:
        return records
    x = np.array([axis.value(record) for record in records], dtype=float)
    y = np.array([record.quality for record in records])
    if log:
        x = np.log(np.maximum(x, np.finfo(float).tiny))
    columns, rows = (
        ((values - values.min()) / (np.ptp(values) or 1.0) * cells).astype(int)
        for values, cells in zip((x, y), CELLS, strict=True)
    )
    _, kept = np.unique(columns * (CELLS[1] + 1) + rows, return_index=True)
    return [records[index] for index in sorted(kept.tolist())]


def lowest_accuracy(numbers: FrontNumbers) -> float:
    """Returns a height a little below the accuracies of the front and of the full trainings."""
    shown = [*numbers.front, *numbers.near, *numbers.beaten]
    accuracies = [record.quality for record in shown]
    if not accuracies:
        return 0.0
    return min(accuracies) - 0.04 * max(max(accuracies) - min(accuracies), 0.05)
