"""How well short trainings foretell full ones: rank correlations from a study's own promotions."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from nas.study.records import COMPLETE, SHORT, TrialRecord

__all__ = ["MISLEADING", "Proxy", "proxies"]

MISLEADING = 0.2
"""A rank correlation below it says less about the full result than is worth training for."""
LEAST_PAIRS = 8


class Proxy(NamedTuple):
    """Of one length: how many trainings it had, how many of these architectures were trained in full, and Kendall's τ
    between both accuracies, None for fewer than three pairs. 1 is the same order, 0 none, −1 the reverse."""

    length: int
    trainings: int
    pairs: int
    tau: float | None

    @property
    def misleads(self) -> bool:
        """Whether there are pairs enough to say that it foretells too little."""
        return self.tau is not None and self.pairs >= LEAST_PAIRS and self.tau < MISLEADING


def proxies(records: Sequence[TrialRecord]) -> list[Proxy]:
    """A proxy for each length that was trained and is not the full one, ascending.

    Only what looked good was trained in full, and among the good ranks differ by less: τ over all architectures is
    usually greater than over these.
    """
    from scipy.stats import kendalltau

    full = {record.architecture.key: record.accuracy for record in records if record.state == COMPLETE}
    found = []
    for length in sorted({record.length or 0 for record in records if record.state == SHORT}):
        short = {r.architecture.key: r.accuracy for r in records if r.state == SHORT and r.length == length}
        both = [key for key in short if key in full]
        tau = float(kendalltau([short[key] for key in both], [full[key] for key in both])[0]) if len(both) > 2 else None
        found.append(Proxy(length, len(short), len(both), None if tau is None or math.isnan(tau) else tau))
    return found
