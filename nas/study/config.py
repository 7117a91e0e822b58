"""StudyConfig: the settings that make the trials of a study comparable, and how two configurations differ."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

from nas.architectures.architecture import STRIDED
from nas.data.resizing import RESIZES
from nas.data.splitting import MOST_FOLDS
from nas.errors import InvalidValue, visible
from nas.spaces.search_space import SearchSpace
from nas.training.metrics import ACCURACY, MEANS_OVER_IMAGES, METRIC_NAMES, METRIC_NOTES, effective_images
from nas.validation import boolean, integer, mapping, one_of, real, sequence, shown, text

__all__ = ["BY_FLOPS", "BY_LATENCY", "FROM_PYTHON", "StudyConfig"]

BY_FLOPS, BY_LATENCY = "flops", "latency"
"""Objectives: the cost that a study weighs accuracy against."""

FROM_PYTHON = ("arrays", "evaluate")
"""Sources of images that only the program that began the search has."""
DESCRIBED = (
    *("classes", "fingerprint", "validation_share", "validation_counts", "all_images", "group_by", "resize"),
    *("multi_label", "folds", "teachers"),
)


def _integers(value: object, field: str, *, minimum: int) -> None:
    for number in sequence(value, field):
        integer(number, field, minimum=minimum, maximum=10**12)


CHECKS: dict[str, Callable[[object, str], object]] = {
    "fingerprint": text,
    "group_by": text,
    "all_images": boolean,
    "multi_label": boolean,
    "folds": partial(integer, minimum=2, maximum=MOST_FOLDS),
    "teachers": partial(_integers, minimum=0),
    "validation_counts": partial(_integers, minimum=1),
}
LATER_FIELDS = {"random_augment": 0.0, "metric": ACCURACY}
"""Fields of recipes that follow from the data and that older studies lack, as these were trained."""
COUNTS = ("train_images", "validation_images", "skipped_images", "max_images", "original_side")
NOT_COMPARED = (
    *("versions", "space.purpose", "space.name"),
    *(
        "data.source",
        "data.skipped_images",
        "data.original_side",
        "data.validation_share",
        "data.validation_counts",
    ),  # its images are compared
)


@dataclass(frozen=True)
class StudyConfig:
    """Settings that make the trials of a study comparable: space with recipe, data, seed and objective."""

    space: SearchSpace
    data: Mapping[str, Any]
    seed: int
    objective: str = BY_FLOPS

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; class indices if a custom training function did not describe its data."""
        return tuple(map(str, self.data.get("classes") or range(self.space.classes)))

    @property
    def validation_images(self) -> int | None:
        """Number of validation images; None if a custom training function did not describe its data."""
        return self.data.get("validation_images")

    @property
    def effective_images(self) -> int | None:
        """Number of validation images that an accuracy is as precise as; None if unknown.

        Fewer than there are if the study's metric gives all classes the same weight, and some are rare.
        """
        counts = self.data.get("validation_counts")
        if self.validation_images is None or self.space.recipe.metric in MEANS_OVER_IMAGES or not counts:
            return self.validation_images
        return effective_images(counts, self.validation_images)

    @property
    def has_source(self) -> bool:
        """Whether the images can be loaded from where `data` says, unlike arrays and those of a custom training."""
        return self.data["source"] not in FROM_PYTHON

    def scored(self, accuracy: str) -> str:
        """Says by which metric and on which images a study's trainings reach an accuracy."""
        number = f"{self.validation_images:,} " if self.validation_images else ""
        metric, where = self.space.recipe.metric, f"the {number}{self.judged_on} images"
        return f"{accuracy} of {where}" if metric == ACCURACY else f"{METRIC_NAMES[metric]} {accuracy} on {where}"

    @property
    def metric_note(self) -> str | None:
        """What to say beside the study's accuracies if they are another metric."""
        return METRIC_NOTES.get(self.space.recipe.metric)

    @property
    def is_multi_label(self) -> bool:
        """Whether an image may have any number of labels instead of exactly one."""
        return bool(self.data.get("multi_label"))

    @property
    def folds(self) -> int:
        """The number of folds, for each of which a trial trains a network; 1 if it has one set of validation images."""
        return 1 if self.on_all_images else int(self.data.get("folds", 1))

    @property
    def teachers(self) -> tuple[int, ...]:
        """The trials of the search that the trainings also learn from (`nas.training.distillation`)."""
        return tuple(self.data.get("teachers", ()))

    @property
    def on_all_images(self) -> bool:
        """Whether the trainings use the validation images too (`nas.data.images.train_on_all`).

        Their accuracies, and the number of validation images, are then those of the test images.
        """
        return bool(self.data.get("all_images"))

    @property
    def judged_on(self) -> str:
        """The images that accuracies are measured on: `validation`, or `test` where those are trained on."""
        return "test" if self.on_all_images else "validation"

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values, including the versions of nas, torch, lightning and optuna."""
        versions = {name: version(name) for name in ("nas", "torch", "lightning", "optuna")}
        ours = {"space": self.space.to_dict(), "data": dict(self.data), "seed": self.seed}
        return {**ours, "objective": self.objective, "versions": versions}

    @classmethod
    def from_dict(cls, data: object) -> "StudyConfig":
        """Builds a configuration from the output of `to_dict`; without an `objective`, as in old studies, it is FLOPs.

        Raises:
            InvalidValue: not an output of `to_dict`, naming the field.
        """
        top = mapping(data, "study", required=("space", "data", "seed"), optional=("objective", "versions"))
        return cls(
            SearchSpace.from_dict(_as_it_was(top["space"])),
            _images(top["data"]),
            integer(top["seed"], "seed", minimum=0, maximum=2**32 - 1),
            one_of(top.get("objective", BY_FLOPS), "objective", (BY_FLOPS, BY_LATENCY)),
        )

    def differences(self, other: "StudyConfig") -> list[str]:
        """Returns the differences that make the trials of `other` incomparable with these, one line per field."""
        mine, theirs = _flat(self.to_dict()), _flat(other.to_dict())
        return [
            f"{key} is {_brief(mine.get(key))} there and {_brief(theirs.get(key))} now"
            for key in {**mine, **theirs}
            if mine.get(key) != theirs.get(key) and not key.startswith(NOT_COMPARED)
        ]


def _as_it_was(space: object) -> object:
    """Returns a recorded space with what came later as it was: shortcuts, and fields that follow from the data now."""
    if not isinstance(space, Mapping) or not isinstance(space.get("recipe"), Mapping):
        return space
    return {"shortcuts": STRIDED, **space, "recipe": {**LATER_FIELDS, **space["recipe"]}}


def _images(data: object) -> dict[str, Any]:
    """Validates the description of the images, and makes the class names printable."""
    known = dict(mapping(data, "data", required=("source",), optional=(*DESCRIBED, *COUNTS)))
    source = known["source"]
    if not isinstance(source, str) or "\0" in source:
        raise InvalidValue(f"data.source={shown(source)}: must be a name or a path")
    for name, check in CHECKS.items():
        if name in known:
            check(known[name], f"data.{name}")
    if "resize" in known:
        one_of(known["resize"], "data.resize", RESIZES)
    if known.get("validation_share") is not None:
        real(known["validation_share"], "data.validation_share", minimum=0, maximum=1)
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
    """Flattens nested dicts, and lists of them, to one level: `space.recipe.epochs`, `space.stages.1.mid`."""
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
