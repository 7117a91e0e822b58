"""References: networks of a space that follow a published rule, as a person would draw them by hand.

    ResNet-like   no groups, equal depths, widths that double from stage to stage (arXiv:1512.03385)
    ResNeXt-like  the same with one number of groups throughout (arXiv:1611.05431)
    RegNet-like   one width of groups throughout; the linear rule makes widths and depths of the stages grow by one
                  factor (arXiv:2003.13678)

A search trains some of them to show what it gains over them.
"""

import itertools
import math
from collections.abc import Iterator

from nas.architectures.architecture import Architecture, Stage, StemConv
from nas.architectures.cost import cost
from nas.spaces.search_space import SearchSpace
from nas.spaces.stage_choices import StageChoices

__all__ = ["FAMILIES", "families", "references"]

FAMILIES = ("ResNeXt-like", "ResNet-like", "RegNet-like")
TARGETS = (1 / 2, 1 / 6, 5 / 6)
"""FLOPs of the references, as places between the space's lowest and highest on a log axis."""
GROWTHS = (1.5, 2.0, 2.5)
"""Factors by which the stages of RegNet-like networks grow; those of the others double."""
NEAR = 1.3
"""Most by which a width may differ from the rule's, as a factor, where a space lacks the rule's own."""
CLOSE = 1.5
"""Most by which the FLOPs of a reference may differ from their target, as a factor."""


def references(space: SearchSpace) -> list[tuple[str, Architecture]]:
    """Returns the references of a space within its budgets by family, those of medium FLOPs first.

    A family that has no member in the space near a target is left out there.
    """
    least, most = math.log(space.least_cost[0]), math.log(space.most_flops)
    members = {family: [each for each in _members(space, family) if space.fits(each)] for family in FAMILIES}
    found: dict[Architecture, str] = {}
    for target, family in itertools.product(TARGETS, FAMILIES):
        wanted = least + target * (most - least)
        distances = {each: abs(math.log(cost(each).flops) - wanted) for each in members[family]}
        nearest = min(distances, key=lambda each: distances[each], default=None)
        if nearest is not None and distances[nearest] <= math.log(CLOSE):
            found.setdefault(nearest, family)
    return [(family, architecture) for architecture, family in found.items()]


def families(space: SearchSpace) -> dict[str, str]:
    """Returns the families of a space's references, by the keys of the architectures."""
    return {architecture.key: family for family, architecture in references(space)}


def _members(space: SearchSpace, family: str) -> Iterator[Architecture]:
    """Yields the members of a family: one for each first width, first depth, and number or width of groups."""
    first = space.stages[0]
    growths = GROWTHS if family == "RegNet-like" else (2.0,)
    for growth, width, depth in itertools.product(growths, first.mid, first.depth):
        groupings = [groups for mid, groups in first.pairs if mid == width]
        for grouping in groupings:
            if (grouping == 1) != (family == "ResNet-like"):
                continue
            stages = [
                _stage(choices, family, growth**number, depth=depth, width=width, groups=grouping)
                for number, choices in enumerate(space.stages)
            ]
            if all(stages):
                stem = (StemConv(_nearest(conv.width, width), conv.stride) for conv in space.stem)
                yield Architecture(
                    space.input, space.classes, tuple(stem), tuple(filter(None, stages)), space.shortcuts
                )


def _stage(choices: StageChoices, family: str, growth: float, *, depth: int, width: int, groups: int) -> Stage | None:
    """Returns the stage of a space that comes nearest to a family's rule; None if none is near.

    Args:
        choices: Choices of the stage.
        family: One of `FAMILIES`.
        growth: Factor by which the rule makes this stage wider than the first one.
        depth: Depth of the first stage.
        width: Width of the first stage's grouped convolution.
        groups: Number of groups of the first stage.
    """
    wanted = width * growth
    if family == "RegNet-like":
        depth = _nearest(choices.depth, depth * growth)
        fitting = [pair for pair in choices.pairs if pair[0] * groups == pair[1] * width]
    else:
        depth = _nearest(choices.depth, depth)
        fitting = [pair for pair in choices.pairs if pair[1] == groups]
    mids = [mid for mid, _ in fitting if 1 / NEAR <= mid / wanted <= NEAR]
    if not mids:
        return None
    mid = _nearest(mids, wanted)
    # A block of RegNet keeps its width; the bottlenecks of ResNeXt end twice as wide as their grouped convolution.
    out = mid if choices.out is None else _nearest(choices.out, mid if family == "RegNet-like" else 2 * mid)
    return Stage(depth, mid, dict(fitting)[mid], out, choices.stride)


def _nearest(values: "tuple[int, ...] | list[int]", wanted: float) -> int:
    return min(values, key=lambda value: (abs(math.log(value / wanted)), value))
