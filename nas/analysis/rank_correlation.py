"""How well short trainings predict full ones: rank correlations from a study's own promotions."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from nas.study.records import TrialRecord, TrialState

__all__ = ["MISLEADING", "Proxy", "proxies"]

MISLEADING = 0.2
"""A rank correlation below which a short training says too little about the full result to be worth its epochs."""
LEAST_PAIRS = 8


class Proxy(NamedTuple):
    """How well trainings of one length predict full ones.

    `trainings` counts those of that length, `pairs` the architectures among them that were also trained in full. `tau`
    is Kendall's τ between both accuracies, None for fewer than three pairs: 1 is the same order, 0 none, −1 the
    reverse.
    """

    length: int
    trainings: int
    pairs: int
    tau: float | None

    @property
    def misleads(self) -> bool:
        """Whether there are enough pairs to conclude that this length predicts too little."""
        return self.tau is not None and self.pairs >= LEAST_PAIRS and self.tau < MISLEADING


def proxies(records: Sequence[TrialRecord]) -> list[Proxy]:
    """Returns a proxy for each length below the full one that was trained, ascending.

    Only promising architectures were trained in full, and among these ranks differ less: τ over all architectures is
    usually greater than over these.
    """
    from scipy.stats import kendalltau

    full = {record.architecture.key: record.accuracy for record in records if record.state == TrialState.COMPLETE}
    found = []
    for length in sorted({record.length or 0 for record in records if record.state == TrialState.SHORT}):
        short = {r.architecture.key: r.accuracy for r in records if r.state == TrialState.SHORT and r.length == length}
        both = [key for key in short if key in full]
        tau = float(kendalltau([short[key] for key in both], [full[key] for key in both])[0]) if len(both) > 2 else None
        found.append(Proxy(length, len(short), len(both), None if tau is None or math.isnan(tau) else tau))
    return found
