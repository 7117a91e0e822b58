"""Tabular benchmarks: tables of exhaustively trained search spaces, on which searches are replayed exactly in seconds.

    table = Table.load("benchmarks/tables/digits.parquet")
    replay(table, sampler="tpe", fidelities=1, trials=100, seed=0).hypervolume[-1]

A replay runs the actual search loop (`run`), with table lookups instead of trainings. To replay a custom sampler, use
`table.evaluate` and `table.space` with Optuna.
"""

import dataclasses
import heapq
import itertools
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optuna
from optuna import Trial

from nas.architectures.architecture import Architecture
from nas.architectures.cost import cost
from nas.errors import DataError, MissingExtra
from nas.spaces.search_space import SearchSpace
from nas.strategy.multi_fidelity import schedule_lengths
from nas.strategy.samplers import SpaceExhausted
from nas.strategy.strategy import Strategy
from nas.study.config import StudyConfig
from nas.study.pareto import hypervolume_history
from nas.study.plan import PastTraining, SearchPlan
from nas.study.records import Outcome, TrialRecord, TrialState, trainings_spent
from nas.study.study import Study
from nas.training.objective import TrainingContext, TrainingResult
from nas.workers.loop import run

__all__ = ["Replay", "Table", "TableRow", "replay"]


class TableRow(NamedTuple):
    """A table row: final accuracies in [0, 1], validation accuracy after each epoch, and training time in seconds."""

    accuracy: float
    curve: tuple[float, ...]
    seconds: float
    test_accuracy: float | None


