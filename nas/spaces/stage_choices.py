"""StageChoices and StemChoices: the values that the fields of a space may take, and which combinations are valid."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from nas.architectures.architecture import DEFAULT_STEM, Stage, StemConv, fit_groups
from nas.errors import InvalidValue
from nas.validation import integer, mapping, sequence, shown

__all__ = ["FIELDS", "StageChoices", "StemChoices", "stem_choices"]

FIELDS = ("depth", "mid", "groups", "out")
MOST_CHOICES = 1000


@dataclass(frozen=True)
class StemChoices:
    """The widths that one convolution of the stem may take, in ascending order."""

    width: tuple[int, ...]
    stride: int = 1

    @classmethod
    def from_dict(cls, data: object, name: str) -> "StemChoices":
        """Builds one convolution from a space's YAML; `name` ("stem1") prefixes the field in error messages."""
        conv = mapping(data, name, required=("width",), optional=("stride",))
        return cls(_choices(conv["width"], f"{name}.width"), integer(conv.get("stride", 1), f"{name}.stride"))

    def to_dict(self) -> dict[str, Any]:
        """Returns the form that `from_dict` takes; a single width is written as a number."""
        return {"width": list(self.width) if len(self.width) > 1 else self.width[0], "stride": self.stride}

    def convs(self) -> Iterator[StemConv]:
        """Yields the convolution with each width."""
        return (StemConv(width, self.stride) for width in self.width)


def stem_choices(data: object) -> tuple[StemChoices, ...]:
    """Builds a stem from a space's YAML, a list of `{width: [16, 32], stride: 1}`; None means `DEFAULT_STEM`."""
    if data is None:
        return tuple(StemChoices((conv.width,), conv.stride) for conv in DEFAULT_STEM)
    convs = enumerate(sequence(data, "stem"), start=1)
    return tuple(StemChoices.from_dict(conv, f"stem{number}") for number, conv in convs)


