"""The validation images that a trained network takes for something else, by how sure it was of them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.errors import InvalidValue
from nas.study.precision import BEYOND_CHANCE
from nas.units import percent_text
from nas.validation import shown

__all__ = ["Classified", "Labelled", "Order", "class_index", "label_mistakes", "mistakes", "paired_sentence"]


class Order(StrEnum):
    """Which images come first."""

    SUREST = "surest"
    """Those of which the network was surest: among them are the wrong labels."""
    CLOSEST = "closest"
    """Those on the boundary, where the class itself was nearly as probable as the prediction."""


@dataclass(frozen=True)
class Classified:
    """A validation image as a network classified it; `image` counts them from 0, the probabilities are in [0, 1]."""

    image: int
    label: str
    predicted: str
    confidence: float
    label_confidence: float

    def text(self) -> str:
        """Says what the image was taken for."""
        if self.label == self.predicted:
            return f"{self.label}, {percent_text(self.confidence)}"
        return (
            f"{self.label}, taken for {self.predicted}: {percent_text(self.confidence)} "
            f"against {percent_text(self.label_confidence)}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields for JSON."""
        return asdict(self)


def mistakes(
    predictions: NDArray[np.void],
    classes: Sequence[str],
    *,
    label: int | None = None,
    predicted: int | None = None,
    order: Order = Order.SUREST,
) -> list[Classified]:
    """Returns the images that were taken for another class.

    Args:
        predictions: a `PREDICTION` for each validation image.
        classes: the names of the classes.
        label: only images of this class.
        predicted: only images that were taken for this class; if it equals `label`, those that were classified rightly.
        order: which come first.
    """
    wanted = predictions["label"] != predictions["predicted"]
    if label is not None and label == predicted:
        wanted = ~wanted
    for field, value in (("label", label), ("predicted", predicted)):
        if value is not None:
            wanted &= predictions[field] == value
    sure, lead = predictions["confidence"], predictions["confidence"] - predictions["label_confidence"]
    place = np.lexsort((-sure,) if order == Order.SUREST else (sure, lead))  # by the last key first
    rows = place[wanted[place]]
    return [
        Classified(
            int(row),
            classes[int(one["label"])],
            classes[int(one["predicted"])],
            float(one["confidence"]),
            float(one["label_confidence"]),
        )
        for row, one in zip(rows, predictions[rows], strict=True)
    ]


@dataclass(frozen=True)
class Labelled:
    """Whether a validation image has a label, and how probable the network finds it, in [0, 1]."""

    image: int
    label: str
    has: bool
    probability: float

    def text(self) -> str:
        """Says what is wrong."""
        return f"{'has' if self.has else 'lacks'} the label {self.label}, given {percent_text(self.probability)}"

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields for JSON."""
        return asdict(self)


def label_mistakes(
    predictions: NDArray[np.void], classes: Sequence[str], *, label: int | None = None, order: Order = Order.SUREST
) -> list[Labelled]:
    """Returns the labels that images have and that are found improbable, below 0.5, or the reverse.

    Args:
        predictions: a `label_prediction` for each validation image.
        classes: the names of the labels.
        label: only this label.
        order: which come first.
    """
    wrong = predictions["has"] != (predictions["probability"] >= 0.5)
    if label is not None:
        wrong &= np.arange(len(classes)) == label
    rows, labels = np.nonzero(wrong)
    sure = np.abs(predictions["probability"][rows, labels] - 0.5)
    place = np.argsort(-sure if order == Order.SUREST else sure, kind="stable")
    return [
        Labelled(int(row), classes[at], bool(predictions["has"][row, at]), float(predictions["probability"][row, at]))
        for row, at in zip(rows[place].tolist(), labels[place].tolist(), strict=True)
    ]


def paired_sentence(first: NDArray[np.void], second: NDArray[np.void], *, names: tuple[str, str]) -> str:
    """Compares two trainings on the images that only one of them classifies rightly, which says more than two means.

    Args:
        first: a `PREDICTION` for each validation image.
        second: those of another training, for the same images.
        names: what the two are called.
    """
    right, other = (each["label"] == each["predicted"] for each in (first, second))
    won, lost = int((other & ~right).sum()), int((right & ~other).sum())
    points = 100 * (won - lost) / len(right)
    error = 100 * float(np.std(other.astype(float) - right)) / len(right) ** 0.5
    chance = "" if abs(points) > BEYOND_CHANCE * error else ", which may be chance"
    return (
        f"On the same {len(right):,} validation images {names[1]} is right on {won:,} where {names[0]} is wrong, and "
        f"wrong on {lost:,} where {names[0]} is right: {points:+.1f} ± {error:.1f} points{chance}."
    )


def class_index(name: str, classes: Sequence[str], *, field: str) -> int:
    """Returns the index of a class.

    Raises:
        InvalidValue: there is no such class; the message names `field`.
    """
    if name not in classes:
        some = ", ".join(classes[:10]) + (", …" if len(classes) > 10 else "")
        raise InvalidValue(f"{field}={shown(name)}: is none of the classes; they are {some}")
    return classes.index(name)
