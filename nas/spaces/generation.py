"""Makes a search space for images of a shape and a budget, where a search is given none."""

import itertools
import math

import numpy as np

from nas.architectures.architecture import Input, StemConv
from nas.architectures.cost import cost, stem_cost
from nas.spaces.search_space import SearchSpace
from nas.spaces.stage_choices import StageChoices, StemChoices
from nas.training.recipe import Recipe

__all__ = ["generate_space", "usual_budget"]

STEM, NARROW_STEM = 1 / 3, 1 / 20
"""Largest shares of the budget that the widest and the narrowest stem may take."""
NARROWEST, FEWEST_STAGES = 4, 3
WIDTHS = (4, 8, 12, 16, 24, 32, 48, 64, 96, 128)
FIRST_STAGE = (8, *(width * 2**octave for octave in range(6) for width in (16, 24)))
"""Widths that the first stage may have at most."""
GROUPS = (1, 2, 4, 8, 16, 32)
SAMPLED = 400
WITHIN = 0.75
"""Share of the architectures that keep to the budget; the rest is never proposed."""


def usual_budget(shape: Input) -> int:
    """Returns the budget in FLOPs where none is asked for: 10 M for images of 32×32 pixels, in proportion to pixels."""
    return 10_000 * shape.height * shape.width


def generate_space(
    shape: Input, classes: int, *, max_flops: int | None = None, max_params: int | None = None, name: str = "auto"
) -> SearchSpace:
    """Makes a space whose architectures spread over the FLOPs from a few per cent of the budget to all of it.

    Three or more stages halve the map down to about 4 pixels. The stem takes at most a third of the budget; its strides
    are the smallest with which the narrowest stem takes at most a twentieth. Widths double from stage to stage, and the
    first is the largest for which most of the architectures keep to the budget.

    Args:
        shape: the images.
        classes: number of classes.
        max_flops: budget in multiply–adds. None: `usual_budget`.
        max_params: budget in parameters.
        name: the space's name.

    Raises:
        InvalidValue: no architecture of these images is within the budget.
    """
    budget = max_flops if max_flops is not None else usual_budget(shape)
    stem = _stem(shape, budget)
    made: SearchSpace | None = None
    for width in FIRST_STAGE:
        space = SearchSpace(
            name=name,
            input=shape,
            stages=_stages(shape, stem, width),
            purpose=f"made for images of {shape} pixels and {budget:,} FLOPs",
            stem=stem,
            classes=classes,
            recipe=Recipe.from_dict({}),
        )
        if made is not None and _share_within(space, budget) < WITHIN:
            break
        made = space
    assert made is not None
    return made.with_changes(max_flops=budget, max_params=max_params)


def _stem(shape: Input, budget: int) -> tuple[StemChoices, ...]:
    """Returns two convolutions with the smallest strides and the widest choices that the budget allows."""
    usual = (1 if shape.size < 48 else 2, 1 if shape.size < 160 else 2)
    strides = [pair for pair in ((1, 1), (2, 1), (2, 2)) if pair >= usual and math.prod(pair) <= shape.size // 2]
    for first, second in strides or [(1, 1)]:
        if _stem_flops(shape, (NARROWEST, first), (NARROWEST, second)) <= NARROW_STEM * budget:
            break
    within = [
        pair
        for pair in itertools.combinations_with_replacement(WIDTHS, 2)
        if _stem_flops(shape, (pair[0], first), (pair[1], second)) <= STEM * budget
    ]
    widest = max((pair for pair in within if pair[1] <= 2 * pair[0]), default=(NARROWEST, NARROWEST), key=math.prod)
    return tuple(StemChoices(_three(width), stride) for width, stride in zip(widest, (first, second), strict=True))


def _stem_flops(shape: Input, *convs: tuple[int, int]) -> int:
    return stem_cost([StemConv(width, stride) for width, stride in convs], shape).flops


def _three(widest: int) -> tuple[int, ...]:
    """Returns up to three widths: the narrowest, the widest, and their geometric mean on the ladder."""
    ladder = [width for width in WIDTHS if width <= widest]
    middle = min(ladder, key=lambda width: abs(math.log(width**2 / (ladder[0] * widest))))
    return tuple(sorted({ladder[0], middle, widest}))


def _stages(shape: Input, stem: tuple[StemChoices, ...], width: int) -> tuple[StageChoices, ...]:
    """Returns at least three stages, which halve the map to about 4 pixels; the first keeps a small map as it is."""
    size = shape.size
    for conv in stem:
        size = -(-size // conv.stride)
    strides = [1 if size <= 16 else 2]
    size = -(-size // strides[0])
    while size >= 6 or len(strides) < FEWEST_STAGES:
        strides.append(2 if size >= 4 else 1)
        size = -(-size // strides[-1])
    stages = []
    for number, stride in enumerate(strides):
        out = width * 2**number
        outs = sorted({max(NARROWEST, out // part) for part in (4, 2, 1)})
        mids = sorted({max(NARROWEST, out // part) for part in (8, 4, 2, 1)})
        groups = tuple(count for count in GROUPS if any(mid % count == 0 for mid in mids))
        depth = (1, 2, 3) if number < 2 else (1, 2)
        stages.append(StageChoices(depth, tuple(mids), groups, tuple(outs), stride))
    return tuple(stages)


def _share_within(space: SearchSpace, budget: int) -> float:
    rng = np.random.default_rng(0)
    return float(np.mean([cost(space.architecture(space.sample(rng))).flops <= budget for _ in range(SAMPLED)]))
