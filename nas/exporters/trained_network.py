"""Trained: the weights of a network that was trained, and what is known of them."""

from dataclasses import dataclass
from pathlib import Path

from nas.architectures.architecture import Architecture
from nas.study.config import StudyConfig

__all__ = ["Trained"]


@dataclass(frozen=True)
class Trained:
    """What an export makes a bundle of.

    `accuracy`, in [0, 1], is that of these weights on the validation images; `config` has the recipe and describes the
    images. `origin` says where the weights come from, for people; `seed` is that of their training. `confirmed` are the
    validation accuracies of all trainings of this architecture from scratch on several seeds, where there were any;
    `tested` those of the same trainings on the test images, and `test_accuracy` that of these weights, where the test
    images were read.
    """

    architecture: Architecture
    weights_file: Path
    accuracy: float
    config: StudyConfig
    origin: str
    seed: int
    confirmed: tuple[float, ...] = ()
    tested: tuple[float, ...] = ()
    test_accuracy: float | None = None