@dataclass(frozen=True)
class StageChoices:
    """The values that each field of a stage may take, in ascending order; `out` None: the same width as `mid`."""

    depth: tuple[int, ...]
    mid: tuple[int, ...]
    groups: tuple[int, ...]
    out: tuple[int, ...] | None
    stride: int = 2

    @classmethod
    def from_dict(cls, data: object, name: str) -> "StageChoices":
        """Builds one stage from a space's YAML; `name` ("stage1") prefixes the field in error messages."""
        stage = mapping(data, name, required=FIELDS, optional=("stride",))
        depth, mid, groups = (_choices(stage[key], f"{name}.{key}") for key in ("depth", "mid", "groups"))
        out = None if stage["out"] == "mid" else _choices(stage["out"], f"{name}.out")
        choices = cls(depth, mid, groups, out, integer(stage.get("stride", 2), f"{name}.stride"))
        if not choices.pairs:
            raise InvalidValue(
                f"{name}: none of groups={list(groups)} divides any of mid={list(mid)}; "
                f"nearest valid for mid={mid[0]}: groups={fit_groups(mid[0], groups[0])}"
            )
        return choices

    def to_dict(self) -> dict[str, Any]:
        """Returns the form that `from_dict` takes, with all lists written out."""
        out = "mid" if self.out is None else list(self.out)
        return {
            "depth": list(self.depth),
            "mid": list(self.mid),
            "groups": list(self.groups),
            "out": out,
            "stride": self.stride,
        }

    @cached_property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """All pairs (mid, groups) in which `groups` divides `mid`."""
        return tuple((mid, groups) for mid in self.mid for groups in self.groups if mid % groups == 0)

    @property
    def count(self) -> int:
        """Number of valid stages."""
        return len(self.depth) * len(self.pairs) * len(self.out or (0,))

    def stages(self) -> Iterator[Stage]:
        """Yields all valid stages."""
        for depth, (mid, groups), out in itertools.product(self.depth, self.pairs, self.out or (0,)):
            yield Stage(depth, mid, groups, out or mid, self.stride)

    @property
    def widths(self) -> tuple[int, ...]:
        """The possible output widths of the stage."""
        return self.out or tuple(dict(self.pairs))

    def leanest(self) -> Iterator[Stage]:
        """Yields candidates for the stage with the lowest FLOPs and parameter count, for any input width.

        Cost grows with depth and falls with groups, so only widths remain to be compared. Where `out` does not follow
        `mid`, a wider stage can be cheaper only through the weights of its grouped convolution.
        """
        most_groups = dict(self.pairs)  # pairs ascend, so the last one of each width wins
        fewest = math.inf
        for mid, groups in most_groups.items():
            if self.out is not None and mid * (mid // groups) >= fewest:
                continue
            fewest = mid * (mid // groups)
            for out in self.out or (mid,):
                yield Stage(self.depth[0], mid, groups, out, self.stride)

    def richest(self) -> Iterator[Stage]:
        """Yields candidates for the stage with the highest FLOPs, for any input width."""
        fewest_groups = dict(reversed(self.pairs))  # pairs ascend, so the first one of each width wins
        most = 0
        for mid, groups in fewest_groups.items():  # widest first
            if self.out is not None and mid * (mid // groups) <= most:
                continue
            most = mid * (mid // groups)
            for out in self.out or (mid,):
                yield Stage(self.depth[-1], mid, groups, out, self.stride)

    def nearest_first(self, to: Stage) -> list[Stage]:
        """Returns all valid stages, sorted by their distance to `to`: the sum of index steps over the value lists."""
        fields = [(name, values) for name in FIELDS if (values := getattr(self, name)) is not None]
        places = {name: {value: place for place, value in enumerate(values)} for name, values in fields}

        def steps(stage: Stage) -> int:
            return sum(abs(place[getattr(stage, name)] - place[getattr(to, name)]) for name, place in places.items())

        return sorted(self.stages(), key=steps)

    def repair(self, mid: int, groups: int) -> tuple[int, int]:
        """Returns the pair itself if valid; else `mid` with the next lower of its divisors among the groups.

        The divisor is found by `fit_groups`. If `mid` has no lower one, its lowest is taken; a `mid` without any valid
        divisor is first replaced by the nearest `mid` that has one.
        """
        mids = {pair[0] for pair in self.pairs}
        if mid not in mids:
            mid = min(mids, key=lambda other: (abs(other - mid), other))
        divisors = [pair[1] for pair in self.pairs if pair[0] == mid]
        candidate = fit_groups(mid, groups)
        while candidate not in divisors and candidate > 1:
            candidate = fit_groups(mid, candidate - 1)
        return mid, candidate if candidate in divisors else divisors[0]


def _choices(value: object, name: str) -> tuple[int, ...]:
    """Parses a number, a list of numbers, or a range `{low: 16, high: 64, step: 8}` into ascending numbers."""
    if isinstance(value, Mapping):
        bounds = mapping(value, name, required=("low", "high"), optional=("step",))
        low = integer(bounds["low"], f"{name}.low")
        high = integer(bounds["high"], f"{name}.high", minimum=low)
        step = integer(bounds.get("step", 1), f"{name}.step")
        choices: Sequence[int] = range(low, high + 1, step)
    elif isinstance(value, list):
        choices = sorted(integer(member, name) for member in sequence(value, name))
    elif isinstance(value, int):
        choices = [integer(value, name)]
    else:
        raise InvalidValue(f"{name}={shown(value)}: must be a whole number, a list of them, or low/high/step")
    if len(choices) > MOST_CHOICES:
        raise InvalidValue(f"{name}: has {len(choices)} choices; at most {MOST_CHOICES} are allowed (a larger step?)")
    repeated = next((a for a, b in itertools.pairwise(choices) if a == b), None)
    if repeated is not None:
        raise InvalidValue(f"{name}: {repeated} is repeated")
    return tuple(choices)
