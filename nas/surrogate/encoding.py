"""Encoding: the parameters of a search space as features in [0, 1] for a model."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

__all__ = ["Axis", "Encoding"]

GRID = 33
"""Number of values proposed from a range that has more."""


class Encoding:
    """The axes of a search space, in its order.

    Args:
        search_space: Optuna distributions by parameter name.
    """

    def __init__(self, search_space: Mapping[str, BaseDistribution]) -> None:
        self.axes = [Axis(distribution) for distribution in search_space.values()]

    def features(self, points: Iterable[Sequence[Any]]) -> NDArray[np.float64]:
        """Encodes points, each the values of all parameters in order, as features (n, d) in [0, 1]."""
        rows = [
            [column for axis, value in zip(self.axes, point, strict=True) for column in axis.columns(value)]
            for point in points
        ]
        width = sum(len(axis.columns(axis.grid[0])) for axis in self.axes)
        return np.array(rows, dtype=float).reshape(len(rows), width)


class Axis:
    """One parameter: its candidate values, and their encoding as columns in [0, 1] for a model.

    A number is one column, by its value, or by its rank if it is categorical; other categories are one-hot.
    """

    def __init__(self, distribution: BaseDistribution) -> None:
        self._distribution = distribution
        self._columns: dict[Any, list[float]] = {}
        if isinstance(distribution, CategoricalDistribution):
            self.grid: list[Any] = list(distribution.choices)
            numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in self.grid)
            order = sorted(self.grid) if numbers else self.grid
            for rank, value in enumerate(order):
                one_hot = [float(rank == other) for other in range(len(order))]
                self._columns[value] = [rank / max(1, len(order) - 1)] if numbers else one_hot
            return
        assert isinstance(distribution, IntDistribution | FloatDistribution)
        low, high, step = distribution.low, distribution.high, distribution.step
        steps = round((high - low) / step) if step else GRID
        if steps < GRID:
            values = [low + index * step for index in range(steps + 1)] if step else [low]
        else:
            spaced = np.geomspace(low, high, GRID) if distribution.log else np.linspace(low, high, GRID)
            values = [low + round((value - low) / step) * step if step else value for value in spaced.tolist()]
        kind = int if isinstance(distribution, IntDistribution) else float
        self.grid = list(dict.fromkeys(kind(value) for value in values))

    def contains(self, value: Any) -> bool:
        """Returns whether the distribution contains the value, even if it is never proposed."""
        try:
            return self._distribution._contains(self._distribution.to_internal_repr(value))
        except (TypeError, ValueError):
            return False

    def columns(self, value: Any) -> list[float]:
        """Returns the encoding of a value."""
        if value not in self._columns:
            low, high = self._distribution.low, self._distribution.high  # type: ignore[attr-defined]
            if self._distribution.log:  # type: ignore[attr-defined]
                low, high, value_at = math.log(low), math.log(high), math.log(value)
            else:
                value_at = value
            self._columns[value] = [(value_at - low) / (high - low) if high > low else 0.0]
        return self._columns[value]
