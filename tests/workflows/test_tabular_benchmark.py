import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import nas
from nas import SearchSpace, cost
from nas.errors import DataError
from nas.study.records import TrialState
from nas.workflows.tabular_benchmark import Table, replay
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
    assert len(table.architectures) >= 300
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
