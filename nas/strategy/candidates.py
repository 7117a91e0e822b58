"""The points that a sampler may propose: all of a small space; of a large one a random sample, and neighbours."""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution

from nas.errors import InvalidValue
from nas.surrogate.encoding import Encoding
from nas.validation import shown

__all__ = ["Batch", "Candidates", "Point"]

Point = tuple[Any, ...]
"""Parameter values, in the order of the search space."""

MOST_ENUMERATED = 20_000
"""Spaces of up to this many combinations, valid or not, are enumerated."""
MOST_CONSIDERED, DRAWN, SAMPLED = 2_000, 2_400, 600
"""A space of at most `MOST_CONSIDERED` valid points is small: all of them are candidates. A larger one is represented
by a fixed sample of `SAMPLED` points out of `DRAWN`."""
COST_BINS = 30
"""Number of ranges of log cost that are equally represented in the sample of a large space, where it has the points."""
ATTEMPTS = 40


class Batch(NamedTuple):
    """Points as a model sees them: features (n, d) in [0, 1], the last one scaled log cost, with the trend after it if
    there is one; log cost itself (n,)."""

    points: list[Point]
    features: NDArray[np.float64]
    log_cost: NDArray[np.float64]


class Candidates:
    """The valid points of a search space with their costs, each computed once.

    Args:
        search_space: Optuna distributions by parameter name.
        cost: Returns the cost of a point's parameters, above 0, or its logarithm if `cost_is_log`.
        is_valid: Returns whether a point may be proposed; None: all may.
        cost_is_log: Whether `cost` returns the logarithm of the cost.
        draw: Returns a valid random point, or None; for spaces where rejection sampling would rarely succeed.
        cheapest: The parameters of a valid point of least cost, where that is known.
        trend: Returns a guess of a point's value, on any scale.
        seed: Seed of the sample of a large space.
    """

    def __init__(
        self,
        search_space: Mapping[str, BaseDistribution],
        cost: Callable[[dict[str, Any]], float],
        *,
        is_valid: Callable[[dict[str, Any]], bool] | None = None,
        cost_is_log: bool = False,
        draw: Callable[[np.random.Generator], Mapping[str, Any] | None] | None = None,
        cheapest: Mapping[str, Any] | None = None,
        trend: Callable[[dict[str, Any]], float] | None = None,
        seed: int = 0,
    ) -> None:
        self.names = list(search_space)
        self._encoding = Encoding(search_space)
        self._axes = self._encoding.axes
        self._cost, self._is_valid, self._cost_is_log, self._draw = cost, is_valid, cost_is_log, draw
        self._trend, self._trends = trend, dict[Point, float]()
        self._log_costs: dict[Point, float | None] = {}
        rng = np.random.default_rng(seed)
        grids = [axis.grid for axis in self._axes]
        points: list[Point] = []
        if math.prod(map(len, grids)) <= MOST_ENUMERATED:
            points = [point for point in itertools.product(*grids) if self.is_valid(point)]
        self.complete = 0 < len(points) <= MOST_CONSIDERED
        """Whether `sample` is the whole space."""
        if not self.complete:
            known = self.point(cheapest) if cheapest is not None else None
            points = self._spread_over_cost(rng, [known] if known is not None else [])
        self.sample = points
        logs = [self.log_cost(point) for point in points]
        self.most_log_cost, self._least = max(logs, default=0.0), min(logs, default=0.0)

    @property
    def has_trend(self) -> bool:
        """Whether the last feature is a trend."""
        return self._trend is not None

    def point(self, params: Mapping[str, Any]) -> Point | None:
        """Returns the point of a trial's parameters; None if they do not belong to this space or are not valid."""
        point = tuple(params.get(name) for name in self.names)
        known = all(axis.contains(value) for axis, value in zip(self._axes, point, strict=True))
        return point if known and self.is_valid(point) else None

    def params(self, point: Point) -> dict[str, Any]:
        """Returns the parameters of a point: the inverse of `point`."""
        return dict(zip(self.names, point, strict=True))

    def is_valid(self, point: Point) -> bool:
        """Returns whether the point may be proposed."""
        return self._looked_up(point) is not None

    def log_cost(self, point: Point) -> float:
        """Returns the log cost of a valid point."""
        known = self._looked_up(point)
        assert known is not None
        return known

    def batch(self, points: Iterable[Point]) -> Batch:
        """Encodes valid points for a model."""
        kept = list(points)
        logs = np.array([self.log_cost(point) for point in kept], dtype=float)
        costs = (logs - self._least) / max(self.most_log_cost - self._least, 1e-9)
        columns = [self._encoding.features(kept), costs]
        if self._trend is not None:
            for point in kept:
                if point not in self._trends:
                    self._trends[point] = self._trend(self.params(point))
            columns.append(np.array([self._trends[point] for point in kept]))
        return Batch(kept, np.column_stack(columns), logs)

    def neighbours(self, point: Point, rng: np.random.Generator) -> list[Point]:
        """Returns valid points that differ in one parameter; where that is invalid, in a random second one as well."""
        found = []
        for at, axis in enumerate(self._axes):
            for value in axis.grid:
                changed = (*point[:at], value, *point[at + 1 :])
                if not self.is_valid(changed):
                    other = int(rng.integers(len(self._axes)))
                    second = self._axes[other].grid[rng.integers(len(self._axes[other].grid))]
                    changed = (*changed[:other], second, *changed[other + 1 :])
                if changed != point and self.is_valid(changed):
                    found.append(changed)
        return found

    def random(self, count: int, rng: np.random.Generator) -> list[Point]:
        """Returns up to `count` distinct valid points, drawn at random; fewer where they are rare."""
        drawn = dict.fromkeys(self._random_point(rng) for _ in range(count))
        return [point for point in drawn if point is not None]

    def _spread_over_cost(self, rng: np.random.Generator, known: list[Point]) -> list[Point]:
        """Returns a sample that is spread over log cost: most random points of a space cost nearly the same.

        It includes the known points, and the cheapest point, as far as single changes lead there.
        """
        drawn = dict.fromkeys([*known, *self.random(DRAWN, rng)])
        while drawn:  # the cheapest points are hardly ever drawn
            cheapest = min(drawn, key=self.log_cost)
            drawn |= dict.fromkeys(self.neighbours(cheapest, rng))
            if self.log_cost(min(drawn, key=self.log_cost)) == self.log_cost(cheapest):
                break
        points = list(drawn)
        if len(points) <= SAMPLED:
            return points
        logs = np.array([self.log_cost(point) for point in points])
        counts, edges = np.histogram(logs, COST_BINS)
        weights = 1 / counts[np.clip(np.searchsorted(edges, logs, side="right") - 1, 0, COST_BINS - 1)]
        chosen = rng.choice(len(points), SAMPLED, replace=False, p=weights / weights.sum())
        return [points[at] for at in np.union1d(chosen, logs.argmin())]

    def _random_point(self, rng: np.random.Generator) -> Point | None:
        if self._draw is not None:
            drawn = self._draw(rng)
            return self.point(drawn) if drawn is not None else None
        for _ in range(ATTEMPTS):
            point = tuple(axis.grid[rng.integers(len(axis.grid))] for axis in self._axes)
            if self.is_valid(point):
                return point
        return None

    def _looked_up(self, point: Point) -> float | None:
        """Returns the cached log cost; None if the point is not valid."""
        if point not in self._log_costs:
            params = self.params(point)
            valid = self._is_valid is None or self._is_valid(params)
            self._log_costs[point] = self._log_of(self._cost(params), params) if valid else None
        return self._log_costs[point]

    def _log_of(self, cost: float, params: dict[str, Any]) -> float:
        if not math.isfinite(cost) or (cost <= 0 and not self._cost_is_log):
            allowed = "a finite number" if self._cost_is_log else "a finite number above 0"
            raise InvalidValue(f"cost={shown(cost)} of {shown(params)}: must be {allowed}")
        return float(cost) if self._cost_is_log else math.log(cost)
