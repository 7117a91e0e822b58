"""Defines `Recipe`, the training hyperparameters of a trial. Accuracies of different recipes are not comparable."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

from nas.architectures.architecture import Input
from nas.errors import InvalidValue
from nas.training.metrics import ACCURACY, MEAN_AVERAGE_PRECISION, METRICS
from nas.validation import boolean, integer, mapping, one_of, real

__all__ = ["AUTO", "CLASS_WEIGHTS", "SAMPLINGS", "Recipe"]

AUTO = "auto"
"""Value of a field that follows from the data."""
OPTIMIZERS = ("muon", "adamw", "sgd")
CLASS_WEIGHTS = ("none", "balanced", "effective")
SAMPLINGS = ("all", "balanced")
STEPS = 4000
FEWEST_EPOCHS, MOST_EPOCHS = 9, 100
"""Where epochs follow from the data, a training has at least `STEPS` optimiser steps, within these bounds of epochs."""
LEARNING_RATE, AT_BATCH = 0.01, 32
SGD_LEARNING_RATE = 0.3
"""Peak learning rates at a batch size, of AdamW (alone or beside Muon) and of SGD; they grow with the batch's root."""
MUON_FROM = 16
"""Size of images from which Muon is used: on smaller ones its own arithmetic takes a large part of a step."""
BATCHES = {0: 8, 500: 16, 1_024: 32, 20_000: 64, 200_000: 128}
"""Batch size from this number of training images on; small ones help where images are few (docs/benchmarks.md)."""
CROPPED_FROM = 15
"""Number of epochs from which colour images are cropped at random; shorter trainings see few images twice."""
FEW_IMAGES, MANY_EPOCHS, RANDOM_AUGMENT_FROM = 2_500, 60, 16
"""Where random operations pay: fewer images than this, seen at least this often, and of at least this size, as smaller
ones were not measured (docs/benchmarks.md)."""


