"""Optuna's samplers by name, and the wrapper that keeps whatever they propose valid, within budget and new."""

from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from nas.architecture import Architecture
from nas.errors import NasError
from nas.space import Params, SearchSpace
from nas.storage import distributions

__all__ = ["SAMPLERS", "SpaceExhausted", "ValidSampler"]

SAMPLERS: Mapping[str, Callable[[int], BaseSampler]] = {
    "tpe": lambda seed: TPESampler(seed=seed),
    "nsga2": lambda seed: NSGAIISampler(seed=seed),
    "random": lambda seed: RandomSampler(seed=seed),
    "gp": lambda seed: GPSampler(seed=seed),
}
"""Seed → sampler, by the name that `nas search --sampler` takes."""

ATTEMPTS = 8


class SpaceExhausted(NasError):
    """Every architecture of the space that keeps its budgets has been trained."""


class ValidSampler(BaseSampler):
    """Wraps any sampler; what Optuna records is a valid architecture within the budgets that `is_taken` denies.

    The inner sampler's joint proposal is completed, repaired (`SearchSpace.repair`) and looked up. If it cannot be
    had, the inner sampler is asked again; after `ATTEMPTS` the nearest free point is taken, so that a sampler that
    insists on what is known does not hold up the search.

    Raises:
        SpaceExhausted: from `sample_relative`, when there is no free point.
    """

    def __init__(self, inner: BaseSampler, space: SearchSpace, is_taken: Callable[[Architecture], bool]) -> None:
        self._inner, self._space, self._is_taken = inner, space, is_taken
        self._distributions = distributions(space)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All parameters, whatever the inner sampler models jointly."""
        return self._distributions

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """A free point; nothing for a trial whose parameters are fixed already (one that was interrupted)."""
        if "fixed_params" in trial.system_attrs:
            self._propose(study, trial)  # a sampler may keep notes with every trial, as NSGA-II its generation
            return {}
        proposal: Params = {}
        for _ in range(ATTEMPTS):
            proposal = self._space.repair(self._propose(study, trial))
            if self._is_free(proposal):
                return dict(proposal)
        for point in self._space.affordable(near=proposal):
            if self._is_free(point):
                return point
        raise SpaceExhausted("every architecture of the space within its budgets has been trained")

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Left to the inner sampler."""
        return self._inner.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Left to the inner sampler."""
        self._inner.before_trial(study, trial)

    def after_trial(self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Any) -> None:
        """Left to the inner sampler."""
        self._inner.after_trial(study, trial, state, values)

    def _propose(self, study: optuna.Study, trial: FrozenTrial) -> Params:
        joint = self._inner.infer_relative_search_space(study, trial)
        params = self._inner.sample_relative(study, trial, joint)
        for name, distribution in self._distributions.items():
            if name not in params:
                params[name] = self._inner.sample_independent(study, trial, name, distribution)
        return params

    def _is_free(self, params: Params) -> bool:
        architecture = self._space.architecture(params)
        return self._space.fits(architecture) and not self._is_taken(architecture)
