"""What a search learns from an earlier study (`nas search --warm-start`)."""

from pathlib import Path

from nas.errors import InvalidValue
from nas.spaces.search_space import SearchSpace
from nas.strategy.strategy import seen_of
from nas.study.plan import PastTraining
from nas.study.study import Study

__all__ = ["learned_from"]


def learned_from(name: str, runs: str | Path, space: SearchSpace) -> list[PastTraining]:
    """Returns the trainings of an earlier study for a search of this space to learn from.

    Raises:
        InvalidValue: the study's networks are judged by another metric, or its space has no values of this one.
    """
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
    return seen_of(earlier)
