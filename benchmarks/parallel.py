"""What several workers lose against one at equal trainings: searches replayed on the tables side by side.

Each of the workers asks for its next training as soon as the last one has ended; trainings take as long as the table
says. What runs is believed to end as the model predicts. Reports are judged by `benchmarks.judge`, ten seeds; a loss is
the difference of the means over seeds, in per cent of what one worker has.
"""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context
from statistics import fmean

import numpy as np
import optuna

from benchmarks.judge import Judge
from benchmarks.search import TABLES
from benchmarks.trend import NAMES
from nas.workflows.tabular_benchmark import Table, replay

SEEDS, TRIALS = 10, 50
AT = (12, 25, 50)
WORKERS = (1, 4, 8, 16)


def measure() -> Iterator[tuple[str, list[float], str]]:
    """The loss on each table, of the hypervolume that was measured and of what is reported."""
    jobs = list(product(NAMES, WORKERS, range(SEEDS)))
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        found = dict(zip(jobs, pool.map(_reached, *zip(*jobs, strict=True)), strict=True))
    for place, at in enumerate(AT):
        for workers in WORKERS[1:]:
            for what in ("hypervolume", "reported front"):
                losses = []
                for name in NAMES:
                    one, many = (
                        fmean(found[name, n, seed][what][place] for seed in range(SEEDS)) for n in (1, workers)
                    )
                    losses.append(100 * (1 - many / one))
                yield f"{workers} workers, after {at}: loss of the {what}", losses, "%"


def _reached(name: str, workers: int, seed: int) -> dict[str, list[float]]:
    """The shares reached after `AT` full trainings' worth of epochs."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table = Table.load(TABLES / f"{name}.parquet")
    judge, ran = Judge(table), replay(table, trials=TRIALS, seed=seed, workers=workers)
    spent = np.array(ran.epochs) / table.lengths[-1]
    until = [int(np.searchsorted(spent, at + 1e-9, side="right")) for at in AT]
    return {
        "hypervolume": [ran.hypervolume[number - 1] for number in until],
        "reported front": [judge.share(judge.estimated(ran.records[:number])) for number in until],
    }
