"""How the hypervolume of a search grows: its history, whether it has settled, and what more training would bring."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nas.spaces.search_space import SearchSpace
from nas.study.pareto import hypervolume_history
from nas.study.records import COMPLETE, TrialRecord

__all__ = ["SETTLED_SHARE", "History", "Outlook", "history", "is_settled", "outlook"]

SETTLED_SHARE = 0.01
"""A hypervolume that has grown by no more than this share of itself has settled."""
HOUR = 3600.0
LEAST_TRIALS = 8


class History(NamedTuple):
    """After each finished trial, in the order they ended: what was spent so far, and the hypervolume reached."""

    trials: list[int]
    epochs: list[int]
    seconds: list[float]
    hypervolume: list[float]
    records: list[TrialRecord]


class Outlook(NamedTuple):
    """The hypervolume now, and by how much so many more seconds of training are expected to raise it."""

    hypervolume: float
    growth: float
    seconds: float


def history(
    records: Sequence[TrialRecord], space: SearchSpace, *, bounds: tuple[float, float] | None = None
) -> History:
    """The reference point is fixed beforehand: accuracy at chance, cost at the most of the `bounds`.

    Those are the least and the most cost: None for the space's FLOPs; of a study that weighs accuracy against latency
    what its `LatencyModel` foretold of the sample that was measured before the first trial.

    Trainings of a shorter length are spent for, but raise nothing.
    """
    ended = sorted(
        (record for record in records if record.finished), key=lambda record: (record.ended or 0.0, record.trial)
    )
    chance = 1 / space.classes
    least, most = bounds or (space.least_cost[0], space.most_flops)
    hypervolume = hypervolume_history(
        [(record.accuracy or 0.0) if record.state == COMPLETE else chance for record in ended],
        [most if record.expense is None else record.expense for record in ended],
        chance=chance,
        least_flops=least,
        most_flops=most,
    )
    return History(
        list(range(1, len(ended) + 1)),
        np.cumsum([record.epochs_spent(space.recipe.epochs) for record in ended]).tolist(),
        np.cumsum([record.seconds or 0.0 for record in ended]).tolist(),
        hypervolume.tolist(),
        ended,
    )


def is_settled(
    records: Sequence[TrialRecord],
    space: SearchSpace,
    patience: int,
    *,
    bounds: tuple[float, float] | None = None,
) -> bool:
    """Whether the epochs of the last `patience` full trainings have raised the hypervolume by at most 1 % of itself."""
    past = history(records, space, bounds=bounds)
    before = past.epochs[-1] - patience * space.recipe.epochs if past.epochs else 0
    if before <= 0 or not past.hypervolume[-1]:
        return False
    then = _at(past.epochs, past.hypervolume, before)
    return past.hypervolume[-1] - then <= SETTLED_SHARE * past.hypervolume[-1]


def outlook(
    records: Sequence[TrialRecord],
    space: SearchSpace,
    *,
    seconds: float = HOUR,
    bounds: tuple[float, float] | None = None,
) -> Outlook | None:
    """What so many more seconds of training would bring, if each doubling of the time goes on to bring the same.

    The last doubling is the second half of the training time so far. None before there is enough to tell.
    """
    past = history(records, space, bounds=bounds)
    complete = sum(record.state == COMPLETE for record in past.records)
    if complete < LEAST_TRIALS or past.seconds[-1] <= 0:
        return None
    spent = past.seconds[-1]
    doubling = past.hypervolume[-1] - _at(past.seconds, past.hypervolume, spent / 2)
    growth = min(doubling * math.log2(1 + seconds / spent), 1 - past.hypervolume[-1])
    return Outlook(past.hypervolume[-1], growth, seconds)


def _at(spent: Sequence[float], reached: Sequence[float], point: float) -> float:
    """What was reached when no more than `point` had been spent."""
    at = int(np.searchsorted(spent, point, side="right")) - 1
    return reached[at] if at >= 0 else 0.0
