"""Ablation of the sampler: the share of the true hypervolume with each design choice replaced.

On cifar16-9, the table on which they were made, after 10, 20 and 30 trainings' worth of epochs: over ten seeds.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import numpy as np
import optuna

from benchmarks.search import TABLES
from nas.strategy import acquisition, front_model, front_sampler
from nas.study.plan import PastTraining
from nas.surrogate import gaussian_process
from nas.workflows.tabular_benchmark import Table, replay

SEEDS, TRIALS, AT = 10, 30, (10, 20, 30)
LIKELIHOOD_ALONE = {"AMPLITUDE": (0.0, 100.0), "LENGTH_SCALE": (0.0, 100.0), "NOISE": (-1.2, 100.0)}


def measure() -> Iterator[tuple[str, list[float], str]]:
    """Per cent of the true hypervolume, a figure for each seed."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table = Table.load(TABLES / "cifar16-9.parquet")
    gain_per_epoch = acquisition.gain_per_epoch

    def cheaper(share: float) -> Callable[..., Any]:
        return lambda gains, short, full: gain_per_epoch(gains, short=share * short, full=full)

    variants: dict[str, list[Any]] = {
        "as it is": [],
        "hyperparameters by likelihood alone": [
            patch.object(gaussian_process, name, prior) for name, prior in LIKELIHOOD_ALONE.items()
        ],
        "short trainings at half their price": [patch.object(front_model, "gain_per_epoch", cheaper(0.5))],
        "short trainings at twice their price": [patch.object(front_model, "gain_per_epoch", cheaper(2.0))],
        "no full training at the start": [patch.object(front_sampler, "START", _short((0, 5, 2, 3, 1, 4)))],
        "one full training at the start, the last": [
            patch.object(front_sampler, "START", (*_short((0, 5, 2, 3, 1, 4)), (1, front_sampler.FULL)))
        ],
        "a start of 12 short trainings": [
            patch.object(front_sampler, "STRATA", 12),
            patch.object(front_sampler, "START", _short((0, 11, 5, 8, 2, 3, 6, 9, 1, 4, 7, 10))),
        ],
    }
    for name, patches in variants.items():
        with ExitStack() as stack:
            for one in patches:
                stack.enter_context(one)
            yield from _reached(table, name, {"fidelities": 3})
    yield from _reached(table, "full trainings alone", {"fidelities": 1})
    digits = Table.load(TABLES / "digits-27.parquet")
    yield from _reached(digits, "digits-27, cold", {"fidelities": 3})
    chosen = np.random.default_rng(0).choice(len(digits.architectures), 40, replace=False)
    earlier = [digits.architectures[index] for index in chosen]
    prior = [PastTraining(digits.space.point(a), None, digits.rows[a.key, 9, 0].accuracy) for a in earlier]
    yield from _reached(digits, "digits-27, warm from 40 trainings of 9 epochs", {"fidelities": 3, "prior": prior})


def _short(strata: Sequence[int]) -> tuple[tuple[int, float], ...]:
    """Returns the start of a search with a short training from each of some strata."""
    return tuple((stratum, front_sampler.SHORTEST) for stratum in strata)


def _reached(table: Table, name: str, options: dict[str, Any]) -> Iterator[tuple[str, list[float], str]]:
    replays = [replay(table, trials=TRIALS, seed=seed, stopping="none", **options) for seed in range(SEEDS)]
    for at in AT:
        reached = []
        for one in replays:
            until = int(np.searchsorted(np.array(one.epochs) / table.lengths[-1], at + 1e-9, side="right")) - 1
            reached.append(100 * one.hypervolume[until])
        yield f"{name}: after {at}", reached, "%"
