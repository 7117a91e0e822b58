"""Architecture: a network as data. Frozen, validated, hashable; to and from a dict and YAML; a readable name."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from nas.errors import InvalidValue
from nas.validation import integer, mapping, read_yaml, sequence, shown

__all__ = ["DEFAULT_STEM", "Architecture", "Input", "Stage", "StemConv", "fit_groups", "input_from", "stem_from"]


def fit_groups(mid: int, groups: int) -> int:
    """The largest divisor of `mid` that is not above `groups`; at least 1.

    The one rule by which a width and a number of groups that do not fit are made to fit.
    """
    integer(mid, "mid")
    if not isinstance(groups, int):
        raise InvalidValue(f"groups={shown(groups)}: must be a whole number")
    return next(divisor for divisor in range(min(mid, max(groups, 1)), 0, -1) if mid % divisor == 0)


@dataclass(frozen=True)
class Input:
    """What the network sees: square images of `size` × `size` pixels with `channels` channels."""

    channels: int
    size: int


@dataclass(frozen=True)
class StemConv:
    """An ungrouped 3×3 convolution before the stages."""

    width: int
    stride: int = 1


DEFAULT_STEM = (StemConv(32), StemConv(32))
"""Two ungrouped convolutions, so that channels are mixed well before groups part them."""


@dataclass(frozen=True)
class Stage:
    """`depth` bottleneck blocks; the first one carries `stride`, the others have stride 1.

    `mid` is the width of the grouped 3×3 convolution, `groups` its cardinality, `out` the width that the
    stage hands on. An `Architecture` checks them.
    """

    depth: int
    mid: int
    groups: int
    out: int
    stride: int = 2


_STAGE_KEYS = ("depth", "mid", "groups", "out")
MOST_PARTS = 64
"""So many convolutions a stem may have, and so many stages a network; depth is the stages' own."""


@dataclass(frozen=True)
class Architecture:
    """A grouped-convolution network: input, stem, stages, and a linear classifier over pooled features.

    Raises:
        InvalidValue: on construction, naming stage, field, value and the nearest valid value.
    """

    input: Input
    classes: int
    stem: tuple[StemConv, ...]
    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.input, Input):
            raise InvalidValue(f"input={shown(self.input)}: must be an Input")
        for name, kind in (("stem", StemConv), ("stages", Stage)):
            members = tuple(sequence(getattr(self, name), name))
            if len(members) > MOST_PARTS:
                raise InvalidValue(f"{name}: has {len(members)} members; at most {MOST_PARTS} are allowed")
            if not all(isinstance(member, kind) for member in members):
                raise InvalidValue(f"{name}={shown(members)}: must be made of {kind.__name__}s")
            object.__setattr__(self, name, members)  # a list is as good, but has no hash
        integer(self.input.channels, "input.channels")
        integer(self.input.size, "input.size")
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
        """Builds it from the nested dict that `to_dict` gives; unknown and missing keys are errors.

        Left out, `stem` is two convolutions of 32 and a stage's `stride` is 2.
        """
        top = mapping(data, "architecture", required=("input", "classes", "stages"), optional=("stem",))
        stages = [
            Stage(**mapping(stage, f"stage{number}", required=_STAGE_KEYS, optional=("stride",)))
            for number, stage in enumerate(sequence(top["stages"], "stages"), start=1)
        ]
        return cls(input_from(top["input"]), top["classes"], stem_from(top.get("stem")), tuple(stages))

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists and integers, in the form `from_dict` takes."""
        data: Mapping[str, Any] = asdict(self)
        return {**data, "stem": list(data["stem"]), "stages": list(data["stages"])}

    @classmethod
    def from_yaml(cls, path: str | Path) -> "Architecture":
        """Reads the YAML file that `to_yaml` wrote; errors name the file."""
        data = read_yaml(Path(path))
        try:
            return cls.from_dict(data)
        except InvalidValue as error:
            raise InvalidValue(f"{path}: {error}") from None

    def to_yaml(self) -> str:
        """YAML text that begins with the name as a comment."""
        return f"# {self.name}\n" + yaml.safe_dump(self.to_dict(), sort_keys=False)

    def alike(self, other: "Architecture") -> bool:
        """Whether they differ in nothing but the number of classes, which is the images'."""
        return replace(self, classes=other.classes) == other

    @cached_property
    def key(self) -> str:
        """Sixteen hexadecimal digits that are the same for equal architectures, in every process and version."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @cached_property
    def name(self) -> str:
        """Depths, then groups×width-per-group of each stage: `3-3-3 32×4-32×8-32×16`.

        Short rather than unique: architectures that differ elsewhere (out, stem) share a name, never a key.
        """
        depths = "-".join(str(stage.depth) for stage in self.stages)
        groups = "-".join(f"{stage.groups}×{stage.mid // stage.groups}" for stage in self.stages)
        return f"{depths} {groups}"


def input_from(data: object) -> Input:
    """Reads `{channels: 3, size: 32}`; the values are checked by the `Architecture` that gets it."""
    return Input(**mapping(data, "input", required=("channels", "size")))


def stem_from(data: object) -> tuple[StemConv, ...]:
    """Reads a list of `{width: 32, stride: 1}`, stride 1 if left out; `DEFAULT_STEM` for None."""
    if data is None:
        return DEFAULT_STEM
    return tuple(
        StemConv(**mapping(conv, f"stem{number}", required=("width",), optional=("stride",)))
        for number, conv in enumerate(sequence(data, "stem"), start=1)
    )


def _strided(size: int, stride: object, field: str) -> int:
    """The side of the map behind a padded convolution with this stride."""
    step = integer(stride, f"{field}.stride")
    if step > size:
        raise InvalidValue(
            f"{field}.stride={step}: its input is only {size} pixel{'s' * (size > 1)} wide "
            f"(the strides before it use up input.size); nearest valid: {size}"
        )
    return -(-size // step)


def _nearest_divisor(mid: int, groups: int) -> int:
    """The divisor of `mid` nearest to `groups`; of two equally near ones the smaller."""
    below = fit_groups(mid, groups)
    above = next(divisor for divisor in range(min(groups, mid), mid + 1) if mid % divisor == 0)
    return below if groups - below <= above - groups else above
