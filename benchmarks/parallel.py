"""What several workers lose against one at equal trainings: searches replayed on the tables side by side.

Each of the workers asks for its next training as soon as the last one has ended; trainings take as long as the table
says. What runs is believed to end as the model predicts. Reports are judged by `benchmarks.judge`, ten seeds; a loss is
the difference of the means over seeds, in per cent of what one worker has.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product
from multiprocessing import get_context
from statistics import fmean

import numpy as np
import optuna

from benchmarks.judge import Judge
from benchmarks.search import TABLES
from benchmarks.trend import OLDER
from nas.workflows.tabular_benchmark import Table, replay

SEEDS = 10
MOMENTS = {(4, 8, 16): (12, 25, 50), (64,): (100, 200)}
"""Numbers of workers, and after how many full trainings' worth of epochs they are compared with one."""


def measure() -> Iterator[tuple[str, list[float], str]]:
    """The loss on each table, of the hypervolume that was measured and of what is reported."""
    for workers, moments in MOMENTS.items():
        jobs = list(product(OLDER, (1, *workers), range(SEEDS)))
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
            reached = pool.map(partial(_reached, moments=moments), *zip(*jobs, strict=True))
            found = dict(zip(jobs, reached, strict=True))
        for place, at in enumerate(moments):
            for number in workers:
                for what in ("hypervolume", "reported front"):
                    losses = []
                    for name in OLDER:
                        one, many = (
                            fmean(found[name, n, seed][what][place] for seed in range(SEEDS)) for n in (1, number)
                        )
                        losses.append(100 * (1 - many / one))
                    yield f"{number} workers, after {at}: loss of the {what}", losses, "%"


def _reached(name: str, workers: int, seed: int, moments: Sequence[int]) -> dict[str, list[float]]:
    """The shares reached after some full trainings' worth of epochs."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table = Table.load(TABLES / f"{name}.parquet")
    judge, ran = Judge(table), replay(table, trials=moments[-1], seed=seed, workers=workers)
    spent = np.array(ran.epochs) / table.lengths[-1]
    until = [int(np.searchsorted(spent, at + 1e-9, side="right")) for at in moments]
    return {
        "hypervolume": [ran.hypervolume[number - 1] for number in until],
        "reported front": [judge.share(judge.estimated(ran.records[:number])) for number in until],
    }
