"""The model behind a proposal: the surrogate and the front after some trainings, and what further ones are worth."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nas.strategy.acquisition import NODES, Staircase, gain_per_epoch
from nas.strategy.candidates import Batch, Candidates, Point
from nas.surrogate.gaussian_process import Observations, Surrogate
from nas.surrogate.scale import Scale

__all__ = ["FrontModel", "Training"]

MOST_SEEN = 500
"""Most trainings that the model is fitted to: full-length ones first, then the latest."""


class Training(NamedTuple):
    """A training that was started; `value` is None unless it ended with one."""

    point: Point
    length: float
    value: float | None
    running: bool = False


class FrontModel:
    """The surrogate and the front after given trainings: scores further ones.

    The front is that of the posterior means, not of the values, whose greatest are partly luck.
    """

    def __init__(
        self,
        trainings: Sequence[Training],
        candidates: Candidates,
        *,
        lengths: Sequence[int],
        prior: Sequence[Training],
        reference: float | None,
        rng: np.random.Generator,
    ) -> None:
        self._lengths = lengths
        full = self._lengths[-1]
        ended = [training for training in trainings if training.value is not None]
        kept = sorted(range(len(ended)), key=lambda place: ended[place].length == full)[-MOST_SEEN:]
        ended = [ended[place] for place in sorted(kept)]
        # One rung per length of the earlier study, then one per length of this study, the full length last.
        labelled = [(0, training) for training in prior] + [(1, training) for training in ended]
        kinds = {(study, training.length) for study, training in labelled} | {(1, length) for length in self._lengths}
        self._rungs = {kind: rung for rung, kind in enumerate(sorted(kinds))}
        values = [training.value for _, training in labelled if training.value is not None]
        self._scale = Scale.of(values)
        seen = Observations(
            candidates.batch(training.point for _, training in labelled).features,
            np.array([self._rungs[study, training.length] for study, training in labelled], dtype=int),
            self._scale.modelled(values),
        )
        self._surrogate = Surrogate.fit(seen, rungs=len(self._rungs), rng=rng, trend=candidates.has_trend)
        known = [t for t in trainings if (t.running or t.value is not None) and (1, t.length) in self._rungs]
        running = [training for training in known if training.running]
        if running:
            around, rungs = self._encoded(candidates, running)
            self._surrogate = self._surrogate.believing(around.features, rungs)
        longest = {training.point: training for training in sorted(known, key=lambda each: each.length)}
        reached, rungs = self._encoded(candidates, longest.values())
        levels = self._scale.values(self._surrogate.at_rungs(reached.features, rungs)[0])
        logs = reached.log_cost
        if reference is None:
            reference = float(levels.min()) if len(levels) else 0.0
        right = max([candidates.most_log_cost, *logs.tolist()])
        self._front = Staircase.of(logs, levels, reference=reference, right=right)

    def _encoded(self, candidates: Candidates, trainings: Collection[Training]) -> tuple[Batch, NDArray[np.intp]]:
        rungs = np.array([self._rungs[1, training.length] for training in trainings], dtype=int)
        return candidates.batch(training.point for training in trainings), rungs

    def worth(self, batch: Batch, open_rungs: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Returns the greatest expected gain per epoch of each candidate, and the rung that attains it.

        A short training gains by what it says about the full one.
        """
        full = len(self._lengths) - 1
        short = [self._rungs[1, length] for length in self._lengths[:-1]]
        known = self._surrogate.posterior(batch.features, informed_by=short)

        def gains(mean: NDArray[np.float64], variance: NDArray[np.float64]) -> NDArray[np.float64]:
            deviation = np.sqrt(np.maximum(variance, 1e-12))
            return self._front.expected_gain(batch.log_cost, mean, deviation, scale=self._scale)

        best = gains(known.mean, known.variance) / self._lengths[-1]
        rungs = np.full(len(best), full)
        for rung in range(full):
            moved = np.minimum(known.shifts[rung], np.sqrt(known.variance))
            outcomes = gains(known.mean + NODES[:, None] * moved, known.variance - moved**2)
            rate = gain_per_epoch(outcomes, short=self._lengths[rung], full=self._lengths[-1])
            better = (open_rungs <= rung) & (rate > best)
            best, rungs = np.where(better, rate, best), np.where(better, rung, rungs)
        return best, rungs
