"""Stopping rules: when a training is stopped early, and when a search ends."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nas.analysis.convergence import has_converged
from nas.spaces.search_space import SearchSpace
from nas.strategy.multi_fidelity import strength
from nas.study.config import StudyConfig
from nas.study.plan import SearchPlan
from nas.study.precision import least_significant_difference
from nas.study.records import TrialRecord, TrialState, trainings_spent
from nas.study.search_state import SearchState, SearchStatus

__all__ = ["StopRule", "stop_reason"]


@dataclass(frozen=True)
class StopRule:
    """Stops hopeless trainings: those at chance when half their epochs are over, and those out of the front's reach.

    Out of reach: finished trainings of the same length show by how much −log(error) still grew after this epoch. If
    even the greatest of these growths, plus their standard deviation, would leave this training below the most accurate
    full training of at most its cost, by more than chance explains, it is stopped. Only full-length trainings are
    compared with the front, once `LEAST_CURVES` have finished. Trainings of fewer than `LEAST_EPOCHS` epochs are never
    stopped.
    """

    epochs: int
    chance: float
    images: int | None

    LEAST_CURVES: ClassVar[int] = 10
    LEAST_EPOCHS: ClassVar[int] = 9
    ABOVE_CHANCE: ClassVar[float] = 0.05

    @classmethod
    def of(cls, config: StudyConfig) -> "StopRule":
        """Returns the rule for the trials of a study."""
        recipe = config.space.recipe
        return cls(recipe.epochs, recipe.chance(config.space.classes), config.effective_images)

    def reason(self, record: TrialRecord, curve: Sequence[float], ended: Sequence[TrialRecord]) -> str | None:
        """Returns `at_chance` or `out_of_reach` if the training is to be stopped, else None.

        Args:
            record: The training's trial.
            curve: Its validation accuracy after each epoch so far.
            ended: Trials of the study that have ended.
        """
        length, epoch = record.length or self.epochs, len(curve)
        if length < self.LEAST_EPOCHS or epoch >= length:
            return None
        if 2 * epoch >= length and max(curve) <= self.chance + min(self.ABOVE_CHANCE, self._doubt(self.chance)):
            return "at_chance"
        whole = [other for other in ended if other.state == TrialState.COMPLETE]
        cheaper = [other.accuracy or 0.0 for other in whole if other.costs_at_most(record)]
        curves = [other.curve for other in whole if len(other.curve) == length]
        if length < self.epochs or not cheaper or len(curves) < self.LEAST_CURVES:
            return None
        growths = np.array([strength(c[-1]) - strength(c[epoch - 1]) for c in curves])
        reachable = strength(curve[-1]) + growths.max() + growths.std()
        level = max(cheaper)
        return "out_of_reach" if reachable < strength(max(level - self._doubt(level), 0.0)) else None

    def _doubt(self, accuracy: float) -> float:
        """Returns the difference from an accuracy near this one that chance may explain."""
        return least_significant_difference(accuracy, self.images) if self.images else self.ABOVE_CHANCE


def stop_reason(
    records: Sequence[TrialRecord],
    space: SearchSpace,
    *,
    plan: SearchPlan,
    deadline: float,
    search: SearchState | None = None,
    bounds: tuple[float, float] | None = None,
) -> SearchStatus | None:
    """Returns why to start no further training: stopped, complete, timeout or settled; None: the search goes on.

    Args:
        records: Trials of the study.
        space: Search space.
        plan: Plan of the search: its budget and patience.
        deadline: Time at which the search ends, in seconds since 1970.
        search: The search's current state: its budget and request count, as a person may change them while it runs.
        bounds: Lowest and highest cost for the hypervolume, as in `history`.
    """
    if search is not None and search.stopping:
        return SearchStatus.STOPPED
    if trainings_spent(records, space.recipe.epochs) >= (search.trials if search else plan.trials):
        return SearchStatus.COMPLETE
    if time.time() >= deadline:
        return SearchStatus.TIMEOUT
    if plan.patience is not None and has_converged(records, space, plan.patience, bounds=bounds):
        return SearchStatus.SETTLED
    return None
