"""Significance: how probable a place on the front is, and which trials noise may have kept off it."""

from collections.abc import Sequence
from operator import attrgetter

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nas.study.records import TrialRecord, front_of, trained_networks

__all__ = [
    "DRAWS",
    "WORTH_A_LOOK",
    "contenders",
    "front_probability",
]

DRAWS = 4096
WORTH_A_LOOK = 0.2
"""Trials off the front are contenders if their probability of being on it is at least this."""


def front_probability(
    accuracy: ArrayLike, flops: ArrayLike, error: ArrayLike, *, freedom: float = np.inf
) -> NDArray[np.float64]:
    """Returns for each network the share of draws in which no other one beats it on both accuracy and FLOPs.

    True accuracies are drawn from normal distributions around the measured ones, or from Student's t if the errors were
    estimated. The same arguments give the same shares.

    Args:
        accuracy: Measured accuracies (n,).
        flops: Costs (n,).
        error: Standard errors of the accuracies (n,).
        freedom: Degrees of freedom of the errors' estimate; infinite: the errors are known.
    """
    means, costs, errors = (np.asarray(values, dtype=float) for values in (accuracy, flops, error))
    if not len(means):
        return np.zeros(0)
    order = np.argsort(costs, kind="stable")
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((DRAWS, len(means)))
    if np.isfinite(freedom):
        noise /= np.sqrt(rng.chisquare(freedom, (DRAWS, 1)) / freedom)
    drawn = (means + errors * noise)[:, order]
    starts = np.flatnonzero(np.diff(costs[order], prepend=-np.inf))
    best_at_cost = np.maximum.reduceat(drawn, starts, axis=1)
    best_so_far = np.maximum.accumulate(best_at_cost, axis=1)
    best_cheaper = np.concatenate((np.full((DRAWS, 1), -np.inf), best_so_far[:, :-1]), axis=1)
    of_group = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(means)))
    kept = (drawn == best_at_cost[:, of_group]) & (drawn > best_cheaper[:, of_group])
    shares = np.empty(len(means))
    shares[order] = kept.mean(axis=0)
    return shares


def contenders(records: Sequence[TrialRecord], images: int | None, *, top: int | None = None) -> list[TrialRecord]:
    """Returns the front's members, and trials that chance may have kept off the front; the most accurate first.

    Args:
        records: Trials of the study.
        images: Number of validation images; None if unknown, which without estimates leaves only the front.
        top: Most trials to return; None: all.
    """
    front = front_of(records)
    if any(member.standard_error(images) is None for member in front):
        return front[::-1][:top]
    known = [record for record in trained_networks(records) if record.objective_cost is not None]
    near = [record for record in known if _is_near(record, front, images)]
    costs = np.array([record.objective_cost for record in near], dtype=float)
    errors = [record.standard_error(images) or 0.0 for record in near]
    probability = front_probability([record.quality for record in near], costs, errors)
    members = {member.trial for member in front}
    kept = [
        record
        for record, chance in zip(near, probability.tolist(), strict=True)
        if chance >= WORTH_A_LOOK or record.trial in members
    ]
    return sorted(kept, key=lambda record: (-record.quality, record.trial))[:top]


def _is_near(record: TrialRecord, front: Sequence[TrialRecord], images: int | None) -> bool:
    """Returns whether no member of the front beats the trial by more than chance explains."""
    cheaper = [member for member in front if member.costs_at_most(record)]
    best = max(cheaper, key=attrgetter("quality"), default=record)
    return record.quality >= best.quality - best.least_difference(images)
