"""The accuracy–FLOPs front and its knee. Arrays in, indices out: numpy alone."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["front", "knee"]


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
    lies above the chord, as on a front of two.
    """
    values, costs = np.asarray(accuracy, dtype=float), np.log(np.asarray(flops, dtype=float))
    if len(values) < 3 or costs[-1] == costs[0]:
        return None
    chord = values[0] + (values[-1] - values[0]) * (costs - costs[0]) / (costs[-1] - costs[0])
    above = values - chord
    return int(np.argmax(above)) if above.max() > 0 else None
