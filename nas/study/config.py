"""StudyConfig: what makes the trials of a study comparable, and in what two of them differ."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from nas.errors import InvalidValue, visible
from nas.spaces.search_space import SearchSpace
from nas.validation import integer, mapping, one_of, sequence, shown, text

__all__ = ["BY_FLOPS", "BY_LATENCY", "StudyConfig"]

BY_FLOPS, BY_LATENCY = "flops", "latency"
"""What a study weighs accuracy against: its objective."""

COUNTS = ("train_images", "validation_images", "skipped_images", "max_images")
NOT_COMPARED = ("versions", "space.purpose", "space.name", "data.source", "data.skipped_images")


@dataclass(frozen=True)
class StudyConfig:
    """What makes the trials of a study comparable: space and recipe, the data, the seed, the objective."""

    space: SearchSpace
    data: Mapping[str, Any]
    seed: int
    objective: str = BY_FLOPS

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes; numbers where one's own training kept the data to itself."""
        return tuple(map(str, self.data.get("classes") or range(self.space.classes)))

    @property
    def validation_images(self) -> int | None:
        """How many images an accuracy is measured on; None where one's own training kept the data to itself."""
        return self.data.get("validation_images")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, with the versions of what trains and searches."""
        versions = {name: version(name) for name in ("nas", "torch", "lightning", "optuna")}
        ours = {"space": self.space.to_dict(), "data": dict(self.data), "seed": self.seed}
        return {**ours, "objective": self.objective, "versions": versions}

    @classmethod
    def from_dict(cls, data: object) -> "StudyConfig":
        """The inverse of `to_dict`; what was written before there was a choice of objectives is read as by FLOPs.

        Raises:
            InvalidValue: nothing that `to_dict` gives, naming the field.
        """
        top = mapping(data, "study", required=("space", "data", "seed"), optional=("objective", "versions"))
        return cls(
            SearchSpace.from_dict(top["space"]),
            _images(top["data"]),
            integer(top["seed"], "seed", minimum=0, maximum=2**32 - 1),
            one_of(top.get("objective", BY_FLOPS), "objective", (BY_FLOPS, BY_LATENCY)),
        )

    def differences(self, other: "StudyConfig") -> list[str]:
        """What keeps the trials of the other one from being compared with these, a line for each field."""
        mine, theirs = _flat(self.to_dict()), _flat(other.to_dict())
        return [
            f"{key} is {_brief(mine.get(key))} there and {_brief(theirs.get(key))} now"
            for key in {**mine, **theirs}
            if mine.get(key) != theirs.get(key) and not key.startswith(NOT_COMPARED)
        ]


def _images(data: object) -> dict[str, Any]:
    """What is known of the images, checked; the names of classes are such that can be shown."""
    known = dict(mapping(data, "data", required=("source",), optional=("classes", "fingerprint", *COUNTS)))
    source = known["source"]
    if not isinstance(source, str) or "\0" in source:
        raise InvalidValue(f"data.source={shown(source)}: must be a name or a path")
    if "fingerprint" in known:
        text(known["fingerprint"], "data.fingerprint")
    if "classes" in known:
        classes = sequence(known["classes"], "data.classes")
        if strange := [name for name in classes if not isinstance(name, str)]:
            raise InvalidValue(f"data.classes: {shown(strange[0])} must be a text")
        known["classes"] = [visible(name) for name in classes]
    for count in COUNTS:
        if known.get(count) is not None:
            integer(known[count], f"data.{count}", minimum=0, maximum=10**12)
    return known


def _flat(data: Any, prefix: str = "") -> dict[str, Any]:
    """Nested dicts, and lists of them, as one level: `space.recipe.epochs`, `space.stages.1.mid`."""
    if isinstance(data, list) and data and isinstance(data[0], Mapping):
        data = {str(number): part for number, part in enumerate(data, start=1)}
    if not isinstance(data, Mapping):
        return {prefix: data}
    return {
        key: value
        for name, part in data.items()
        for key, value in _flat(part, f"{prefix}.{name}" if prefix else str(name)).items()
    }


def _brief(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 80 else text[:77] + "..."
