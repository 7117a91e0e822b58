"""Inspects a search space before any training: counts, costs, examples, and an estimate of the search time."""

import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nas.architectures.architecture import Architecture
from nas.architectures.cost import cost, stage_cost, stem_cost
from nas.data.images import ImageData, Split
from nas.errors import InvalidValue
from nas.spaces.search_space import Params, SearchSpace
from nas.system.hardware import seconds_waited

__all__ = ["CostRange", "Estimate", "Preflight", "estimate", "noise", "preflight", "sample_networks"]

COUNTED_EXACTLY = 5_000_000
SAMPLED = 20_000
EXAMPLE_QUANTILES = (0.1, 0.5, 0.9)
FEW = 100
TIMED_STEPS = 3
MOST_WAITED = 0.1
"""Share of the time that threads may wait for a core before the machine counts as busy."""
Counts = NDArray[np.float64]  # exact for counts up to 9e15, and never wraps around


class CostRange(NamedTuple):
    """Minimum, median and maximum of a cost."""

    smallest: int
    median: int
    largest: int


@dataclass(frozen=True)
class Preflight:
    """Summary of a space. Where `exact` is False, `within_budgets` and the spreads are estimated from a sample."""

    space: SearchSpace
    within_budgets: int
    exact: bool
    flops: CostRange
    params: CostRange
    examples: tuple[Architecture, ...]

    def to_dict(self) -> dict[str, Any]:
        """Returns the form that `--json` prints."""
        return {
            "name": self.space.name,
            "purpose": self.space.purpose,
            "architectures": self.space.combinations,
            "valid": self.space.valid,
            "within_budgets": self.within_budgets,
            "exact": self.exact,
            "flops": self.flops._asdict(),
            "params": self.params._asdict(),
            "examples": [
                {
                    "name": example.name,
                    "flops": cost(example).flops,
                    "params": cost(example).params,
                    "architecture": example.to_dict(),
                }
                for example in self.examples
            ],
        }


class Estimate(NamedTuple):
    """Estimated duration of a search on this machine, extrapolated from timed training steps of the examples.

    `is_busy`: other programs kept the training's threads waiting; `seconds` leaves the waiting out.
    """

    trials: int
    epochs: int
    images: int
    seconds: float
    device: str
    is_busy: bool = False


def preflight(space: SearchSpace) -> Preflight:
    """Counts the architectures of a space and summarizes their costs.

    Counts are exact up to five million valid architectures, and estimated from 20,000 random ones above.

    Raises:
        InvalidValue: no architecture is within both budgets.
    """
    rng = np.random.default_rng(0)
    exact = space.valid <= COUNTED_EXACTLY
    costs = _all_costs(space) if exact else _costs_of(space, (space.sample(rng) for _ in range(SAMPLED)))
    fits = np.ones(costs.shape[1], dtype=bool)
    for values, budget in zip(costs, (space.max_flops, space.max_params), strict=True):
        fits &= values <= (budget if budget is not None else np.inf)
    within = int(fits.sum()) if exact else round(fits.mean() * space.valid)
    fitting = costs[:, fits]
    if not exact and within < FEW / SAMPLED * space.valid:  # too rare for a sample: enumerate
        fitting = _costs_of(space, islice(space.affordable(), SAMPLED))
        exact = fitting.shape[1] < SAMPLED
        within = fitting.shape[1] if exact else max(within, SAMPLED)
    if within == 0:
        raise InvalidValue(f"max_flops={space.max_flops}, max_params={space.max_params}: no architecture keeps both")
    flops = _range(fitting[0])
    if not exact and space.cheapest is not None:  # known without a sample
        flops = flops._replace(smallest=cost(space.architecture(space.cheapest)).flops)
    return Preflight(space, within, exact, flops, _range(fitting[1]), _examples(space, rng))


def sample_networks(space: SearchSpace, number: int) -> list[Architecture]:
    """Returns random architectures of a space, regardless of the budgets."""
    rng = np.random.default_rng(0)
    return [space.architecture(space.sample(rng)) for _ in range(number)]


