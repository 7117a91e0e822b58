import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import nas
from benchmarks.judge import Judge
from nas import SearchSpace, cost
from nas.errors import DataError
from nas.study.records import TrialRecord, TrialState
from nas.workflows.tabular_benchmark import Table, TableRow, replay
from tests.helpers import formula
from tests.test_structure import ROOT

TABLES = sorted((ROOT / "benchmarks" / "tables").glob("*.parquet"))


def written(space: SearchSpace, file: Path) -> Table:
    """A table by a formula, of 1 and 3 epochs, in the file format of the real ones."""
    rows = []
    for point in space.points():
        architecture = space.architecture(point)
        final = formula(architecture, lambda *_: None)
        for epochs in (1, 3):
            curve = [final - 0.1 * (3 - epoch) for epoch in range(1, epochs + 1)]
            row = {"epochs": epochs, "seed": 0, "accuracy": curve[-1], "curve": curve, "test_accuracy": None}
            rows.append({**point, **row, "seconds": 2.0 * epochs})
    about = {"space": space.to_dict(), "data": {"validation_images": 500}}
    table = pa.Table.from_pylist(rows).replace_schema_metadata({"nas": json.dumps(about)})
    pq.write_table(table, file)
    return Table.load(file)


@pytest.fixture
def table(tiny: SearchSpace, tmp_path: Path) -> Table:
    space = tiny.with_changes(recipe=nas.Recipe(epochs=3))
    return written(space, tmp_path / "formula.parquet")


def test_a_table_holds_every_architecture(table: Table) -> None:
    assert len(table.architectures) == table.space.valid
    assert table.lengths == (1, 3)
    assert table.rows[table.architectures[0].key, 3, 0].seconds == 6.0
    assert np.isnan(table.accuracies(3, seed=1)).all()
    assert not np.isnan(table.accuracies(1)).any()


def test_the_whole_table_is_the_whole_hypervolume(table: Table) -> None:
    assert table.hypervolume(table.architectures)[-1] == pytest.approx(1)
    assert table.hypervolume([None])[-1] == 0
    best = max(table.architectures, key=lambda a: table.rows[a.key, 3, 0].accuracy)
    assert 0 < table.hypervolume([None, best])[-1] < 1


@pytest.mark.slow
def test_a_replay_trains_to_the_end_and_counts_what_it_spent(table: Table) -> None:
    replayed = replay(table, sampler="random", fidelities=1, trials=table.space.valid + 5, seed=3)
    assert len(replayed.records) == table.space.valid
    assert replayed.hypervolume[-1] == pytest.approx(1)
    assert replayed.epochs[-1] == 3 * table.space.valid
    assert replayed.seconds[-1] == pytest.approx(6.0 * table.space.valid)
    assert {record.state for record in replayed.records} == {TrialState.COMPLETE}
    assert all(record.flops == cost(record.architecture).flops for record in replayed.records)


@pytest.mark.parametrize("sampler", ["front", "random", "tpe"])
def test_a_replay_with_lengths_promotes(table: Table, sampler: str) -> None:
    replayed = replay(table, sampler=sampler, fidelities=2, trials=20, seed=0)
    assert {record.state for record in replayed.records} <= {TrialState.COMPLETE, TrialState.SHORT, TrialState.STOPPED}
    short = {record.architecture.key for record in replayed.records if record.state == TrialState.SHORT}
    promoted = [
        record
        for record in replayed.records
        if record.state == TrialState.COMPLETE and record.architecture.key in short
    ]
    assert short
    assert (
        promoted or sampler == "front"
    )  # which may find that full trainings promise more, at only three times the price
    assert len({(record.architecture.key, record.length) for record in replayed.records}) == len(replayed.records)
    assert 60 <= replayed.epochs[-1] < 63


@pytest.mark.slow
def test_a_space_with_lengths_is_trained_to_its_last_architecture(tiny: SearchSpace, tmp_path: Path) -> None:
    stages = (replace(tiny.stages[0], mid=(8, 16), groups=(1, 3)), replace(tiny.stages[1], mid=(8, 16), out=(16,)))
    space = tiny.with_changes(stages=stages, recipe=nas.Recipe(epochs=3))
    table = written(space, tmp_path / "small.parquet")
    for sampler in ("front", "random"):
        replayed = replay(table, sampler=sampler, fidelities=2, trials=10_000, seed=0, stopping="none")
        complete = [record for record in replayed.records if record.state == TrialState.COMPLETE]
        assert len({record.architecture.key for record in complete}) == len(complete) == table.space.valid


def test_a_replay_is_repeatable(table: Table) -> None:
    first, second = (replay(table, fidelities=2, trials=10, seed=4).hypervolume for _ in range(2))
    assert first == second
    assert replay(table, fidelities=2, trials=10, seed=5).hypervolume != first


