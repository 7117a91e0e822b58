"""The surrogate's trend: how well costs that are known before any training predict accuracy in complete tables.

Correlations with −log(error), the mean over seeds at full length: of log FLOPs, of log parameters, of log activations
and of the trend; then of log parameters where the linear effect of log FLOPs is taken out of both. The trend was chosen
on the first three tables, and the others were made after it.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from benchmarks.search import TABLES
from nas import cost
from nas.surrogate.trend import trend
from nas.workflows.tabular_benchmark import Table

OLDER, NEWER = ("digits-27", "cifar16-27", "cifar16-9"), ("cifar16-12", "fashion16")


def measure() -> Iterator[tuple[str, list[float], str]]:
    """A figure for each of the tables it was chosen on, then one for each other table."""
    for names in (OLDER, *((name,) for name in NEWER)):
        found = [_correlations(Table.load(TABLES / f"{name}.parquet")) for name in names]
        for what in found[0]:
            yield f"{what}: {', '.join(names)}", [values[what] for values in found], ""


def _correlations(table: Table) -> dict[str, float]:
    full = table.lengths[-1]
    seeds = sorted({seed for _, epochs, seed in table.rows if epochs == full})
    accuracy = np.nanmean([table.accuracies(full, seed) for seed in seeds], axis=0)
    quality = -np.log(np.maximum(1 - accuracy, 1e-3))
    costs = [cost(architecture) for architecture in table.architectures]
    flops, params, activations = (
        np.log([getattr(each, name) for each in costs]) for name in ("flops", "params", "activations")
    )
    sums = np.array([trend(architecture) for architecture in table.architectures])
    return {
        "log FLOPs": _correlation(flops, quality),
        "log parameters": _correlation(params, quality),
        "log activations": _correlation(activations, quality),
        "the trend, log FLOPs + log parameters": _correlation(sums, quality),
        "log parameters at equal FLOPs": _correlation(_beyond(params, flops), _beyond(quality, flops)),
    }


def _correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    return float(np.corrcoef(first, second)[0, 1])


def _beyond(values: NDArray[np.float64], known: NDArray[np.float64]) -> NDArray[np.float64]:
    """What a linear function of `known` leaves of the values."""
    return np.asarray(values - np.polyval(np.polyfit(known, values, 1), known))
