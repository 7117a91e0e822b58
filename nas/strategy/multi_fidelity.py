"""Multi-fidelity: which schedule lengths a search uses, and which short training is promoted to a longer one.

The fidelity is the length of a complete schedule. A short schedule that is annealed to its end ranks architectures
better than the first epochs of a long one (docs/benchmarks.md), so a promoted architecture is trained from scratch.
`FrontSampler` weighs lengths by its model; other samplers promote by rank, as asynchronous successive halving does (Li
et al., arXiv:1810.05934), with ranks for two objectives.
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nas.errors import InvalidValue
from nas.study import pareto
from nas.study.records import COMPLETE, FAILED, RUNNING, SHORT, TrialRecord
from nas.validation import integer

__all__ = ["front_ranks", "promotion", "schedule_lengths", "usual_fidelities"]

MOST_FIDELITIES = 10
LONG_ENOUGH = 9
"""From so many epochs on, a third and a ninth of them pay on most tables of docs/benchmarks.md."""


def schedule_lengths(epochs: int, fidelities: int | None, eta: int) -> tuple[int, ...]:
    """E/η^(k−1), …, E/η, E epochs, rounded: `fidelities` complete schedules. None: as many as usually pay.

    Raises:
        InvalidValue: η is below 2, or there are not so many different lengths.
    """
    integer(eta, "eta", minimum=2, maximum=1000)
    if fidelities is None:
        fidelities = usual_fidelities(epochs, eta)
    integer(fidelities, "fidelities", maximum=MOST_FIDELITIES)
    ladders = [_ladder(epochs, count, eta) for count in range(1, MOST_FIDELITIES + 1)]
    most = max(len(ladder) for ladder in ladders if ladder[0] >= 1 and len(set(ladder)) == len(ladder))
    if fidelities > most:
        raise InvalidValue(
            f"fidelities={fidelities}: {epochs} epochs divided by eta={eta} allow at most {most}; nearest valid: {most}"
        )
    return ladders[fidelities - 1]


def _ladder(epochs: int, fidelities: int, eta: int) -> tuple[int, ...]:
    return tuple(round(epochs / eta**power) for power in reversed(range(fidelities)))


def usual_fidelities(epochs: int, eta: int = 3) -> int:
    """Three where the shortest has an epoch left to be annealed in, else one."""
    return 3 if epochs >= max(LONG_ENOUGH, eta**2) else 1


def front_ranks(objective_cost: ArrayLike, accuracy: ArrayLike) -> NDArray[np.intp]:
    """Ranks from 0, the best: fronts are peeled off one after the other, and inside a front the extremes come first,
    then always the member farthest from those before it.

    Distances are Euclidean in (log expense, accuracy), each scaled to the range of the front. Equal points have equal
    ranks. A point that dominates all others has rank 0; one that k others dominate has at least rank k.
    """
    costs, values = np.log(np.asarray(objective_cost, dtype=float)), np.asarray(accuracy, dtype=float)
    order: list[int] = []
    left = np.lexsort((-values, costs))  # by value, so that relabelling the points changes nothing
    while len(left):
        peeled = left[np.sort(pareto.front(values[left], costs[left]))]
        order += _farthest_first(peeled, costs, values)
        left = left[~np.isin(left, peeled)]
    ranks = np.empty(len(order), dtype=np.intp)
    ranks[order] = np.arange(len(order))
    for member in range(len(order)):
        ranks[member] = ranks[(costs == costs[member]) & (values == values[member])].min()
    return ranks


def _farthest_first(members: NDArray[np.intp], costs: NDArray[np.float64], values: NDArray[np.float64]) -> list[int]:
    points = np.column_stack([costs[members], values[members]])
    points = (points - points.min(axis=0)) / np.where(np.ptp(points, axis=0) > 0, np.ptp(points, axis=0), 1.0)
    chosen = [len(members) - 1]  # the most accurate one, then the cheapest as the farthest from it
    nearest = np.linalg.norm(points - points[-1], axis=1)
    while len(chosen) < len(members):
        nearest[chosen] = -1.0
        chosen.append(int(np.argmax(nearest)))
        nearest = np.minimum(nearest, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return [int(member) for member in members[chosen]]


def promotion(
    records: Sequence[TrialRecord], lengths: Sequence[int], eta: int, *, any_rank: bool = False
) -> tuple[TrialRecord, int] | None:
    """The short training that is due for the next length, and that length; None if none is.

    Of n trainings of a length those of the best n/η ranks go on, the longest first; with `any_rank` all. A training
    that is running at a greater length has gone on already.
    """
    if len(lengths) == 1:
        return None
    begun: dict[str, int] = {}
    for record in records:
        if record.state in (SHORT, COMPLETE, RUNNING, FAILED) and record.finished | (record.state == RUNNING):
            key = record.architecture.key
            begun[key] = max(begun.get(key, 0), record.length or lengths[-1])
    for length, longer in reversed(list(itertools.pairwise(lengths))):
        here = [r for r in records if r.state == SHORT and r.length == length and r.objective_cost is not None]
        if not here:
            continue
        ranks = front_ranks(np.array([r.objective_cost for r in here], float), [r.accuracy or 0.0 for r in here])
        limit = len(here) if any_rank else max(1.0, len(here) / eta)
        for place in np.argsort(ranks, kind="stable").tolist():
            if ranks[place] < limit and begun[here[place].architecture.key] == length:
                return here[place], longer
    return None


def strength(accuracy: float) -> float:
    """−log(error): differences of it mean the same near an accuracy of 1 as far from it."""
    return -math.log(max(1 - accuracy, 1e-3))