@pytest.mark.parametrize("sampler", ["front", "random"])
def test_several_workers_train_side_by_side_and_repeat_nothing(table: Table, sampler: str) -> None:
    alone, together = (replay(table, sampler=sampler, trials=20, seed=4, workers=n) for n in (1, 4))
    assert [record.ended for record in together.records] == together.seconds == sorted(together.seconds)
    assert len({(record.architecture.key, record.length) for record in together.records}) == len(together.records)
    assert 20 * 3 <= together.epochs[-1] < 20 * 3 + 4 * 3
    assert together.seconds[-1] < 0.35 * alone.seconds[-1]
    assert together.epochs == replay(table, sampler=sampler, trials=20, seed=4, workers=4).epochs


def test_several_workers_end_once_everything_is_trained(table: Table) -> None:
    whole = replay(table, sampler="random", fidelities=1, trials=10_000, seed=0, workers=3)
    assert len(whole.records) == table.space.valid


def row(accuracy: float, test_accuracy: float | None) -> TableRow:
    return TableRow(accuracy, (accuracy,), 1.0, test_accuracy)


def test_the_judge_knows_the_mean_over_seeds_on_test_images(table: Table) -> None:
    lucky, other = table.architectures[:2]
    rows = {
        (a.key, length, seed): row(0.9 if (a, seed) == (lucky, 0) else 0.6, 0.7 if a == lucky else 0.5)
        for a in table.architectures
        for length in table.lengths
        for seed in range(3)
    }
    judge = Judge(replace(table, rows=rows))
    assert judge.table.seeds == 3
    easier = np.mean([each.accuracy - each.test_accuracy for each in rows.values() if each.test_accuracy])
    assert judge.truth[lucky.key, 3] - easier == pytest.approx(0.7)
    assert judge.truth[other.key, 3] - easier == pytest.approx(0.5)


def test_the_judge_gives_what_is_taken_home_its_true_worth(table: Table) -> None:
    by_cost = sorted(table.architectures, key=lambda a: cost(a).flops)
    cheap, middle, dear = by_cost[0], by_cost[len(by_cost) // 2], by_cost[-1]
    true = {a.key: {cheap: 0.6, middle: 0.8}.get(a, 0.5) for a in table.architectures}
    rows = {(key, n, seed): row(value, value) for key, value in true.items() for n in (1, 3) for seed in range(3)}
    judge = Judge(replace(table, rows=rows))

    def said(**accuracies: float) -> list[TrialRecord]:
        networks = {"cheap": cheap, "middle": middle, "dear": dear}
        return [
            TrialRecord(number, TrialState.COMPLETE, networks[name], value)
            for number, (name, value) in enumerate(accuracies.items())
        ]

    assert judge.share([]) == 0
    assert judge.share(said(cheap=0.6, middle=0.8)) == pytest.approx(1)
    first, second = (np.log(cost(b).flops / cost(a).flops) for a, b in ((cheap, middle), (middle, dear)))
    assert judge.share(said(cheap=0.99, middle=0.8)) == pytest.approx(
        0.1 * (first + second) / (0.1 * first + 0.3 * second)
    )
    assert judge.optimism(said(cheap=0.99, middle=0.8)) == pytest.approx(0.39)
    assert judge.share(said(middle=0.8, dear=0.9)) == pytest.approx(0.3 * second / (0.1 * first + 0.3 * second))


def test_what_is_no_table_is_one_line(tmp_path: Path, table: Table) -> None:
    with pytest.raises(DataError, match=r"nowhere\.parquet: cannot be read"):
        Table.load(tmp_path / "nowhere.parquet")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(DataError, match=r"other\.parquet: cannot be read as a table of trainings"):
        Table.load(tmp_path / "other.parquet")
    with pytest.raises(DataError, match=r"none of some of \(2, 3\)"):
        replay(table, fidelities=2, eta=2)


@pytest.mark.slow
@pytest.mark.parametrize("file", TABLES, ids=lambda file: file.stem)
def test_the_tables_are_whole_and_ours_finds_their_fronts_sooner(file: Path) -> None:
    """A quarter of a search, by its median over a few seeds: at most a minute for all tables."""
    table = Table.load(file)
    assert len(table.rows) >= 1000
    assert file.stat().st_size < 2_000_000
    for epochs in table.lengths:
        assert not np.isnan(table.accuracies(epochs)).any()
    assert (~np.isnan(table.accuracies(table.lengths[-1], seed=1))).sum() >= 50
    reached = {
        sampler: np.median(
            [
                replay(table, sampler=sampler, fidelities=lengths, trials=25, seed=seed).hypervolume[-1]
                for seed in range(3)
            ]
        )
        for sampler, lengths in (("front", None), ("random", 1))
    }
    assert reached["front"] > reached["random"]
