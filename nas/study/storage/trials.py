"""Converts between nas and Optuna: distributions from a space, records from stored trials."""

from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from nas.errors import InvalidValue
from nas.spaces.search_space import SearchSpace
from nas.study.config import StudyConfig
from nas.study.records import TrialRecord, TrialState
from nas.study.storage.backend import LARGEST_SEED, LENGTH, NOT_PROPOSED, SEED, STATES
from nas.study.storage.recovery import params_of
from nas.study.storage.schema import checked_trial

__all__ = ["distributions", "record_of"]


def distributions(space: SearchSpace, *, lengths: bool = False, seeds: bool = False) -> dict[str, BaseDistribution]:
    """Returns Optuna's distributions for a space: integers with a step for evenly spaced values, else categories.

    The length and the seed come first, so that a trial that has all parameters of the space has these too.

    Args:
        space: the search space.
        lengths: add the training length: a range, as the lengths in use may change when a search is resumed.
        seeds: add the seed of the training.
    """
    more: dict[str, BaseDistribution] = {LENGTH: IntDistribution(1, space.recipe.epochs)} if lengths else {}
    if seeds:
        more[SEED] = IntDistribution(0, LARGEST_SEED)
    return more | {name: _distribution(values) for name, values in space.parameters.items()}


def record_of(trial: FrozenTrial, config: StudyConfig, *, dropped: bool = False) -> TrialRecord | None:
    """Converts an Optuna trial to a `TrialRecord`; returns None while its parameters are incomplete.

    A trial that was dropped before it began has no record either, unless `dropped`.

    Raises:
        InvalidValue: the trial holds what nas does not write; the message names the trial.
    """
    space = config.space
    params = params_of(trial)
    if not space.parameters.keys() <= params.keys():
        return None
    if trial.user_attrs.get("reason") == NOT_PROPOSED and not dropped:
        return None
    accuracy = trial.values[0] if trial.state == OptunaState.COMPLETE else trial.user_attrs.get("accuracy")
    state = TrialState.SHORT if trial.state == OptunaState.PRUNED and accuracy is not None else STATES[trial.state]
    started, ended = (
        at.timestamp() if at is not None else None for at in (trial.datetime_start, trial.datetime_complete)
    )
    ours = {"started": started, "ended": ended, "accuracy": accuracy}
    ours |= {"length": params.get(LENGTH), "seed": params.get(SEED)}
    try:
        attrs: Mapping[str, Any] = {**checked_trial({**trial.user_attrs, **ours}), "objective": config.objective}
        return TrialRecord.from_attributes(
            trial.number, state, space.architecture(params), attrs.get("accuracy"), attrs
        )
    except InvalidValue as error:
        raise InvalidValue(f"trial {trial.number}: {error}") from None


def _distribution(values: tuple[int, ...]) -> BaseDistribution:
    step = values[1] - values[0]
    if values == tuple(range(values[0], values[-1] + 1, step)):
        return IntDistribution(values[0], values[-1], step=step)
    return CategoricalDistribution(values)
