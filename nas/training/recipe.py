"""Defines `Recipe`, the training hyperparameters of a trial. Accuracies of different recipes are not comparable."""

from dataclasses import asdict, dataclass, fields
from typing import Any

from nas.validation import boolean, integer, mapping, one_of, real

__all__ = ["Recipe"]


@dataclass(frozen=True)
class Recipe:
    """A complete one-cycle training (Smith, arXiv:1708.07120), annealed to its end; part of a study's identity.

    `learning_rate` is the peak; `warmup` the share of the training, in [0, 1], before it. `crop_padding` is the number
    of reflected pixels around an image before a random crop of its own size (0: no crop). `flip` mirrors images left to
    right half of the time, which is wrong for digits and text.
    """

    epochs: int = 10
    batch_size: int = 128
    optimizer: str = "adamw"
    learning_rate: float = 0.005
    weight_decay: float = 0.05
    momentum: float = 0.9
    warmup: float = 0.25
    label_smoothing: float = 0.1
    crop_padding: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        integer(self.epochs, "recipe.epochs", maximum=100_000)
        integer(self.batch_size, "recipe.batch_size", minimum=2)
        one_of(self.optimizer, "recipe.optimizer", ("adamw", "sgd"))
        real(self.learning_rate, "recipe.learning_rate", minimum=1e-9, maximum=1000)
        real(self.weight_decay, "recipe.weight_decay", minimum=0, maximum=1000)
        real(self.momentum, "recipe.momentum", minimum=0, maximum=0.9999)
        real(self.warmup, "recipe.warmup", minimum=0, maximum=1)
        real(self.label_smoothing, "recipe.label_smoothing", minimum=0, maximum=0.99)
        integer(self.crop_padding, "recipe.crop_padding", minimum=0)
        boolean(self.flip, "recipe.flip")

    @classmethod
    def from_dict(cls, data: object) -> "Recipe":
        """Builds a recipe from any of its fields; missing ones keep their defaults."""
        return cls(**mapping(data, "recipe", required=(), optional=[field.name for field in fields(cls)]))

    def to_dict(self) -> dict[str, Any]:
        """Returns all fields by name."""
        return asdict(self)
