from collections.abc import Sequence

import numpy as np
import pytest

from nas import NasError
from nas.analysis.mistakes import (
    Classified,
    Labelled,
    Order,
    class_index,
    label_mistakes,
    mistakes,
    paired_sentence,
)
from nas.training.objective import PREDICTION, label_prediction

CLASSES = ("cat", "dog", "owl")
PREDICTIONS = np.array(
    [
        (0, 0, 0.9, 0.9),
        (0, 1, 0.6, 0.3),
        (1, 0, 0.97, 0.01),
        (2, 1, 0.45, 0.44),
        (0, 1, 0.5, 0.4),
        (0, 0, 0.7, 0.7),
    ],
    dtype=PREDICTION,
)


def images(found: Sequence[Classified | Labelled]) -> list[int]:
    return [one.image for one in found]


def test_the_surest_mistakes_come_first() -> None:
    found = mistakes(PREDICTIONS, CLASSES)
    assert images(found) == [2, 1, 4, 3]
    assert found[0].label == "dog"
    assert found[0].text() == "dog, taken for cat: 97.00 % against 1.00 %"


def test_on_the_boundary_those_come_first_that_were_nearly_right() -> None:
    assert images(mistakes(PREDICTIONS, CLASSES, order=Order.CLOSEST)) == [3, 4, 1, 2]


def test_a_cell_of_the_matrix_selects_its_images() -> None:
    assert images(mistakes(PREDICTIONS, CLASSES, label=0)) == [1, 4]
    assert images(mistakes(PREDICTIONS, CLASSES, predicted=1)) == [1, 4, 3]
    assert images(mistakes(PREDICTIONS, CLASSES, label=2, predicted=1)) == [3]
    assert images(mistakes(PREDICTIONS, CLASSES, label=2, predicted=0)) == []


def test_a_cell_of_the_diagonal_has_what_was_classified_rightly() -> None:
    assert images(mistakes(PREDICTIONS, CLASSES, label=0, predicted=0)) == [0, 5]
    found = mistakes(PREDICTIONS, CLASSES, label=0, predicted=0, order=Order.CLOSEST)
    assert images(found) == [5, 0]
    assert found[0].text() == "cat, 70.00 %"


def test_labels_that_are_missed_or_seen_where_they_are_not() -> None:
    several = np.zeros(3, dtype=label_prediction(len(CLASSES)))
    several["has"] = [(True, False, False), (True, True, False), (False, False, True)]
    several["probability"] = [(0.9, 0.97, 0.1), (0.4, 0.8, 0.2), (0.1, 0.1, 0.02)]
    found = label_mistakes(several, CLASSES)
    assert [(one.image, one.text()) for one in found] == [
        (2, "has the label owl, given 2.00 %"),
        (0, "lacks the label dog, given 97.00 %"),
        (1, "has the label cat, given 40.00 %"),
    ]
    assert images(label_mistakes(several, CLASSES, order=Order.CLOSEST)) == [1, 0, 2]
    assert images(label_mistakes(several, CLASSES, label=1)) == [0]


def test_a_class_that_does_not_exist_is_named_with_those_that_do() -> None:
    assert class_index("dog", CLASSES, field="--label") == 1
    with pytest.raises(NasError, match=r"--label='bird': is none of the classes; they are cat, dog, owl"):
        class_index("bird", CLASSES, field="--label")


def test_two_trainings_are_compared_on_the_images_that_only_one_classifies_rightly() -> None:
    labels = np.zeros(100, dtype=int)

    def predictions(wrong: range) -> np.ndarray:
        rows = [(0, 1 if image in wrong else 0, 0.9, 0.1) for image in labels.cumsum() + np.arange(100)]
        return np.array(rows, dtype=PREDICTION)

    first, second = predictions(range(20)), predictions(range(15, 25))
    words = paired_sentence(first, second, names=("trial 3", "trial 7"))
    assert "trial 7 is right on 15 where trial 3 is wrong, and wrong on 5 where trial 3 is right" in words
    # The differences are +1 for 15 images and -1 for 5: variance .2 - .1 ** 2.
    assert words.endswith(f"+10.0 ± {100 * (0.2 - 0.01) ** 0.5 / 10:.1f} points.")
    assert "+0.0 ± 0.0 points, which may be chance." in paired_sentence(first, first, names=("a", "b"))
