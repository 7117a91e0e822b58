from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nas.architectures.architecture import Architecture, Input, Stage, StemConv
from nas.errors import TrainingFailed
from nas.training.objective import CustomObjective, TrainingContext

ARCHITECTURE = Architecture(Input(1, 8), 10, (StemConv(8),), (Stage(1, 8, 1, 8),))


def called(evaluate: Callable[..., Any]) -> float:
    context = TrainingContext(lambda epoch, accuracy: None, epochs=7, seed=3)
    return CustomObjective(evaluate)(ARCHITECTURE, context).accuracy


@pytest.mark.parametrize(
    "evaluate",
    [
        lambda architecture: 0.5,
        lambda architecture, report: 0.5 if callable(report) else 0.0,
        lambda *arguments: 0.5 if len(arguments) == 2 else 0.0,
        lambda architecture, epochs: 0.5 if epochs == 7 else 0.0,
        lambda architecture, epochs, seed: 0.5 if (epochs, seed) == (7, 3) else 0.0,
        lambda architecture, report, *, epochs=1: 0.5 if callable(report) and epochs == 7 else 0.0,
        lambda architecture, **keywords: 0.5 if keywords == {"epochs": 7, "seed": 3} else 0.0,
        lambda architecture: np.float32(0.5),
        lambda architecture: np.array(0.5),
    ],
)
def test_a_function_receives_what_it_takes(evaluate: Callable[..., Any]) -> None:
    assert called(evaluate) == 0.5


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (97.6, "evaluate returned 97.6; an accuracy is between 0 and 1 (97.6 % is 0.976)"),
        (-0.1, "evaluate returned -0.1; an accuracy is between 0 and 1"),
        (float("nan"), "evaluate returned nan; an accuracy is between 0 and 1"),
        ({"accuracy": 0.5}, "which is not a number"),
        (None, "which is not a number"),
        (np.zeros(3), "which is not a number"),
    ],
)
def test_what_is_no_accuracy_is_said_in_one_line(value: Any, message: str) -> None:
    with pytest.raises(TrainingFailed) as raised:
        called(lambda architecture: value)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
