"""Pareto front of accuracy against FLOPs, its knee and its hypervolume. Plain numpy: arrays in, arrays out."""

from bisect import bisect_left
from math import log
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["front", "hypervolume_history", "knee"]


def front(accuracy: ArrayLike, flops: ArrayLike) -> NDArray[np.intp]:
    """Returns the indices of the non-dominated points, by ascending FLOPs.

    A point is dominated by one that is no worse in both and better in one; equal points do not dominate each other.
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
    """Returns, for points sorted by cost, the best value at any strictly lower cost; −∞ if there is none."""
    best_before = np.concatenate(([-np.inf], np.maximum.accumulate(values)[:-1]))
    return _first_of_run(best_before, costs)


def _first_of_run(values: NDArray[Any], costs: NDArray[Any]) -> NDArray[Any]:
    """Replaces each value by the first one among those of equal cost."""
    starts = np.concatenate(([True], costs[1:] != costs[:-1]))
    return np.asarray(values[np.flatnonzero(starts)[np.cumsum(starts) - 1]])


def knee(accuracy: ArrayLike, flops: ArrayLike) -> int | None:
    """Returns the index of a front's knee: the point farthest above the chord between its two ends.

    Takes a front sorted by FLOPs; works on accuracy against log FLOPs, as the front is plotted. Returns None if no
    member lies above the chord, as on a front of two, or if a cost is not positive.
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
    """Returns the hypervolume after each point, in the given order: the dominated area of (log FLOPs, accuracy).

    The reference point is (`most_flops`, `chance`). The area is normalised by the whole box up to an accuracy of 1 at
    `least_flops`, so that it lies in [0, 1] and studies of the same space are comparable.

    Args:
        accuracy: accuracies (N,).
        flops: FLOPs (N,).
        chance: accuracy at chance level.
        least_flops: lower end of the FLOPs axis.
        most_flops: upper end of the FLOPs axis.

    Returns:
        Hypervolumes (N,) in [0, 1].
    """
    right, box = log(most_flops), (1 - chance) * log(most_flops / least_flops)
    xs: list[float] = []  # the front so far: both ascending
    ys: list[float] = []
    area, history = 0.0, []
    for y, cost in zip(np.asarray(accuracy, dtype=float).tolist(), np.asarray(flops).tolist(), strict=True):
        x = max(log(cost), log(least_flops))
        at = bisect_left(xs, x)
        level = ys[at - 1] if at else chance
        if x < right and y > level:
            end, start = at, x
            while end < len(xs) and ys[end] <= y:  # members that the new point dominates
                area += (xs[end] - start) * (y - level)
                start, level = xs[end], ys[end]
                end += 1
            if end == len(xs) or xs[end] > x:  # else there is a better one at equal cost
                area += ((xs[end] if end < len(xs) else right) - start) * (y - level)
                xs[at:end], ys[at:end] = [x], [y]
        history.append(area / box if box > 0 else 0.0)
    return np.array(history)
