"""How the hypervolume of a search grows, whether it has converged, and what more training would bring."""

from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nas.study.records import COMPLETE, SearchState, TrialRecord

if TYPE_CHECKING:
    pass

import math

from nas.spaces.search_space import SearchSpace
from nas.study.pareto import hypervolume_history

__all__ = [
    "BANDS",
    "RECENT",
    "SETTLED_SHARE",
    "Band",
    "Extrapolation",
    "History",
    "bands",
    "extrapolate",
    "has_converged",
    "history",
    "seconds_left",
]

RECENT = 20
BANDS = 4

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


class Extrapolation(NamedTuple):
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
        [most if record.objective_cost is None else record.objective_cost for record in ended],
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


def has_converged(
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


def extrapolate(
    records: Sequence[TrialRecord],
    space: SearchSpace,
    *,
    seconds: float = HOUR,
    bounds: tuple[float, float] | None = None,
) -> Extrapolation | None:
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
    return Extrapolation(past.hypervolume[-1], growth, seconds)


def _at(spent: Sequence[float], reached: Sequence[float], point: float) -> float:
    """What was reached when no more than `point` had been spent."""
    at = int(np.searchsorted(spent, point, side="right")) - 1
    return reached[at] if at >= 0 else 0.0


class Band(NamedTuple):
    """The trials of a range of FLOPs: after how many finished trials its best accuracy became which."""

    least: float
    most: float
    trials: list[int]
    best: list[float]


def bands(past: History) -> list[Band]:
    """Four ranges of FLOPs, equally wide on a log axis, over the complete trials; those without a trial left out."""
    complete = [(index, record) for index, record in enumerate(past.records, start=1) if record.state == COMPLETE]
    if not complete:
        return []
    flops = [record.flops for _, record in complete]
    edges = np.geomspace(min(flops), max(flops), BANDS + 1)
    which = np.clip(np.searchsorted(edges, flops, side="right") - 1, 0, BANDS - 1)
    found = []
    for number in range(BANDS):
        trials, best = list[int](), list[float]()
        for (index, record), at in zip(complete, which, strict=True):
            if at == number and record.accuracy is not None and (not best or record.accuracy > best[-1]):
                trials.append(index)
                best.append(record.accuracy)
        if best:
            found.append(Band(float(edges[number]), float(edges[number + 1]), trials, best))
    return found


def seconds_left(records: Sequence[TrialRecord], state: SearchState | None, epochs: int) -> float | None:
    """Until a running search has spent its trials, of so many epochs each: by the median time of an epoch of the last
    20 trials, shared by the workers that train now."""
    finished = [record for record in records if record.finished]
    taken = [record.seconds / record.epochs_spent(epochs) for record in finished if record.seconds is not None][
        -RECENT:
    ]
    if state is None or not state.live or not taken:
        return None
    workers = len({record.worker for record in records if record.state == "running"})
    left = state.trials * epochs - sum(record.epochs_spent(epochs) for record in finished)
    return max(0, left) * median(taken) / max(1, workers)
