"""Samplers by name, and a wrapper that keeps the proposals of any sampler valid, within budget and new."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from nas.architectures.architecture import Architecture
from nas.architectures.cost import cost
from nas.errors import NasError
from nas.spaces.search_space import Params, SearchSpace
from nas.strategy.front_sampler import FrontSampler
from nas.study.plan import PastTraining
from nas.study.storage.backend import LENGTH
from nas.study.storage.optuna_private import FullTrainings, enqueued_params
from nas.study.storage.trials import distributions
from nas.surrogate.trend import trend
from nas.system.logs import logger

__all__ = ["Queued", "SpaceExhausted", "ValidSampler", "front_sampler"]

_OPTUNAS: Mapping[str, Callable[[int], BaseSampler]] = {
    "tpe": lambda seed: TPESampler(seed=seed),
    "tpe-multivariate": lambda seed: TPESampler(seed=seed, multivariate=True),
    "nsga2": lambda seed: NSGAIISampler(seed=seed),
    "random": lambda seed: RandomSampler(seed=seed),
    "gp": lambda seed: GPSampler(seed=seed),
}

ATTEMPTS = 8


class SpaceExhausted(NasError):
    """Raised when every architecture of the space within its budgets has been trained."""


def front_sampler(
    space: SearchSpace,
    *,
    seed: int,
    lengths: Sequence[int],
    prior: Sequence[PastTraining] = (),
    objective_cost: Callable[[Architecture], float] = lambda architecture: cost(architecture).flops,
) -> FrontSampler:
    """Returns a `FrontSampler` over the architectures of a space within its budgets.

    Args:
        space: Search space.
        seed: Seed of the sampler.
        lengths: Schedule lengths in epochs, ascending.
        prior: Trainings of an earlier study to learn from.
        objective_cost: Cost that accuracy is traded off against: FLOPs, or the prediction of a `LatencyModel`.
    """

    def affordable(rng: np.random.Generator) -> Params | None:
        """Returns a random architecture within the budgets; the nearest one where these are rare; None if none is."""
        for _ in range(ATTEMPTS):
            point = space.sample(rng)
            if space.fits(space.architecture(point)):
                return point
        return next(space.affordable(near=point), None)

    return FrontSampler(
        distributions(space, lengths=len(lengths) > 1),
        lambda params: objective_cost(space.architecture(params)),
        seed=seed,
        is_valid=lambda params: space.repair(params) == params and space.fits(space.architecture(params)),
        fidelity=LENGTH if len(lengths) > 1 else None,
        lengths=lengths,
        prior=prior,
        reference=space.recipe.chance(space.classes),
        draw=affordable,
        cheapest=space.cheapest,
        trend=lambda params: trend(space.architecture(params)),
    )


class Queued(RandomSampler):
    """Proposes nothing: only trials queued in the study beforehand are trained.

    Raises:
        SpaceExhausted: From `sample_relative`, if the queue is empty.
    """

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Returns nothing for a queued trial, whose parameters are fixed."""
        if enqueued_params(trial) is None:
            raise SpaceExhausted("all that waited has been trained")
        return {}


class ValidSampler(BaseSampler):
    """Wraps any sampler so that every proposal recorded by Optuna is a new, valid architecture within the budgets.

    The inner sampler's joint proposal is completed, repaired (`SearchSpace.repair`) and checked. If it is rejected, the
    inner sampler is asked again; after `ATTEMPTS` rejections the nearest free point is taken, so that a sampler that
    keeps proposing known points does not stall the search. `avoided` counts by reason the rejected proposals, and those
    that `FrontSampler` drew at random because its model could not be fitted.

    Args:
        inner: The sampler, or the name of one of Optuna's and its seed.
        space: Search space.
        begun: Longest length in epochs for which each architecture, by its key, was trained or tried.
        lengths: Schedule lengths, ascending; the first one is used if the inner sampler chooses none. Empty: only the
            recipe's length.
        due: Point to train now, and its length, whatever the inner sampler would propose.

    Raises:
        SpaceExhausted: From `sample_relative`, if there is no free point.
    """

    def __init__(
        self,
        inner: BaseSampler | tuple[str, int],
        space: SearchSpace,
        begun: Mapping[str, int],
        *,
        lengths: Sequence[int] = (),
        due: tuple[Params, int] | None = None,
    ) -> None:
        self._inner = _OPTUNAS[inner[0]](inner[1]) if isinstance(inner, tuple) else inner
        self._space, self._begun, self._due = space, begun, due
        self._lengths = tuple(lengths) or (space.recipe.epochs,)
        self._distributions = distributions(space, lengths=len(self._lengths) > 1)
        self.avoided: dict[str, int] = {}

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Returns all parameters, whichever of them the inner sampler models jointly."""
        return self._distributions

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Returns a free point; nothing for a requeued trial, whose parameters are already fixed."""
        if enqueued_params(trial) is not None:
            self._propose(study, trial)  # a sampler may store state with each trial, as NSGA-II does its generation
            return {}
        if self._due is not None:
            self._propose(study, trial)
            return self._lasting(*self._due)
        proposal: Params = {}
        for _ in range(ATTEMPTS):
            proposal, length = self._propose(study, trial)
            if self._is_free(proposal, length):
                return self._lasting(proposal, length)
        for point in self._space.affordable(near=proposal):
            if self._is_free(point, self._lengths[0]):
                return self._lasting(point, self._lengths[0])
        raise SpaceExhausted("every architecture of the space within its budgets has been trained")

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Delegates to the inner sampler."""
        return self._inner.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Delegates to the inner sampler."""
        self._inner.before_trial(study, trial)

    def after_trial(self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Any) -> None:
        """Delegates to the inner sampler."""
        self._inner.after_trial(study, trial, state, values)

    def _propose(self, study: optuna.Study, trial: FrozenTrial) -> tuple[Params, int]:
        """Returns the inner sampler's point, repaired, and its length, by default the first."""
        study = study if isinstance(self._inner, FrontSampler) else FullTrainings(study)
        joint = self._inner.infer_relative_search_space(study, trial)
        params = self._inner.sample_relative(study, trial, joint)
        length = self._lengths[0]
        if isinstance(self._inner, FrontSampler):
            length = params.pop(LENGTH, length)
            self._count("fallbacks", self._inner.fell_back)
            if self._inner.fell_back:
                logger.info("the surrogate could not be fitted: a random point was proposed")
        for name in self._space.parameters:
            if name not in params:
                params[name] = self._inner.sample_independent(study, trial, name, self._distributions[name])
        return self._space.repair({name: params[name] for name in self._space.parameters}), length

    def _lasting(self, point: Params, length: int) -> dict[str, Any]:
        return {**point, LENGTH: length} if len(self._lengths) > 1 else dict(point)

    def _is_free(self, params: Params, length: int) -> bool:
        architecture = self._space.architecture(params)
        over = not self._space.fits(architecture)
        if over or self._begun.get(architecture.key, 0) >= length:
            self._count("over_budget" if over else "duplicates")
            return False
        return True

    def _count(self, reason: str, times: int = 1) -> None:
        if times:
            self.avoided[reason] = self.avoided.get(reason, 0) + times