@dataclass(frozen=True)
class Table:
    """The results of training every architecture of a space for each of `lengths` epochs.

    `rows` is keyed by (architecture key, epochs, seed); `about` records the data, the machine and the versions used.
    """

    name: str
    space: SearchSpace
    lengths: tuple[int, ...]
    rows: Mapping[tuple[str, int, int], TableRow]
    about: Mapping[str, Any]

    @classmethod
    def load(cls, file: str | Path) -> "Table":
        """Reads a table written by `benchmarks/tables/make.py`.

        Raises:
            DataError: the file cannot be read, or is not such a table.
            MissingExtra: parquet files need the extra `data`.
        """
        try:
            import pyarrow.parquet
        except ImportError:
            raise MissingExtra("a table", "data") from None
        try:
            content = pyarrow.parquet.read_table(file)
            about = json.loads((content.schema.metadata or {})[b"nas"])
            space = SearchSpace.from_dict(about.pop("space"))
            found = {
                (space.architecture(row).key, row["epochs"], row["seed"]): TableRow(
                    row["accuracy"], tuple(row["curve"]), row["seconds"], row["test_accuracy"]
                )
                for row in content.to_pylist()
            }
        except (OSError, KeyError, ValueError) as error:
            raise DataError(f"{file}: cannot be read as a table of trainings: {error}") from None
        return cls(Path(file).stem, space, tuple(sorted({epochs for _, epochs, _ in found})), found, about)

    @cached_property
    def architectures(self) -> tuple[Architecture, ...]:
        """All architectures, in the order of the space."""
        return tuple(self.space.architecture(point) for point in self.space.points())

    def accuracies(self, epochs: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Returns the accuracies of all architectures, in order; NaN where one lacks this training."""
        rows = [self.rows.get((architecture.key, epochs, seed)) for architecture in self.architectures]
        return np.array([row.accuracy if row else np.nan for row in rows])

    @cached_property
    def seeds(self) -> int:
        """The number of seeds, from 0, with which every training was made."""
        keys = {(architecture.key, length) for architecture in self.architectures for length in self.lengths}
        return next(seed for seed in itertools.count() if not all((*key, seed) in self.rows for key in keys))

    def evaluate(
        self, architecture: Architecture, report: Callable[[int, float], None], *, epochs: int, seed: int = 0
    ) -> float:
        """Looks up a training, reporting its curve; usable as `nas.search(evaluate=...)`."""
        row = self.rows[architecture.key, epochs, seed]
        for epoch, accuracy in enumerate(row.curve, start=1):
            report(epoch, accuracy)
        return row.accuracy

    def hypervolume(self, architectures: Sequence[Architecture | None]) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Returns the hypervolume after each full training, as a fraction of the whole table's.

        The reference point is fixed by the table: its largest FLOPs and its lowest accuracy.

        Args:
            architectures: in order of training; None adds nothing.
        """
        return np.asarray(self._dominated(architectures) / self._dominated(self.architectures)[-1])

    def _dominated(self, architectures: Sequence[Architecture | None]) -> np.ndarray[Any, np.dtype[np.float64]]:
        full = self.lengths[-1]
        flops = [cost(architecture).flops for architecture in self.architectures]
        lowest = float(self.accuracies(full).min())
        return hypervolume_history(
            [self.rows[a.key, full, 0].accuracy if a else lowest for a in architectures],
            [cost(a).flops if a else max(flops) for a in architectures],
            chance=lowest,
            least_flops=min(flops),
            most_flops=max(flops),
        )


class Replay(NamedTuple):
    """A replayed search: cumulative epochs, seconds, and the fraction of the true hypervolume, after each training.

    `proposing` holds the measured seconds per proposal, including the recording of the previous trial; `records` are in
    the order in which the trainings ended.
    """

    epochs: list[int]
    seconds: list[float]
    hypervolume: list[float]
    proposing: list[float]
    records: list[TrialRecord]


def replay(
    table: Table,
    *,
    sampler: str = "front",
    fidelities: int | None = None,
    eta: int = 3,
    stopping: str = "front",
    trials: int = 100,
    prior: Sequence[PastTraining] = (),
    seed: int = 0,
    workers: int = 1,
) -> Replay:
    """Replays a search on a table as `nas.search` would run it on the table's space.

    Args:
        table: the trained space.
        sampler: as in `nas.search`, like `fidelities`, `eta`, `stopping` and `trials`.
        fidelities: number of schedule lengths.
        eta: the factor between schedule lengths.
        stopping: `front` or `none`.
        trials: total budget, in units of one full-length training.
        prior: earlier trainings that the sampler learns from.
        seed: the seed of the sampler, and that of the trainings to look up, modulo the number of the table's seeds.
        workers: number of trainings at a time, each as long as the table says. With several, nothing is stopped early.

    Raises:
        DataError: the table lacks trainings of the schedule's lengths.
    """
    full = table.lengths[-1]
    lengths = schedule_lengths(full, fidelities, eta)
    if not set(lengths) <= set(table.lengths):
        raise DataError(f"{table.name}: has trainings of {table.lengths} epochs, none of some of {lengths}")
    images = table.about["data"]["validation_images"]
    config = StudyConfig(table.space, {"source": "table", "validation_images": images}, seed)
    optuna_study = optuna.create_study(directions=["maximize", "minimize"])
    optuna_study.set_user_attr("nas", config.to_dict())
    study = Study(Path(tempfile.gettempdir()) / table.name, optuna_study, "sqlite://")  # in memory: no folder exists
    plan = SearchPlan(trials, lengths, sampler, eta, stopping, prior=tuple(prior))
    proposing, since, luck = list[float](), time.perf_counter(), seed % table.seeds

    def look_up(architecture: Architecture, context: TrainingContext) -> TrainingResult:
        nonlocal since
        proposing.append(time.perf_counter() - since)
        try:
            return TrainingResult(table.evaluate(architecture, context.report, epochs=context.epochs, seed=luck))
        finally:
            since = time.perf_counter()

    def row_of(record: TrialRecord) -> TableRow:
        return table.rows[record.architecture.key, record.length or full, luck]

    if workers > 1:
        records = _side_by_side(study, plan, row_of, workers)
    else:
        run(study, look_up, plan)
        records, clock = [], 0.0
        for record in study.records():  # with the table's times instead of the clock's
            row = row_of(record)
            seconds = row.seconds * len(record.curve) / len(row.curve)
            clock += seconds
            records.append(dataclasses.replace(record, seconds=seconds, ended=clock))
    return Replay(
        np.cumsum([record.epochs_spent(full) for record in records]).tolist(),
        [record.ended or 0.0 for record in records],
        table.hypervolume([r.architecture if r.state == TrialState.COMPLETE else None for r in records]).tolist(),
        proposing,
        records,
    )


def _side_by_side(
    study: Study, plan: SearchPlan, row_of: Callable[[TrialRecord], TableRow], workers: int
) -> list[TrialRecord]:
    """Simulates several workers, each of which asks as soon as its training has ended, on a common clock."""
    strategy, full = Strategy(study.config, plan), study.config.space.recipe.epochs
    running, ended, clock = list[tuple[float, int, Trial, TrialRecord]](), list[TrialRecord](), 0.0
    while True:
        in_hand = sum(record.length or full for *_, record in running)
        if len(running) < workers and trainings_spent(ended, full) + in_hand / full < plan.trials:
            with suppress(SpaceExhausted):
                trial, record = study.ask(strategy.chooser(study.records()), lengths=len(plan.lengths) > 1)
                heapq.heappush(running, (clock + row_of(record).seconds, record.trial, trial, record))
                continue
        if not running:
            return ended
        clock, _, trial, record = heapq.heappop(running)
        row = row_of(record)
        told = study.tell(trial, Outcome(row.accuracy, row.seconds, row.curve))
        ended.append(dataclasses.replace(told, ended=clock))