def _all_costs(space: SearchSpace) -> Counts:
    """Returns the FLOPs and parameter counts (2, N) of all valid architectures.

    A stage's cost depends on the stages before it only through its input width, so the sums are accumulated stage by
    stage, separately for each output width.
    """
    ways: dict[int, list[Counts]] = defaultdict(list)
    for stem in space.stems():
        amounts = stem_cost(stem, space.input)
        ways[stem[-1].width].append(np.array([[amounts.flops], [amounts.params]], dtype=float))
    for choices, sides in zip(space.stages, space.sides, strict=True):
        by_width: dict[int, list[Counts]] = defaultdict(list)
        for cin, sums in ways.items():
            before = np.concatenate(sums, axis=1)
            added: dict[int, list[tuple[int, int]]] = defaultdict(list)
            for stage in choices.stages():
                amounts = stage_cost(stage, cin, sides)
                added[stage.out].append((amounts.flops, amounts.params))
            for out, amounts_of_out in added.items():
                both = np.array(amounts_of_out, dtype=float).T
                by_width[out].append((before[:, :, None] + both[:, None, :]).reshape(2, -1))
        ways = by_width
    whole = [
        np.concatenate(sums, axis=1) + np.array([[out * space.classes], [(out + 1) * space.classes]])
        for out, sums in ways.items()
    ]
    return np.concatenate(whole, axis=1)


def _costs_of(space: SearchSpace, points: Iterable[Params]) -> Counts:
    costs = [cost(space.architecture(point)) for point in points]
    return np.array([[amounts.flops for amounts in costs], [amounts.params for amounts in costs]], dtype=float)


def _range(values: Counts) -> CostRange:
    return CostRange(int(values.min()), int(np.median(values)), int(values.max()))


def _examples(space: SearchSpace, rng: np.random.Generator) -> tuple[Architecture, ...]:
    """Returns examples within the budgets, by ascending FLOPs; enumerated where random points rarely fit."""
    sample = [architecture for _ in range(1000) if space.fits(architecture := space.architecture(space.sample(rng)))]
    if len(sample) < len(EXAMPLE_QUANTILES):
        sample = [space.architecture(point) for point in islice(space.affordable(), 1000)]
    ordered = sorted(sample, key=lambda architecture: cost(architecture).flops)
    return tuple(ordered[int(quantile * (len(ordered) - 1))] for quantile in EXAMPLE_QUANTILES)


def estimate(report: Preflight, *, trials: int, images: int, folds: int = 1, device: str = "auto") -> Estimate:
    """Estimates the duration of a search: times training steps of the examples here, × trials × epochs × images.

    A forward pass over a quarter as many validation images adds about a twelfth to each epoch.

    Args:
        report: the pre-flight of the space, whose examples are timed.
        trials: number of full-length trainings.
        images: number of training images.
        folds: number of networks that each training is of.
        device: the device to time on.
    """
    from nas.training.train import on_device, steps

    space = report.space
    data = on_device(noise(space), space.recipe, device)
    seconds, waited = [], []
    for example in report.examples:
        running = steps(example, data, space.recipe)
        next(running)  # warms up
        timed = []
        for _ in range(TIMED_STEPS):
            start, before = time.perf_counter(), seconds_waited()
            trained = next(running)
            taken = time.perf_counter() - start
            share = min(max(seconds_waited() - before, 0.0) / taken, 0.9)  # of several threads the sum may exceed it
            timed.append((taken * (1 - share) / trained, share))
        seconds.append(min(timed)[0])
        waited.append(min(timed)[1])
    epoch = float(np.mean(seconds)) * images * (1 + 1 / 12)
    whole = epoch * space.recipe.epochs * trials * folds
    return Estimate(trials, space.recipe.epochs, images, whole, data.device.type, max(waited) > MOST_WAITED)


def noise(space: SearchSpace) -> ImageData:
    """Returns one batch of random images and labels, in the shape and batch size of a space."""
    shape = (space.recipe.batch_size, *space.input.sides, space.input.channels)
    rng = np.random.default_rng(0)
    split = Split(rng.integers(0, 256, shape, dtype=np.uint8), rng.integers(0, space.classes, shape[0]))
    return ImageData("noise", (), split, split, split)
