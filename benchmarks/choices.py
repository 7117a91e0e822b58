"""Ablation of the sampler: what its reports are worth with each design choice replaced.

By estimates (see `benchmarks.judge`), on cifar16-12, on which nothing but the number of lengths was chosen, after 5 to
30 trainings' worth of epochs: over ten seeds.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import numpy as np
import optuna

from benchmarks.judge import Judge
from benchmarks.search import TABLES
from nas.strategy import acquisition, front_model, front_sampler
from nas.study.plan import PastTraining
from nas.study.records import TrialRecord
from nas.surrogate import gaussian_process
from nas.workflows.tabular_benchmark import Table, replay

SEEDS, TRIALS, AT = 10, 30, (5, 10, 20, 30)
KEPT = 0.8
"""Share of a short training that a promotion could go on from, had it a constant rate until then
(`benchmarks.branches`)."""
LIKELIHOOD_ALONE = {"AMPLITUDE": (0.0, 100.0), "LENGTH_SCALE": (0.0, 100.0), "NOISE": (-1.2, 100.0)}


def measure() -> Iterator[tuple[str, list[float], str]]:
    """Per cent of what a report can be worth, a figure for each seed."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table = Table.load(TABLES / "cifar16-12.parquet")
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
            yield from _reached(table, name, {"fidelities": 2})
    yield from _reached(table, "as it is, were promotions to go on from short trainings", {"fidelities": 2}, kept=KEPT)
    yield from _reached(table, "three lengths", {"fidelities": 3})
    yield from _reached(table, "full trainings alone", {"fidelities": 1})
    digits = Table.load(TABLES / "digits-27.parquet")
    yield from _reached(digits, "digits-27, cold", {"fidelities": 2})
    chosen = np.random.default_rng(0).choice(len(digits.architectures), 40, replace=False)
    earlier = [digits.architectures[index] for index in chosen]
    prior = [PastTraining(digits.space.point(a), None, digits.rows[a.key, 9, 0].accuracy) for a in earlier]
    yield from _reached(digits, "digits-27, warm from 40 trainings of 9 epochs", {"fidelities": 2, "prior": prior})


def _short(strata: Sequence[int]) -> tuple[tuple[int, float], ...]:
    """Returns the start of a search with a short training from each of some strata."""
    return tuple((stratum, front_sampler.SHORTEST) for stratum in strata)


def _reached(
    table: Table, name: str, options: dict[str, Any], *, kept: float = 0.0
) -> Iterator[tuple[str, list[float], str]]:
    judge = Judge(table)
    replays = [replay(table, trials=TRIALS, seed=seed, stopping="none", **options).records for seed in range(SEEDS)]
    for at in AT:
        within = [records[: _ended(records, at, table.lengths[-1], kept)] for records in replays]
        yield f"{name}: after {at}", [100 * judge.share(judge.estimated(records)) for records in within], "%"


def _ended(records: Sequence[TrialRecord], trainings: int, full: int, kept: float) -> int:
    """Returns how many trainings end within the epochs of some full ones, if promotions keep a share of the last."""
    before, spent = dict[str, int](), list[float]()
    for record in records:
        key, length = record.architecture.key, record.length or full
        spent.append(length - kept * before.get(key, 0))
        before[key] = length
    return int(np.searchsorted(np.cumsum(spent) / full, trainings + 1e-9, side="right"))
