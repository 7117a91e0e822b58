"""Multi-fidelity: the schedule lengths of a search, and which short training is promoted to a longer one.

The fidelity is the length of a complete schedule. A short schedule annealed to its end ranks architectures better than
the first epochs of a long one (docs/benchmarks.md), so a promoted architecture is trained from scratch. `FrontSampler`
chooses lengths by its model; other samplers promote by rank, as asynchronous successive halving does (Li et al.,
arXiv:1810.05934), with ranks for two objectives.
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nas.errors import InvalidValue
from nas.study import pareto
from nas.study.records import TrialRecord, TrialState
from nas.validation import integer

__all__ = ["front_ranks", "promotion", "schedule_lengths", "strength", "usual_fidelities"]

MOST_FIDELITIES = 10
LONG_ENOUGH = 3
"""A schedule of fewer epochs says too little about a full one to pay off on each table of docs/benchmarks.md."""


def schedule_lengths(epochs: int, fidelities: int | None, eta: int) -> tuple[int, ...]:
    """Returns the lengths of the complete schedules: E/η^(k−1), …, E/η, E epochs, rounded.

    Args:
        epochs: E, the epochs of a full training.
        fidelities: k, the number of lengths; None: `usual_fidelities`.
        eta: η, the ratio of successive lengths, at least 2.

    Raises:
        InvalidValue: `eta` is out of range, or there are fewer than `fidelities` distinct lengths.
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
    """Returns 2 if a training of E/η epochs is long enough, else 1."""
    return 2 if epochs >= LONG_ENOUGH * eta else 1


def front_ranks(objective_cost: ArrayLike, accuracy: ArrayLike) -> NDArray[np.intp]:
    """Ranks points by successive Pareto fronts; 0 is the best.

    Fronts are peeled off one after the other. Within a front the extremes come first, then always the member farthest
    from those before it. Distances are Euclidean in (log cost, accuracy), each scaled to the range of the front. Equal
    points have equal ranks. A point that dominates all others has rank 0; one that k others dominate has at least rank
    k.
    """
    costs, values = np.log(np.asarray(objective_cost, dtype=float)), np.asarray(accuracy, dtype=float)
    order: list[int] = []
    left = np.lexsort((-values, costs))  # by value, so that the result does not depend on the order of the points
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
    chosen = [len(members) - 1]  # the most accurate; the cheapest follows, as the farthest from it
    nearest = np.linalg.norm(points - points[-1], axis=1)
    while len(chosen) < len(members):
        nearest[chosen] = -1.0
        chosen.append(int(np.argmax(nearest)))
        nearest = np.minimum(nearest, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return [int(member) for member in members[chosen]]


def promotion(
    records: Sequence[TrialRecord], lengths: Sequence[int], eta: int, *, any_rank: bool = False
) -> tuple[TrialRecord, int] | None:
    """Returns the short training that is due for promotion, and the length it is promoted to; None if none is due.

    Of n trainings of a length, those of the best n/η ranks (at least one) are promoted, the longest length first. An
    architecture that is running at a greater length, or failed there, or was stopped, counts as promoted.

    Args:
        records: Trials of the study.
        lengths: Schedule lengths in epochs, ascending; the last one is the full length.
        eta: η, the inverse of the share that is promoted.
        any_rank: Whether to promote regardless of rank.
    """
    if len(lengths) == 1:
        return None
    begun: dict[str, int] = {}
    for record in records:
        if record.finished or record.state == TrialState.RUNNING:
            key = record.architecture.key
            begun[key] = max(begun.get(key, 0), record.length or lengths[-1])
    for length, longer in reversed(list(itertools.pairwise(lengths))):
        here = [
            r for r in records if r.state == TrialState.SHORT and r.length == length and r.objective_cost is not None
        ]
        if not here:
            continue
        ranks = front_ranks(np.array([r.objective_cost for r in here], float), [r.accuracy or 0.0 for r in here])
        limit = len(here) if any_rank else max(1.0, len(here) / eta)
        for place in np.argsort(ranks, kind="stable").tolist():
            if ranks[place] < limit and begun[here[place].architecture.key] == length:
                return here[place], longer
    return None


def strength(accuracy: float) -> float:
    """Returns −log(error), whose differences mean the same near an accuracy of 1 as far from it."""
    return -math.log(max(1 - accuracy, 1e-3))