@dataclass(frozen=True)
class Recipe:
    """A complete one-cycle training (Smith, arXiv:1708.07120), annealed to its end; part of a study's identity.

    `learning_rate` is the peak; `warmup` the share of the training, in [0, 1], before it. `crop_padding` is the number
    of reflected pixels around an image before a random crop of its own size (0: no crop). `flip` mirrors images left to
    right half of the time, which is wrong for digits and text, `flip_vertical` turns half of them upside down.

    Of other augmentations only `random_augment` may follow from the data; the others are off unless a recipe names
    them. Each image draws its own (`nas.training.augmentation`).
    `rotation` is the largest angle, in degrees. `color_jitter` is the largest change of brightness, contrast and
    saturation, as a share of them. `cutout` is the side of a square that is blanked, as a share of the shorter side
    (DeVries and Taylor, arXiv:1708.04552). `mixup` (Zhang et al., arXiv:1710.09412) and `cutmix` (Yun et al.,
    arXiv:1905.04899) are the shares of images that are mixed with another, by even chances of all proportions (their
    α = 1). `random_augment` in [0, 1] is the strength, of RandAugment's (Cubuk et al., arXiv:1909.13719), up to which
    one operation at random is applied, as by TrivialAugment (Müller and Hutter, arXiv:2103.10158): eleven of theirs,
    without equalisation, auto-contrast and sharpness.

    `metric` is what networks are judged by (`nas.training.metrics`); it follows from the data in that mean average
    precision is for images with any number of labels, accuracy for others. `class_weights` says how much images of rare
    classes count in the loss (`nas.training.class_balance`); with `sampling` balanced, an epoch draws as many images of
    each class, with repetition. `label_smoothing` is for images of one label each.

    `auto` names the fields that are still to follow from the data, by `for_images`; until then they hold defaults.
    `with_values` settles fields; `dataclasses.replace` does so only where a value is not the default.
    """

    epochs: int = 10
    batch_size: int = 32
    optimizer: str = "adamw"
    learning_rate: float = 0.01
    weight_decay: float = 0.05
    momentum: float = 0.9
    warmup: float = 0.25
    label_smoothing: float = 0.1
    crop_padding: int = 0
    flip: bool = False
    flip_vertical: bool = False
    rotation: float = 0.0
    color_jitter: float = 0.0
    cutout: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    random_augment: float = 0.0
    metric: str = ACCURACY
    class_weights: str = "none"
    sampling: str = "all"
    auto: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        integer(self.epochs, "recipe.epochs", maximum=100_000)
        integer(self.batch_size, "recipe.batch_size", minimum=2)
        one_of(self.optimizer, "recipe.optimizer", OPTIMIZERS)
        real(self.learning_rate, "recipe.learning_rate", minimum=1e-9, maximum=1000)
        real(self.weight_decay, "recipe.weight_decay", minimum=0, maximum=1000)
        real(self.momentum, "recipe.momentum", minimum=0, maximum=0.9999)
        real(self.warmup, "recipe.warmup", minimum=0, maximum=1)
        real(self.label_smoothing, "recipe.label_smoothing", minimum=0, maximum=0.99)
        integer(self.crop_padding, "recipe.crop_padding", minimum=0)
        boolean(self.flip, "recipe.flip")
        boolean(self.flip_vertical, "recipe.flip_vertical")
        real(self.rotation, "recipe.rotation", minimum=0, maximum=180)
        for name in ("color_jitter", "cutout", "mixup", "cutmix", "random_augment"):
            real(getattr(self, name), f"recipe.{name}", minimum=0, maximum=1)
        real(self.mixup + self.cutmix, "recipe.mixup + recipe.cutmix", minimum=0, maximum=1)
        one_of(self.metric, "recipe.metric", METRICS)
        one_of(self.class_weights, "recipe.class_weights", CLASS_WEIGHTS)
        one_of(self.sampling, "recipe.sampling", SAMPLINGS)
        defaults = {f.name: f.default for f in fields(self)}
        open_fields = frozenset(name for name in self.auto if getattr(self, name) == defaults[name])
        object.__setattr__(self, "auto", open_fields)

    @classmethod
    def from_dict(cls, data: object) -> "Recipe":
        """Builds a recipe from any of its fields.

        Those that can follow from the data do so where they are missing or `auto`; others keep their defaults.
        """
        given = mapping(data, "recipe", required=(), optional=[f.name for f in fields(cls) if f.name != AUTO])
        auto = frozenset(name for name in ("metric", *_OF_DATA) if given.get(name, AUTO) == AUTO)
        return cls(**{name: value for name, value in given.items() if name not in auto}, auto=auto)

    def to_dict(self) -> dict[str, Any]:
        """Returns all fields by name, in the form that `from_dict` accepts."""
        return {f.name: AUTO if f.name in self.auto else getattr(self, f.name) for f in fields(self) if f.name != AUTO}

    @property
    def is_balanced(self) -> bool:
        """Whether rare classes count for more in training than by the number of their images."""
        return self.class_weights != "none" or self.sampling != "all"

    def chance(self, classes: int) -> float:
        """Returns the accuracy of guesses; 0 for mean average precision, where it depends on the images."""
        return 0.0 if self.metric == MEAN_AVERAGE_PRECISION else 1 / classes

    def with_values(self, **values: Any) -> "Recipe":
        """Returns a copy with other values, which are not `auto` any more.

        Raises:
            InvalidValue: there is no such field, or the value is not allowed.
        """
        mapping(values, "recipe", required=(), optional=[f.name for f in fields(self) if f.name != AUTO])
        return replace(self, **values, auto=self.auto - values.keys())

    def for_images(self, number: int | None, shape: Input, *, multi_label: bool = False) -> "Recipe":
        """Returns the recipe for a data set, with values in place of `auto`.

        Args:
            number: number of training images. None: unknown, which leaves the defaults.
            shape: shape of the images.
            multi_label: whether an image may have any number of labels, which are not smoothed.

        Raises:
            InvalidValue: `multi_label`, and the metric or the sampling is for images of one label each.
        """
        if number is None:
            return replace(self, auto=frozenset())
        recipe = self._of_several_labels() if multi_label else self
        for name, rule in _OF_DATA.items():  # in this order, as later ones depend on earlier ones
            if name in self.auto:
                recipe = recipe.with_values(**{name: rule(recipe, number, shape)})
        return replace(recipe, auto=frozenset())

    def _of_several_labels(self) -> "Recipe":
        """Returns the recipe with the metric for images with any number of labels, which are not smoothed."""
        one_label = "is for images of one label each, and these may have several"
        if self.metric != MEAN_AVERAGE_PRECISION and "metric" not in self.auto:
            raise InvalidValue(
                f"recipe.metric={self.metric}: {one_label}; the metric for them is {MEAN_AVERAGE_PRECISION}"
            )
        if self.sampling != "all":
            raise InvalidValue(f"recipe.sampling={self.sampling}: {one_label}; class_weights is for both")
        return replace(self, metric=MEAN_AVERAGE_PRECISION, label_smoothing=0.0)


def _optimizer(recipe: Recipe, number: int, shape: Input) -> str:
    return "muon" if shape.size >= MUON_FROM else "adamw"


def _batch_size(recipe: Recipe, number: int, shape: Input) -> int:
    return max(size for least, size in BATCHES.items() if number >= least)


def _epochs(recipe: Recipe, number: int, shape: Input) -> int:
    return min(max(math.ceil(STEPS / max(number // recipe.batch_size, 1)), FEWEST_EPOCHS), MOST_EPOCHS)


def _learning_rate(recipe: Recipe, number: int, shape: Input) -> float:
    peak = SGD_LEARNING_RATE if recipe.optimizer == "sgd" else LEARNING_RATE
    return round(peak * math.sqrt(recipe.batch_size / AT_BATCH), 4)


def _crop_padding(recipe: Recipe, number: int, shape: Input) -> int:
    return shape.size // 16 if shape.channels > 1 and recipe.epochs >= CROPPED_FROM else 0


def _random_augment(recipe: Recipe, number: int, shape: Input) -> float:
    few_and_seen_often = number < FEW_IMAGES and recipe.epochs >= MANY_EPOCHS
    return 1.0 if few_and_seen_often and shape.size >= RANDOM_AUGMENT_FROM else 0.0


def _flip(recipe: Recipe, number: int, shape: Input) -> bool:
    return shape.channels > 1  # grey images are often of text or digits, which a mirror changes


_OF_DATA: dict[str, Callable[[Recipe, int, Input], Any]] = {
    "optimizer": _optimizer,
    "batch_size": _batch_size,
    "epochs": _epochs,
    "learning_rate": _learning_rate,
    "crop_padding": _crop_padding,
    "flip": _flip,
    "random_augment": _random_augment,
}
