"""The accuracy–FLOPs front, its knee and the hypervolume that it dominates. Arrays in, arrays out: numpy alone."""

from bisect import bisect_left
from math import log
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["front", "hypervolume_history", "knee"]


def front(accuracy: ArrayLike, flops: ArrayLike) -> NDArray[np.intp]:
    """Indices of the points that no other point beats, from the fewest FLOPs to the most.

    A point is beaten by one that is no worse in both and better in one; equal points do not beat each other.
    Sorts once: O(n log n). Accuracies must be finite.
    """
    values, costs = np.asarray(accuracy, dtype=float), np.asarray(flops, dtype=float)
    if len(values) == 0:
        return np.array([], dtype=np.intp)
    order = np.lexsort((-values, costs))
    best_cheaper = _best_strictly_cheaper(values[order], costs[order])
    best_at_cost = _first_of_run(values[order], costs[order])
    kept = (values[order] > best_cheaper) & (values[order] == best_at_cost)
    return np.asarray(order[kept])


def _best_strictly_cheaper(values: NDArray[Any], costs: NDArray[Any]) -> NDArray[Any]:
    """For points sorted by cost: the best value among those of strictly lower cost, −∞ if none."""
    best_before = np.concatenate(([-np.inf], np.maximum.accumulate(values)[:-1]))
    return _first_of_run(best_before, costs)


def _first_of_run(values: NDArray[Any], costs: NDArray[Any]) -> NDArray[Any]:
    """Each value replaced by the first one among those of equal cost."""
    starts = np.concatenate(([True], costs[1:] != costs[:-1]))
    return np.asarray(values[np.flatnonzero(starts)[np.cumsum(starts) - 1]])


def knee(accuracy: ArrayLike, flops: ArrayLike) -> int | None:
    """The position on a front where more FLOPs begin to buy little: the farthest above the chord of its ends.

    Takes a front sorted by FLOPs; works on accuracy against log FLOPs, as the front is drawn. None where no member
    lies above the chord, as on a front of two, and where a cost is not positive.
    """
    values, costs = np.asarray(accuracy, dtype=float), np.asarray(flops, dtype=float)
    if len(values) < 3 or costs[-1] == costs[0] or costs[0] <= 0:
        return None
    costs = np.log(costs)
    chord = values[0] + (values[-1] - values[0]) * (costs - costs[0]) / (costs[-1] - costs[0])
    above = values - chord
    return int(np.argmax(above)) if above.max() > 0 else None


def hypervolume_history(
    accuracy: ArrayLike, flops: ArrayLike, *, chance: float, least_flops: float, most_flops: float
) -> NDArray[np.float64]:
    """The hypervolume after each point, in the order given: the area of (log FLOPs, accuracy) that is dominated.

    The reference point is an accuracy at chance for the most FLOPs. The area is given as a share of the whole box up
    to an accuracy of 1 for the least FLOPs, so that it lies in [0, 1] and studies of one space can be compared.
    """
    right, box = log(most_flops), (1 - chance) * log(most_flops / least_flops)
    xs: list[float] = []  # the front so far: both ascend
    ys: list[float] = []
    area, history = 0.0, []
    for y, cost in zip(np.asarray(accuracy, dtype=float).tolist(), np.asarray(flops).tolist(), strict=True):
        x = max(log(cost), log(least_flops))
        at = bisect_left(xs, x)
        level = ys[at - 1] if at else chance
        if x < right and y > level:
            end, start = at, x
            while end < len(xs) and ys[end] <= y:  # what the new point beats
                area += (xs[end] - start) * (y - level)
                start, level = xs[end], ys[end]
                end += 1
            if end == len(xs) or xs[end] > x:  # else there is an equally cheap, better one
                area += ((xs[end] if end < len(xs) else right) - start) * (y - level)
                xs[at:end], ys[at:end] = [x], [y]
        history.append(area / box if box > 0 else 0.0)
    return np.array(history)
