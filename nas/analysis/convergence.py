"""Convergence: how a search's hypervolume grows, whether it has converged, and what more training would bring."""

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import median, stdev
from typing import NamedTuple

import numpy as np

from nas.spaces.search_space import SearchSpace
from nas.study.pareto import hypervolume_history
from nas.study.records import TrialRecord
from nas.study.search_state import SearchState

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
"""A hypervolume that has grown by at most this share of itself has converged."""
HOUR = 3600.0
LEAST_TRIALS = 8
DOUBLINGS = 3


class History(NamedTuple):
    """After each finished trial, in the order they ended: the totals spent so far, and the hypervolume reached."""

    trials: list[int]
    epochs: list[int]
    seconds: list[float]
    hypervolume: list[float]
    records: list[TrialRecord]


class Extrapolation(NamedTuple):
    """The current hypervolume, and the growth expected from `seconds` more seconds of training, with its error."""

    hypervolume: float
    growth: float
    error: float
    seconds: float


def history(
    records: Sequence[TrialRecord], space: SearchSpace, *, bounds: tuple[float, float] | None = None
) -> History:
    """Returns what a search has spent and the hypervolume it has reached after each finished trial.

    The reference point is fixed in advance: accuracy at chance, cost at the upper bound. Trainings of every length
    count, with the accuracy that they reached, or its estimate.

    Args:
        records: Trials of the study.
        space: Search space.
        bounds: Lowest and highest cost; None: the space's FLOPs. If the study trades accuracy off against latency, the
            bounds are those that its `LatencyModel` predicted for the sample measured before the first trial.
    """
    ended = sorted(
        (record for record in records if record.finished), key=lambda record: (record.ended or 0.0, record.trial)
    )
    chance = space.recipe.chance(space.classes)
    least, most = bounds or (space.least_cost[0], space.most_flops)
    hypervolume = hypervolume_history(
        [record.quality if record.trained else chance for record in ended],
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
    """Returns whether the last epochs have raised the hypervolume by at most 1 % of itself.

    Args:
        records: Trials of the study.
        space: Search space.
        patience: How many of the last epochs to look at, in units of one full training.
        bounds: Lowest and highest cost, as in `history`.
    """
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
    """Predicts the growth of the hypervolume from more training, if each doubling of the time keeps bringing as much.

    The last doubling is the second half of the training time so far. The error is the standard deviation over the last
    three doublings, times the doublings ahead.

    Args:
        records: Trials of the study.
        space: Search space.
        seconds: Further training time.
        bounds: Lowest and highest cost, as in `history`.

    Returns:
        None where nothing can be said: too few trained networks, or an error that is no smaller than the growth.
    """
    past = history(records, space, bounds=bounds)
    if sum(record.trained for record in past.records) < LEAST_TRIALS or past.seconds[-1] <= 0:
        return None
    spent = past.seconds[-1]
    reached = [_at(past.seconds, past.hypervolume, spent / 2**halvings) for halvings in range(DOUBLINGS + 1)]
    doublings = [later - earlier for later, earlier in pairwise(reached)]
    ahead = math.log2(1 + seconds / spent)
    growth, error = min(doublings[0] * ahead, 1 - reached[0]), stdev(doublings) * ahead
    return Extrapolation(reached[0], growth, error, seconds) if error < growth else None


def _at(spent: Sequence[float], reached: Sequence[float], point: float) -> float:
    """Returns the value reached when no more than `point` had been spent."""
    at = int(np.searchsorted(spent, point, side="right")) - 1
    return reached[at] if at >= 0 else 0.0


class Band(NamedTuple):
    """A range of FLOPs: the best accuracies reached in it, and after how many finished trials each was reached."""

    least: float
    most: float
    trials: list[int]
    best: list[float]


def bands(past: History) -> list[Band]:
    """Returns four ranges of FLOPs, equally wide on a log axis, over the trained networks, without empty ones."""
    trained = [(index, record) for index, record in enumerate(past.records, start=1) if record.trained]
    if not trained:
        return []
    flops = [record.flops for _, record in trained]
    edges = np.geomspace(min(flops), max(flops), BANDS + 1)
    which = np.clip(np.searchsorted(edges, flops, side="right") - 1, 0, BANDS - 1)
    found = []
    for number in range(BANDS):
        trials, best = list[int](), list[float]()
        for (index, record), at in zip(trained, which, strict=True):
            if at == number and (not best or record.quality > best[-1]):
                trials.append(index)
                best.append(record.quality)
        if best:
            found.append(Band(float(edges[number]), float(edges[number + 1]), trials, best))
    return found


def seconds_left(records: Sequence[TrialRecord], state: SearchState | None, epochs: int) -> float | None:
    """Estimates the seconds until a running search has spent its budget; None if it is not running or none was timed.

    The estimate is the remaining epochs times the median time per epoch of the last 20 trials, divided by the number of
    workers that are training now.

    Args:
        records: Trials of the study.
        state: State of the last search, if any.
        epochs: Epochs of a full training.
    """
    finished = [record for record in records if record.finished]
    timed = [(record.seconds, spent) for record in finished if (spent := record.epochs_spent(epochs))]
    taken = [seconds / spent for seconds, spent in timed if seconds is not None][-RECENT:]
    if state is None or not state.live or not taken:
        return None
    workers = len({record.worker for record in records if record.state == "running"})
    left = state.trials * epochs - sum(record.epochs_spent(epochs) for record in finished)
    return max(0, left) * median(taken) / max(1, workers)
