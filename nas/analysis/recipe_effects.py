"""Effects of changes to a recipe on accuracy, from trainings that are paired by network and seed."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

__all__ = ["Accuracies", "RecipeEffect", "kept_effects", "recipe_effects"]

Accuracies = Mapping[tuple[str, int], float]
"""Validation accuracies in [0, 1], by the architecture's key and the seed of the training."""


class RecipeEffect(NamedTuple):
    """What a change of one recipe field does: the mean difference in accuracy, in [−1, 1], and its 95 % margin."""

    field: str
    value: Any
    mean: float
    margin: float
    pairs: int

    @property
    def change(self) -> str:
        """The change as a space's YAML file writes it."""
        value = str(self.value).lower() if isinstance(self.value, bool) else f"{self.value:g}"
        return f"{self.field}: {value}"

    @property
    def helps(self) -> bool:
        """Whether the accuracy rises by more than chance explains."""
        return self.mean > self.margin


def recipe_effects(
    base: Accuracies, changed: Mapping[tuple[str, Any], Accuracies], *, images: int
) -> list[RecipeEffect]:
    """Compares recipes that differ from a base recipe in one field with it, training by training.

    A pair of trainings has the network and the seed in common. The margins are Student's, from the variance of the
    differences between the seeds of a network, pooled over networks and changes, and never below one image.

    Args:
        base: Accuracies by the base recipe.
        changed: Accuracies by the field that differs and its value; those without a pair are left out.
        images: Number of validation images.

    Returns:
        The effects, the most positive first.
    """
    differences = {
        change: {pair: accuracies[pair] - base[pair] for pair in accuracies if pair in base}
        for change, accuracies in changed.items()
    }
    squares, freedom = 0.0, 0
    for pairs in differences.values():
        for of_network in _by_network(pairs):
            mean = fmean(of_network)
            squares += sum((difference - mean) ** 2 for difference in of_network)
            freedom += len(of_network) - 1
    error = math.sqrt(squares / freedom) * _students_t(freedom) if freedom else math.inf
    effects = [
        RecipeEffect(*change, fmean(pairs.values()), max(error / math.sqrt(len(pairs)), 1 / images), len(pairs))
        for change, pairs in differences.items()
        if pairs
    ]
    return sorted(effects, key=lambda effect: -effect.mean)


def kept_effects(effects: Sequence[RecipeEffect]) -> list[RecipeEffect]:
    """Returns the changes that help; of two values of a field, the better one."""
    best: dict[str, RecipeEffect] = {}
    for effect in sorted(effects, key=lambda effect: -effect.mean):
        if effect.helps:
            best.setdefault(effect.field, effect)
    return list(best.values())


def _by_network(pairs: Accuracies) -> list[list[float]]:
    networks: dict[str, list[float]] = defaultdict(list)
    for (key, _), difference in pairs.items():
        networks[key].append(difference)
    return list(networks.values())


def _students_t(freedom: int) -> float:
    from scipy.stats import t  # slow to import

    return float(t.ppf(0.975, freedom))
