"""Defines `Architecture`, a network as data: frozen, validated, hashable, convertible to and from dicts and YAML."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from nas.errors import InvalidValue
from nas.validation import integer, mapping, one_of, read_yaml, sequence, shown

__all__ = [
    "DEFAULT_STEM",
    "MEAN",
    "SHORTCUTS",
    "STRIDED",
    "Architecture",
    "Input",
    "Sides",
    "Stage",
    "StemConv",
    "fit_groups",
    "input_from",
    "sides_text",
    "stem_from",
    "strided",
]


def fit_groups(mid: int, groups: int) -> int:
    """Returns the largest divisor of `mid` that is at most `groups`, and at least 1.

    This is the only rule that reconciles a width and a number of groups.
    """
    integer(mid, "mid")
    if not isinstance(groups, int):
        raise InvalidValue(f"groups={shown(groups)}: must be a whole number")
    return next(divisor for divisor in range(min(mid, max(groups, 1)), 0, -1) if mid % divisor == 0)


Sides = tuple[int, int]
"""Height and width in pixels."""


@dataclass(frozen=True)
class Input:
    """The input of a network: images of `height` × `width` pixels with `channels` channels; square without a width."""

    channels: int
    height: int
    width: int = 0

    def __post_init__(self) -> None:
        if self.width == 0:
            object.__setattr__(self, "width", self.height)

    @property
    def sides(self) -> Sides:
        """Height and width."""
        return self.height, self.width

    @property
    def size(self) -> int:
        """The shorter side: that of a square."""
        return min(self.sides)

    @property
    def is_square(self) -> bool:
        """Whether height and width are equal."""
        return self.height == self.width

    def __str__(self) -> str:
        """Formats height and width, as `48×96`."""
        return sides_text(self.sides)

    def to_dict(self) -> dict[str, int]:
        """Returns `{channels: 3, size: 32}`, or with height and width where they differ: what `input_from` accepts."""
        sides = {"size": self.height} if self.is_square else {"height": self.height, "width": self.width}
        return {"channels": self.channels, **sides}


def sides_text(sides: Sides) -> str:
    """Formats height and width, as `48×96`."""
    return f"{sides[0]}×{sides[1]}"


def strided(sides: Sides, stride: int) -> Sides:
    """Returns height and width of the feature map after a padded convolution with this stride."""
    return -(-sides[0] // stride), -(-sides[1] // stride)


@dataclass(frozen=True)
class StemConv:
    """An ungrouped 3×3 convolution before the stages."""

    width: int
    stride: int = 1


DEFAULT_STEM = (StemConv(32), StemConv(32))
"""Two ungrouped convolutions, which mix the channels well before groups separate them."""


@dataclass(frozen=True)
class Stage:
    """A stage of `depth` bottleneck blocks; the first has stride `stride`, the others stride 1.

    `mid` is the width of the grouped 3×3 convolutions, `groups` their cardinality, and `out` the output width of the
    stage. The values are validated by `Architecture`.
    """

    depth: int
    mid: int
    groups: int
    out: int
    stride: int = 2


MEAN, STRIDED = "mean", "strided"
SHORTCUTS = (MEAN, STRIDED)
"""How the shortcut of a block with a stride shrinks the map: by the mean of stride × stride pixels, which costs no
multiply–add (He et al., arXiv:1812.01187, ResNet-D), or by a strided projection, as ResNeXt's, which sees one of them.
"""
_STAGE_KEYS = ("depth", "mid", "groups", "out")
MOST_PARTS = 64
"""Maximum number of stem convolutions, and of stages; the depth of a stage is limited separately."""


@dataclass(frozen=True)
class Architecture:
    """A grouped-convolution network: input, stem, stages, and a linear classifier over pooled features.

    `shortcuts` is one of `SHORTCUTS`.

    Raises:
        InvalidValue: a value is not allowed; the message names stage, field, value and the nearest valid value.
    """

    input: Input
    classes: int
    stem: tuple[StemConv, ...]
    stages: tuple[Stage, ...]
    shortcuts: str = MEAN

    def __post_init__(self) -> None:
        one_of(self.shortcuts, "shortcuts", SHORTCUTS)
        if not isinstance(self.input, Input):
            raise InvalidValue(f"input={shown(self.input)}: must be an Input")
        for name, kind in (("stem", StemConv), ("stages", Stage)):
            members = tuple(sequence(getattr(self, name), name))
            if len(members) > MOST_PARTS:
                raise InvalidValue(f"{name}: has {len(members)} members; at most {MOST_PARTS} are allowed")
            if not all(isinstance(member, kind) for member in members):
                raise InvalidValue(f"{name}={shown(members)}: must be made of {kind.__name__}s")
            object.__setattr__(self, name, members)  # a list is accepted, but is not hashable
        integer(self.input.channels, "input.channels")
        integer(self.input.height, "input.size" if self.input.is_square else "input.height")
        integer(self.input.width, "input.width")
        integer(self.classes, "classes", minimum=2)
        size = self.input.size
        for number, conv in enumerate(self.stem, start=1):
            integer(conv.width, f"stem{number}.width")
            size = _strided(size, conv.stride, f"stem{number}")
        for number, stage in enumerate(self.stages, start=1):
            for field in _STAGE_KEYS:
                integer(getattr(stage, field), f"stage{number}.{field}")
            if stage.mid % stage.groups:
                raise InvalidValue(
                    f"stage{number}.groups={stage.groups}: must divide stage{number}.mid={stage.mid}; "
                    f"nearest valid: {_nearest_divisor(stage.mid, stage.groups)}"
                )
            size = _strided(size, stage.stride, f"stage{number}")

    @classmethod
    def from_dict(cls, data: object) -> "Architecture":
        """Builds an architecture from a nested dict as returned by `to_dict`; `stem` and `stride` are optional.

        The default `stem` is two convolutions of width 32, the default `stride` of a stage 2; `shortcuts` are by the
        mean where they are not given.

        Raises:
            InvalidValue: a key is unknown or missing, or a value is not allowed.
        """
        top = mapping(data, "architecture", required=("input", "classes", "stages"), optional=("stem", "shortcuts"))
        stages = [
            Stage(**mapping(stage, f"stage{number}", required=_STAGE_KEYS, optional=("stride",)))
            for number, stage in enumerate(sequence(top["stages"], "stages"), start=1)
        ]
        shortcuts = top.get("shortcuts", MEAN)
        return cls(input_from(top["input"]), top["classes"], stem_from(top.get("stem")), tuple(stages), shortcuts)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain dicts, lists and integers, in the form that `from_dict` accepts."""
        data: Mapping[str, Any] = asdict(self)
        return {**data, "input": self.input.to_dict(), "stem": list(data["stem"]), "stages": list(data["stages"])}

    @classmethod
    def from_yaml(cls, path: str | Path) -> "Architecture":
        """Reads an architecture from a YAML file in the form of `to_yaml`; errors name the file."""
        data = read_yaml(Path(path))
        try:
            return cls.from_dict(data)
        except InvalidValue as error:
            raise InvalidValue(f"{path}: {error}") from None

    def to_yaml(self) -> str:
        """Returns the architecture as YAML, preceded by its name as a comment."""
        return f"# {self.name}\n" + yaml.safe_dump(self.to_dict(), sort_keys=False)

    def alike(self, other: "Architecture") -> bool:
        """Returns whether the two are equal apart from the number of classes, which depends on the data."""
        return replace(self, classes=other.classes) == other

    @cached_property
    def key(self) -> str:
        """Sixteen hexadecimal digits, the same for equal architectures in every process and version."""
        named = self.to_dict()
        if self.shortcuts == STRIDED:  # as all were before there was a choice
            del named["shortcuts"]
        text = json.dumps(named, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @cached_property
    def name(self) -> str:
        """Widths of the stem, then by stage depths, groups × width per group, and outputs.

        ResNeXt-29 32×4d is `64 3-3-3 32×4-32×8-32×16 256-512-1024`. Architectures of one space have different names;
        others with the same name differ in strides, shortcuts, input or classes, and in their key.
        """
        parts = (
            [conv.width for conv in self.stem],
            [stage.depth for stage in self.stages],
            [f"{stage.groups}×{stage.mid // stage.groups}" for stage in self.stages],
            [stage.out for stage in self.stages],
        )
        return " ".join("-".join(map(str, part)) for part in parts)


def input_from(data: object) -> Input:
    """Builds an `Input` from `{channels: 3, size: 32}`, or with `height` and `width` in place of `size`.

    `Architecture` validates the values.
    """
    rectangle = isinstance(data, Mapping) and not data.keys().isdisjoint(("height", "width"))
    given = mapping(data, "input", required=("channels", "height", "width") if rectangle else ("channels", "size"))
    if not rectangle:
        return Input(given["channels"], given["size"])
    return Input(given["channels"], *(integer(given[name], f"input.{name}") for name in ("height", "width")))


def stem_from(data: object) -> tuple[StemConv, ...]:
    """Builds a stem from a list of `{width: 32, stride: 1}`; `stride` defaults to 1, and None means `DEFAULT_STEM`."""
    if data is None:
        return DEFAULT_STEM
    return tuple(
        StemConv(**mapping(conv, f"stem{number}", required=("width",), optional=("stride",)))
        for number, conv in enumerate(sequence(data, "stem"), start=1)
    )


def _strided(size: int, stride: object, field: str) -> int:
    """Returns the shorter side of the feature map after a padded convolution with this stride."""
    step = integer(stride, f"{field}.stride")
    if step > size:
        raise InvalidValue(
            f"{field}.stride={step}: its input is only {size} pixel{'s' * (size > 1)} wide "
            f"(the strides before it use up the input); nearest valid: {size}"
        )
    return -(-size // step)


def _nearest_divisor(mid: int, groups: int) -> int:
    """Returns the divisor of `mid` nearest to `groups`; the smaller one of a tie."""
    below = fit_groups(mid, groups)
    above = next(divisor for divisor in range(min(groups, mid), mid + 1) if mid % divisor == 0)
    return below if groups - below <= above - groups else above
