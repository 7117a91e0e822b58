"""SearchSpace: a YAML file → choices; which architectures are valid and within budget; sample, enumerate, repair.

A point of a space is a plain dict of parameters, `{"stage1.groups": 8, ...}`, with the names that a study records.
A field with one choice only is no parameter.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from nas.architectures.architecture import DEFAULT_STEM, Architecture, Input, Stage, StemConv, input_from, stem_from
from nas.architectures.cost import cost, stage_cost
from nas.errors import InvalidValue
from nas.spaces.stage_choices import FIELDS, StageChoices
from nas.system.resources import ready_spaces
from nas.training.recipe import Recipe
from nas.units import parse_count
from nas.validation import integer, mapping, nearest_name, read_yaml, sequence, shown, text

__all__ = ["Params", "SearchSpace", "load_space"]

Params = dict[str, int]

MOST_FORMS = 1_000_000
"""So many stages fit into memory."""
MOST_WIDTHS = 250_000
"""So many combinations of the widths of stages can be compared in a second or two."""


@dataclass(frozen=True)
class SearchSpace:
    """The architectures that a search may propose, with the budgets they must keep and the recipe that trains them.

    `classes` is what the pre-flight assumes; a search puts the data's number there. Budgets are inclusive.

    Raises:
        InvalidValue: on construction, naming stage, field and what is allowed.
    """

    name: str
    input: Input
    stages: tuple[StageChoices, ...]
    purpose: str = ""
    stem: tuple[StemConv, ...] = DEFAULT_STEM
    classes: int = 10
    max_flops: int | None = None
    max_params: int | None = None
    recipe: Recipe = field(default_factory=Recipe)

    def __post_init__(self) -> None:
        _ = self._first  # checks the numbers and strides
        self._refuse_too_many()
        if self.recipe.crop_padding >= self.input.size:
            raise InvalidValue(
                f"recipe.crop_padding={self.recipe.crop_padding}: must be below input.size={self.input.size}; "
                f"nearest valid: {self.input.size - 1}"
            )
        for key, least in zip(("max_flops", "max_params"), self.least_cost, strict=True):
            budget = getattr(self, key)
            if budget is not None:
                integer(budget, key, maximum=10**18)
                if budget < least:
                    raise InvalidValue(f"{key}={budget}: no architecture is that small; nearest valid: {least}")

    @classmethod
    def from_dict(cls, data: object) -> "SearchSpace":
        """Reads the content of a space's YAML file; unknown keys and wrong types are errors that name the key."""
        top = mapping(
            data,
            "space",
            required=("name", "input", "stages"),
            optional=("purpose", "stem", "classes", "max_flops", "max_params", "recipe"),
        )
        for key in ("name", "purpose"):
            text(top.get(key, ""), key)
        stages = [
            StageChoices.from_dict(stage, f"stage{number}")
            for number, stage in enumerate(sequence(top["stages"], "stages"), start=1)
        ]
        budgets = {key: parse_count(top[key], key) for key in ("max_flops", "max_params") if top.get(key) is not None}
        return cls(
            name=top["name"],
            purpose=top.get("purpose", "").strip(),
            input=input_from(top["input"]),
            stem=stem_from(top.get("stem")),
            stages=tuple(stages),
            classes=integer(top.get("classes", 10), "classes", minimum=2),
            recipe=Recipe.from_dict(top.get("recipe", {})),
            **budgets,
        )

    def to_dict(self) -> dict[str, Any]:
        """The form that `from_dict` takes, with every list written out and every default filled in."""
        return {
            "name": self.name,
            "purpose": self.purpose,
            "input": dict(vars(self.input)),
            "classes": self.classes,
            "stem": [dict(vars(conv)) for conv in self.stem],
            "stages": [stage.to_dict() for stage in self.stages],
            "max_flops": self.max_flops,
            "max_params": self.max_params,
            "recipe": self.recipe.to_dict(),
        }

    @cached_property
    def parameters(self) -> Mapping[str, tuple[int, ...]]:
        """The fields that a search chooses, `stage1.depth` and so on, with their values ascending."""
        named = {
            f"stage{number}.{name}": getattr(stage, name)
            for number, stage in enumerate(self.stages, start=1)
            for name in FIELDS
        }
        return {name: values for name, values in named.items() if values is not None and len(values) > 1}

    @property
    def combinations(self) -> int:
        """How many combinations of values there are, valid or not."""
        return math.prod(len(values) for values in self.parameters.values())

    @cached_property
    def valid(self) -> int:
        """How many of them are valid architectures, whatever the budgets."""
        return math.prod(stage.count for stage in self.stages)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """The side of the map that enters each stage, in pixels."""
        strides = [conv.stride for conv in self.stem] + [stage.stride for stage in self.stages]
        sides = list(itertools.accumulate(strides, lambda side, stride: -(-side // stride), initial=self.input.size))
        return tuple(sides[len(self.stem) : -1])

    def architecture(self, params: Mapping[str, int]) -> Architecture:
        """The architecture of a point.

        Raises:
            InvalidValue: groups does not divide mid somewhere, or a value is none of its field's choices.
        """
        for name, values in self.parameters.items():
            if name in params and params[name] not in values:
                raise InvalidValue(f"{name}={shown(params[name])}: must be one of {shown(values)}")
        stages = []
        for number, choices in enumerate(self.stages, start=1):
            depth, mid, groups = (
                params.get(f"stage{number}.{name}", getattr(choices, name)[0]) for name in ("depth", "mid", "groups")
            )
            out = mid if choices.out is None else params.get(f"stage{number}.out", choices.out[0])
            stages.append(Stage(depth, mid, groups, out, choices.stride))
        return self._architecture(stages)

    def fits(self, architecture: Architecture) -> bool:
        """Whether it keeps both budgets."""
        amounts = cost(architecture)
        return (self.max_flops is None or amounts.flops <= self.max_flops) and (
            self.max_params is None or amounts.params <= self.max_params
        )

    def repair(self, params: Mapping[str, int]) -> Params:
        """The valid point that `StageChoices.repair` makes of a proposal; valid points stay as they are."""
        repaired = dict(params)
        for number, choices in enumerate(self.stages, start=1):
            names = (f"stage{number}.mid", f"stage{number}.groups")
            pair = choices.repair(params.get(names[0], choices.mid[0]), params.get(names[1], choices.groups[0]))
            repaired.update({name: value for name, value in zip(names, pair, strict=True) if name in params})
        return repaired

    def points(self) -> Iterator[Params]:
        """All valid points, whatever the budgets, in a fixed order."""
        return (
            self._point(stages) for stages in itertools.product(*(list(choices.stages()) for choices in self.stages))
        )

    def point(self, architecture: Architecture) -> Params:
        """The parameters of an architecture of this space: the inverse of `architecture`."""
        return self._point(architecture.stages)

    def sample(self, rng: np.random.Generator) -> Params:
        """A valid point, each with the same probability, whatever the budgets."""
        stages = []
        for choices in self.stages:
            mid, groups = choices.pairs[rng.integers(len(choices.pairs))]
            depth = choices.depth[rng.integers(len(choices.depth))]
            out = mid if choices.out is None else choices.out[rng.integers(len(choices.out))]
            stages.append(Stage(depth, mid, groups, out, choices.stride))
        return self._point(stages)

    @cached_property
    def least_cost(self) -> tuple[int, int]:
        """The fewest FLOPs and the fewest parameters of a valid architecture; they may be of two different ones."""
        flops, params = self._least[0][self.stem[-1].width]
        return self.stem_cost[0] + flops, self.stem_cost[1] + params

    @cached_property
    def most_flops(self) -> int:
        """The most FLOPs that an architecture may have: those of the space's largest one, or the budget."""
        rest = {out: out * self.classes for out in self.stages[-1].widths}
        for choices, size, inputs in reversed(list(zip(self.stages, self.sizes, self._inputs, strict=True))):
            rest = {
                cin: max(stage_cost(stage, cin, size).flops + rest[stage.out] for stage in choices.richest())
                for cin in inputs
            }
        most = self.stem_cost[0] + rest[self.stem[-1].width]
        return min(most, self.max_flops or most)

    def affordable(self, near: Mapping[str, int] | None = None) -> Iterator[Params]:
        """All valid points within the budgets: the last stages vary first, each from its values nearest to `near`.

        Whatever cannot be completed within the budgets is left early, so that a few points are found quickly in any
        space and under any budget.
        """
        start = (self.architecture(near) if near else self._first).stages
        options = [choices.nearest_first(stage) for choices, stage in zip(self.stages, start, strict=True)]
        budgets = (self.max_flops or math.inf, self.max_params or math.inf)

        def longer(stages: tuple[Stage, ...], cin: int, spent: tuple[int, int]) -> Iterator[Params]:
            number = len(stages)
            if number == len(options):
                yield self._point(stages)
                return
            for stage in options[number]:
                amounts, rest = stage_cost(stage, cin, self.sizes[number]), self._least[number + 1][stage.out]
                flops, params = spent[0] + amounts.flops, spent[1] + amounts.params
                if flops + rest[0] <= budgets[0] and params + rest[1] <= budgets[1]:
                    yield from longer((*stages, stage), stage.out, (flops, params))

        return longer((), self.stem[-1].width, self.stem_cost)

    @cached_property
    def stem_cost(self) -> tuple[int, int]:
        """FLOPs and parameters of the stem, which all architectures share."""
        whole, cin = cost(self._first), self.stem[-1].width
        flops, params = whole.flops, whole.params
        for stage, size in zip(self._first.stages, self.sizes, strict=True):
            amounts = stage_cost(stage, cin, size)
            flops, params, cin = flops - amounts.flops, params - amounts.params, stage.out
        return flops - cin * self.classes, params - (cin + 1) * self.classes

    @cached_property
    def _first(self) -> Architecture:
        """One with the first value of each field."""
        return self._architecture([next(choices.stages()) for choices in self.stages])

    def _refuse_too_many(self) -> None:
        """What could not be gone through: a few lines of YAML may ask for more than fits into any memory."""
        forms = sum(choices.count for choices in self.stages)
        if forms > MOST_FORMS:
            raise InvalidValue(
                f"stages: have {forms} valid forms in all; at most {MOST_FORMS} are allowed (fewer values?)"
            )
        widths = 0
        for number, (choices, inputs) in enumerate(zip(self.stages, self._inputs, strict=True), start=1):
            widths += len(inputs) * max(sum(1 for _ in choices.leanest()), sum(1 for _ in choices.richest()))
            if widths > MOST_WIDTHS:
                raise InvalidValue(
                    f"stage{number}: with those before it has {widths} combinations of the widths of input, mid and "
                    f"out; at most {MOST_WIDTHS} are allowed (a larger step?)"
                )

    @property
    def _inputs(self) -> list[tuple[int, ...]]:
        """The widths that may enter each stage."""
        return [(self.stem[-1].width,), *(choices.widths for choices in self.stages[:-1])]

    @cached_property
    def _least(self) -> list[dict[int, tuple[int, int]]]:
        """For each stage and last the classifier: input width → the least FLOPs and the least parameters from there on.

        A stage's cost depends on those before it through its input's width alone, so the least is found from the end.
        """
        rest = {out: (out * self.classes, (out + 1) * self.classes) for out in self.stages[-1].widths}
        least = [rest]
        for choices, size, inputs in reversed(list(zip(self.stages, self.sizes, self._inputs, strict=True))):
            ways = {
                cin: [(stage_cost(stage, cin, size), rest[stage.out]) for stage in choices.leanest()] for cin in inputs
            }
            rest = {
                cin: (
                    min(amounts.flops + after[0] for amounts, after in found),
                    min(amounts.params + after[1] for amounts, after in found),
                )
                for cin, found in ways.items()
            }
            least.insert(0, rest)
        return least

    def with_changes(self, **changes: Any) -> "SearchSpace":
        """A copy with some fields replaced, checked anew; a change to None leaves the field as it is."""
        return replace(self, **{key: value for key, value in changes.items() if value is not None})

    def _architecture(self, stages: list[Stage]) -> Architecture:
        return Architecture(self.input, self.classes, self.stem, tuple(stages))

    def _point(self, stages: Sequence[Stage]) -> Params:
        named = {
            f"stage{number}.{name}": getattr(stage, name)
            for number, stage in enumerate(stages, start=1)
            for name in FIELDS
        }
        return {name: named[name] for name in self.parameters}


def load_space(source: str | Path) -> SearchSpace:
    """Reads a space from a YAML file, or a ready one by its name.

    Raises:
        InvalidValue: there is no such file or name, or its content is not a valid space; the line names the file.
    """
    ready = ready_spaces()
    path = ready.get(str(source), Path(str(source)))
    try:
        there = path.is_file()
    except OSError:  # no name that a file can have
        there = False
    if not there:
        raise InvalidValue(
            f"space {str(source)!r}: no such file, and no ready space of that name"
            f"{nearest_name(str(source), ready)}; ready: {', '.join(ready)}"
        )
    data = read_yaml(path)
    try:
        return SearchSpace.from_dict(data)
    except InvalidValue as error:
        raise InvalidValue(f"{path}: {error}") from None
