"""How well short trainings predict full ones: Kendall's τ with the full-length result, over whole tables.

A complete short schedule beside as many epochs of the full one, and beside a second seed of the full length, which is
as well as any witness can do.
"""

import math
from collections.abc import Iterator

import numpy as np
from scipy.stats import kendalltau

from benchmarks.search import TABLES
from nas.workflows.tabular_benchmark import Table

RESAMPLED = 200


def measure() -> Iterator[tuple[str, list[float], str]]:
    """τ over all architectures, with the spread over 200 resamplings of them."""
    for file in sorted(TABLES.glob("*.parquet")):
        table = Table.load(file)
        full = table.lengths[-1]
        whole = table.accuracies(full)
        for epochs in table.lengths[:-1]:
            yield f"{table.name}: a schedule of {epochs} epochs", _taus(table.accuracies(epochs), whole), ""
            begun = np.array([table.rows[a.key, full, 0].curve[epochs - 1] for a in table.architectures])
            yield f"{table.name}: epoch {epochs} of {full}", _taus(begun, whole), ""
        yield f"{table.name}: a second seed of {full} epochs", _taus(table.accuracies(full, seed=1), whole), ""


def _taus(witness: np.ndarray, whole: np.ndarray) -> list[float]:
    rng, known = np.random.default_rng(0), np.flatnonzero(~np.isnan(witness))
    drawn = [rng.choice(known, len(known)) for _ in range(RESAMPLED)]
    taus = [float(kendalltau(witness[rows], whole[rows])[0]) for rows in drawn]
    return [tau for tau in taus if not math.isnan(tau)]
