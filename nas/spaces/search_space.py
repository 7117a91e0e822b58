"""SearchSpace: reads a space from YAML; validates, samples, enumerates and repairs its points; applies its budgets.

A point of a space is a plain dict of parameters, `{"stage1.groups": 8, ...}`, under the names that a study records.
A field with only one choice is not a parameter.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import yaml

from nas.architectures.architecture import MEAN, Architecture, Input, Sides, Stage, StemConv, input_from, strided
from nas.architectures.cost import cost, stage_cost, stem_cost
from nas.errors import InvalidValue
from nas.spaces.stage_choices import FIELDS, StageChoices, StemChoices, stem_choices
from nas.training.recipe import Recipe
from nas.units import parse_count
from nas.validation import integer, mapping, sequence, shown, text

__all__ = ["Params", "SearchSpace"]

Params = dict[str, int]

MOST_FORMS = 1_000_000
"""Maximum total number of valid stages, so that they fit into memory."""
MOST_WIDTHS = 250_000
"""Maximum number of stage width combinations; comparing this many takes a second or two."""


@dataclass(frozen=True)
class SearchSpace:
    """The architectures that a search may propose, with their budgets and the training recipe.

    `classes` is the number of classes that the pre-flight assumes; a search replaces it with that of its data. Budgets
    are inclusive. `shortcuts` are those of all its architectures.

    Raises:
        InvalidValue: on construction, naming the stage, the field and the allowed values.
    """

    name: str
    input: Input
    stages: tuple[StageChoices, ...]
    purpose: str = ""
    stem: tuple[StemChoices, ...] = field(default_factory=lambda: stem_choices(None))
    classes: int = 10
    max_flops: int | None = None
    max_params: int | None = None
    recipe: Recipe = field(default_factory=Recipe)
    shortcuts: str = MEAN

    def __post_init__(self) -> None:
        _ = self._first  # validates the numbers and strides
        self._refuse_too_many()
        if self.recipe.crop_padding >= self.input.size:
            raise InvalidValue(
                f"recipe.crop_padding={self.recipe.crop_padding}: must be below the images' shorter side, "
                f"{self.input.size}; nearest valid: {self.input.size - 1}"
            )
        for key, least in zip(("max_flops", "max_params"), self.least_cost, strict=True):
            budget = getattr(self, key)
            if budget is not None:
                integer(budget, key, maximum=10**18)
                if budget < least:
                    raise InvalidValue(
                        f"{key}={budget}: no architecture of space '{self.name}' is that small; nearest valid: {least} "
                        "(narrower stems and stages, or larger strides, make smaller ones)"
                    )

    @classmethod
    def from_dict(cls, data: object) -> "SearchSpace":
        """Builds a space from the parsed content of its YAML file.

        Raises:
            InvalidValue: an unknown key or a wrong type, naming the key.
        """
        top = mapping(
            data,
            "space",
            required=("name", "input", "stages"),
            optional=("purpose", "stem", "shortcuts", "classes", "max_flops", "max_params", "recipe"),
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
            stem=stem_choices(top.get("stem")),
            stages=tuple(stages),
            classes=integer(top.get("classes", 10), "classes", minimum=2),
            recipe=Recipe.from_dict(top.get("recipe", {})),
            shortcuts=top.get("shortcuts", MEAN),
            **budgets,
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns the form that `from_dict` takes, with all lists written out and all defaults filled in."""
        return {
            "name": self.name,
            "purpose": self.purpose,
            "input": self.input.to_dict(),
            "classes": self.classes,
            "stem": [conv.to_dict() for conv in self.stem],
            "stages": [stage.to_dict() for stage in self.stages],
            "shortcuts": self.shortcuts,
            "max_flops": self.max_flops,
            "max_params": self.max_params,
            "recipe": self.recipe.to_dict(),
        }

    def to_yaml(self) -> str:
        """Returns the space as a YAML file that `nas search` takes."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, default_flow_style=None, allow_unicode=True)

    @cached_property
    def parameters(self) -> Mapping[str, tuple[int, ...]]:
        """The fields with more than one choice, `stage1.depth` and so on, with their values in ascending order."""
        named = {f"stem{number}.width": conv.width for number, conv in enumerate(self.stem, start=1)} | {
            f"stage{number}.{name}": getattr(stage, name)
            for number, stage in enumerate(self.stages, start=1)
            for name in FIELDS
        }
        return {name: values for name, values in named.items() if values is not None and len(values) > 1}

    @property
    def combinations(self) -> int:
        """Number of combinations of values, valid or not."""
        return math.prod(len(values) for values in self.parameters.values())

    @cached_property
    def valid(self) -> int:
        """Number of valid architectures, regardless of the budgets."""
        return math.prod([*(len(conv.width) for conv in self.stem), *(stage.count for stage in self.stages)])

    @cached_property
    def sides(self) -> tuple[Sides, ...]:
        """Height and width of the input feature map of each stage, in pixels."""
        strides = [conv.stride for conv in self.stem] + [stage.stride for stage in self.stages]
        found = list(itertools.accumulate(strides, strided, initial=self.input.sides))
        return tuple(found[len(self.stem) : -1])

    def architecture(self, params: Mapping[str, int]) -> Architecture:
        """Returns the architecture of a point.

        Raises:
            InvalidValue: `groups` does not divide `mid` in some stage, or a value is not among its field's choices.
        """
        for name, values in self.parameters.items():
            if name in params and params[name] not in values:
                raise InvalidValue(f"{name}={shown(params[name])}: must be one of {shown(values)}")
        stem = [
            StemConv(params.get(f"stem{number}.width", conv.width[0]), conv.stride)
            for number, conv in enumerate(self.stem, start=1)
        ]
        stages = []
        for number, choices in enumerate(self.stages, start=1):
            depth, mid, groups = (
                params.get(f"stage{number}.{name}", getattr(choices, name)[0]) for name in ("depth", "mid", "groups")
            )
            out = mid if choices.out is None else params.get(f"stage{number}.out", choices.out[0])
            stages.append(Stage(depth, mid, groups, out, choices.stride))
        return self._architecture(stem, stages)

    def fits(self, architecture: Architecture) -> bool:
        """Returns whether an architecture is within both budgets."""
        amounts = cost(architecture)
        return (self.max_flops is None or amounts.flops <= self.max_flops) and (
            self.max_params is None or amounts.params <= self.max_params
        )

    def repair(self, params: Mapping[str, int]) -> Params:
        """Returns the valid point that `StageChoices.repair` derives from a proposal; valid points are unchanged."""
        repaired = dict(params)
        for number, choices in enumerate(self.stages, start=1):
            names = (f"stage{number}.mid", f"stage{number}.groups")
            pair = choices.repair(params.get(names[0], choices.mid[0]), params.get(names[1], choices.groups[0]))
            repaired.update({name: value for name, value in zip(names, pair, strict=True) if name in params})
        return repaired

    def points(self) -> Iterator[Params]:
        """Yields all valid points in a fixed order, regardless of the budgets."""
        return (
            self._point(stem, stages)
            for stem in self.stems()
            for stages in itertools.product(*(list(choices.stages()) for choices in self.stages))
        )

    def point(self, architecture: Architecture) -> Params:
        """Returns the parameters of an architecture of this space; the inverse of `architecture`."""
        return self._point(architecture.stem, architecture.stages)

    def sample(self, rng: np.random.Generator) -> Params:
        """Returns a valid point drawn uniformly at random, regardless of the budgets."""
        # A fixed width draws nothing, so that spaces with a fixed stem are sampled as ever.
        stem = [
            StemConv(conv.width[rng.integers(len(conv.width)) if len(conv.width) > 1 else 0], conv.stride)
            for conv in self.stem
        ]
        stages = []
        for choices in self.stages:
            mid, groups = choices.pairs[rng.integers(len(choices.pairs))]
            depth = choices.depth[rng.integers(len(choices.depth))]
            out = mid if choices.out is None else choices.out[rng.integers(len(choices.out))]
            stages.append(Stage(depth, mid, groups, out, choices.stride))
        return self._point(stem, stages)

    @cached_property
    def least_cost(self) -> tuple[int, int]:
        """Lowest FLOPs and lowest parameter count of any valid architecture, not necessarily the same one."""
        ways = [(stem_cost(stem, self.input), self._least[0][stem[-1].width]) for stem in self.stems()]
        return (
            min(amounts.flops + rest[0] for amounts, rest in ways),
            min(amounts.params + rest[1] for amounts, rest in ways),
        )

    @cached_property
    def cheapest(self) -> Params | None:
        """A point of least FLOPs; None if `max_params` excludes them all."""
        return next(self.with_changes(max_flops=self.least_cost[0]).affordable(), None)

    @cached_property
    def most_flops(self) -> int:
        """Upper bound on FLOPs: those of the largest architecture of the space, or the budget if lower."""
        rest = {out: out * self.classes for out in self.stages[-1].widths}
        for choices, sides, inputs in reversed(list(zip(self.stages, self.sides, self._inputs, strict=True))):
            rest = {
                cin: max(stage_cost(stage, cin, sides).flops + rest[stage.out] for stage in choices.richest())
                for cin in inputs
            }
        most = max(stem_cost(stem, self.input).flops + rest[stem[-1].width] for stem in self.stems())
        return min(most, self.max_flops or most)

    def affordable(self, near: Mapping[str, int] | None = None) -> Iterator[Params]:
        """Yields all valid points within the budgets; the last stages vary fastest, starting from the values of `near`.

        Partial architectures that cannot be completed within the budgets are pruned early, so the first points are
        found quickly in any space and under any budget.

        Args:
            near: the point to start from; None: the first valid value of each field.
        """
        start = self.architecture(near) if near else self._first
        options = [choices.nearest_first(stage) for choices, stage in zip(self.stages, start.stages, strict=True)]
        budgets = (self.max_flops or math.inf, self.max_params or math.inf)

        def fits(spent: tuple[int, int], rest: tuple[int, int]) -> bool:
            return spent[0] + rest[0] <= budgets[0] and spent[1] + rest[1] <= budgets[1]

        def longer(stem: tuple[StemConv, ...], stages: tuple[Stage, ...], spent: tuple[int, int]) -> Iterator[Params]:
            number, cin = len(stages), stages[-1].out if stages else stem[-1].width
            if number == len(options):
                yield self._point(stem, stages)
                return
            for stage in options[number]:
                amounts = stage_cost(stage, cin, self.sides[number])
                sums = spent[0] + amounts.flops, spent[1] + amounts.params
                if fits(sums, self._least[number + 1][stage.out]):
                    yield from longer(stem, (*stages, stage), sums)

        for stem in self.stems(start.stem):
            amounts = stem_cost(stem, self.input)
            spent = amounts.flops, amounts.params
            if fits(spent, self._least[0][stem[-1].width]):
                yield from longer(stem, (), spent)

    @cached_property
    def _first(self) -> Architecture:
        """The architecture with the first valid choices of each part."""
        return self._architecture(next(self.stems()), [next(choices.stages()) for choices in self.stages])

    def stems(self, near: Sequence[StemConv] | None = None) -> Iterator[tuple[StemConv, ...]]:
        """Yields all stems, those with widths closest to `near` first."""
        options = [list(conv.convs()) for conv in self.stem]
        if near is not None:
            options = [
                sorted(convs, key=lambda conv: abs(convs.index(conv) - convs.index(there)))
                for convs, there in zip(options, near, strict=True)
            ]
        return itertools.product(*options)

    def _refuse_too_many(self) -> None:
        """Rejects spaces too large to enumerate: a few lines of YAML can describe more than fits into any memory."""
        forms = math.prod(len(conv.width) for conv in self.stem) + sum(choices.count for choices in self.stages)
        if forms > MOST_FORMS:
            raise InvalidValue(
                f"stem and stages: have {forms} valid forms in all; at most {MOST_FORMS} are allowed (fewer values?)"
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
        """The possible input widths of each stage."""
        return [self.stem[-1].width, *(choices.widths for choices in self.stages[:-1])]

    @cached_property
    def _least(self) -> list[dict[int, tuple[int, int]]]:
        """For each stage and finally the classifier: input width → lowest FLOPs and parameter count from there on.

        A stage's cost depends on the stages before it only through its input width, so the minimum is computed
        backwards from the classifier.
        """
        rest = {out: (out * self.classes, (out + 1) * self.classes) for out in self.stages[-1].widths}
        least = [rest]
        for choices, sides, inputs in reversed(list(zip(self.stages, self.sides, self._inputs, strict=True))):
            ways = {
                cin: [(stage_cost(stage, cin, sides), rest[stage.out]) for stage in choices.leanest()] for cin in inputs
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
        """Returns a validated copy with some fields replaced; a value of None leaves the field unchanged."""
        return replace(self, **{key: value for key, value in changes.items() if value is not None})

    def _architecture(self, stem: Sequence[StemConv], stages: Sequence[Stage]) -> Architecture:
        return Architecture(self.input, self.classes, tuple(stem), tuple(stages), self.shortcuts)

    def _point(self, stem: Sequence[StemConv], stages: Sequence[Stage]) -> Params:
        named = {f"stem{number}.width": conv.width for number, conv in enumerate(stem, start=1)} | {
            f"stage{number}.{name}": getattr(stage, name)
            for number, stage in enumerate(stages, start=1)
            for name in FIELDS
        }
        return {name: named[name] for name in self.parameters}
