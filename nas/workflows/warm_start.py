"""What a search learns from an earlier study (`nas search --warm-start`)."""

from collections.abc import Mapping
from pathlib import Path

from nas.errors import InvalidValue
from nas.spaces.search_space import SearchSpace
from nas.strategy.front_sampler import MOST_PRIOR
from nas.strategy.strategy import seen_of
from nas.study.plan import FRONT, PastTraining
from nas.study.study import Study

__all__ = ["learned_from"]


def learned_from(name: str, runs: str | Path, space: SearchSpace, *, sampler: str) -> list[PastTraining]:
    """Returns the trainings of an earlier study, the last ones, for a search of this space to learn from.

    Raises:
        InvalidValue: the sampler does not learn from earlier trainings, the study's networks are judged by another
            metric, or none of them is in this space and its budgets.
    """
    if sampler != FRONT:
        raise InvalidValue(f"warm_start={name!r}: the sampler {sampler} learns from no other study; {FRONT} does")
    earlier = Study.open(name, runs)
    if (theirs_by := earlier.config.space.recipe.metric) != (by := space.recipe.metric):
        raise InvalidValue(
            f"warm_start={name!r}: its networks are judged by {theirs_by}, and those of this search by {by}"
        )
    mine, theirs = space.parameters, earlier.config.space.parameters
    differing = [key for key in {**mine, **theirs} if not set(mine.get(key, ())) & set(theirs.get(key, ()))]
    if differing:
        key = differing[0]
        there, here = (
            f"{key}={list(values[key])}" if key in values else f"no choice of {key}" for values in (theirs, mine)
        )
        raise InvalidValue(
            f"warm_start={name!r}: its space has {there} and this one {here}: no value in common; a search "
            "of the same space can learn from it"
        )
    trainings = seen_of(earlier)
    usable = [training for training in trainings if _is_in(space, training.params)]
    if not usable:
        raise InvalidValue(
            f"warm_start={name!r}: none of its {len(trainings)} trained networks is in this space and its budgets"
        )
    return usable[-MOST_PRIOR:]


def _is_in(space: SearchSpace, params: Mapping[str, int]) -> bool:
    listed = all(params.get(name) in values for name, values in space.parameters.items())
    return listed and space.repair(params) == params and space.fits(space.architecture(params))
