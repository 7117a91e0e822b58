"""Importance of a space's choices for accuracy: over all trials, and among trials of equal FLOPs.

Everything here describes the trials of one study. A sampler that looks for good trials does not draw them evenly, so
these are hints at what matters, not estimates of cause.
"""

from collections.abc import Sequence
from string import ascii_lowercase, digits
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nas.analysis.figures.style import COLOURS
from nas.spaces.search_space import SearchSpace
from nas.study.records import TrialRecord, TrialState

__all__ = [
    "ENOUGH",
    "Effect",
    "Importance",
    "Sample",
    "choice_in_words",
    "effects",
    "error_distributions",
    "evenly_spaced",
    "importances",
    "sample_of",
    "shades",
    "variance_explained",
]

Floats = NDArray[np.float64]
ENOUGH = 40
"""Number of complete trials below which the page warns that there are too few."""
FEWEST_OF_A_VALUE = 5
HALVES = 40
MOST_RESAMPLED = 2000
MOST_DRAWN = 500
TREND_DEGREE = 3
ROUNDING = 1e-9


class Sample(NamedTuple):
    """The complete trials as columns: each choice's values (N,), accuracy, log FLOPs, and accuracy at equal FLOPs.

    `at_equal_flops` is by how much a trial is more accurate than trials of its FLOPs: the residual of a cubic
    polynomial of accuracy over log FLOPs, fitted by least squares.
    """

    choices: dict[str, NDArray[np.int64]]
    accuracy: Floats
    log_flops: Floats
    at_equal_flops: Floats


class Importance(NamedTuple):
    """The share of variance that a choice explains by itself; `low` and `high`: 10 % and 90 % quantiles over halves.

    Halves are drawn without replacement, as a trial drawn twice would explain itself.
    """

    choice: str
    share: float
    low: float
    high: float


class Effect(NamedTuple):
    """The trials with one value of a choice: their number, their mean accuracy at equal FLOPs, its standard error."""

    value: int
    trials: int
    mean: float
    error: float


def sample_of(records: Sequence[TrialRecord], space: SearchSpace) -> Sample:
    """Returns the complete trials of a study as columns, in the order of `records`."""
    complete = [record for record in records if record.state == TrialState.COMPLETE]
    points = [space.point(record.architecture) for record in complete]
    accuracy = np.array([record.accuracy for record in complete], dtype=float)
    log_flops = np.log([record.flops for record in complete]) if complete else np.zeros(0)
    choices = {name: np.array([point[name] for point in points], dtype=np.int64) for name in space.parameters}
    rest = accuracy - _trend(log_flops, accuracy)
    return Sample(choices, accuracy, log_flops, np.where(abs(rest) < ROUNDING, 0.0, rest))


def variance_explained(values: NDArray[np.int64], target: Floats) -> float:
    """Returns the share of the target's variance that lies between the values, not within them: ω² (Hays, 1963).

    It is corrected for chance, so that a choice without effect has 0 on average, however many values it has; in [0, 1].
    """
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    k, n = len(counts), len(values)
    total = float(((target - target.mean()) ** 2).sum())
    if k < 2 or n <= k or total <= 0:
        return 0.0
    means = np.bincount(which, target) / counts
    between = float((counts * (means - target.mean()) ** 2).sum())
    noise = (total - between) / (n - k)
    return max(0.0, (between - (k - 1) * noise) / (total + noise))


def importances(sample: Sample, *, equal_flops: bool) -> list[Importance]:
    """Returns each choice's share of the variance of accuracy, or of accuracy at equal FLOPs, in the space's order."""
    target = sample.at_equal_flops if equal_flops else sample.accuracy
    rng = np.random.default_rng(0)
    draws = [rng.permutation(len(target))[: max(1, min(len(target) // 2, MOST_RESAMPLED))] for _ in range(HALVES)]
    found = []
    for choice, values in sample.choices.items():
        again = [variance_explained(values[draw], target[draw]) for draw in draws]
        low, high = np.quantile(again, (0.1, 0.9))
        found.append(Importance(choice, variance_explained(values, target), float(low), float(high)))
    return found


def effects(sample: Sample, choice: str) -> list[Effect]:
    """Returns the effect of each value of a choice at equal FLOPs; the standard error is NaN for a single trial."""
    found = []
    for value in np.unique(sample.choices[choice]).tolist():
        rest = sample.at_equal_flops[sample.choices[choice] == value]
        error = float(rest.std(ddof=1) / np.sqrt(len(rest))) if len(rest) > 1 else float("nan")
        found.append(Effect(value, len(rest), float(rest.mean()), error))
    return found


def error_distributions(sample: Sample, choice: str) -> dict[int, Floats]:
    """Returns the ascending errors of the trials by value of a choice, for values with at least five trials."""
    values = sample.choices[choice]
    found = {value: np.sort(1 - sample.accuracy[values == value]) for value in np.unique(values).tolist()}
    return {value: errors for value, errors in found.items() if len(errors) >= FEWEST_OF_A_VALUE}


def _trend(x: Floats, y: Floats) -> Floats:
    """Fits a polynomial of y over x and evaluates it at x; the degree is lower if x has few values."""
    degree = min(TREND_DEGREE, len(np.unique(x)) - 1)
    if degree < 1:
        return np.full_like(y, y.mean() if len(y) else 0.0)
    scaled = (x - x.mean()) / x.std()
    return np.asarray(np.polyval(np.polyfit(scaled, y, degree), scaled))


def evenly_spaced(count: int) -> NDArray[np.int64]:
    """Returns evenly spaced indices of at most `MOST_DRAWN` of `count` items, including both ends."""
    return np.unique(np.linspace(0, count - 1, min(count, MOST_DRAWN)).round().astype(np.int64))


def choice_in_words(choice: str) -> str:
    """Converts `stage1.groups` to `stage 1 groups`."""
    part, _, field = choice.partition(".")
    return f"{part.rstrip(digits)} {part.lstrip(ascii_lowercase)} {field}"


def shades() -> list[str]:
    """Returns the six colours, repeated three times."""
    return list(COLOURS) * 3
