"""Searches with several schedule lengths, from Python and end to end."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

import nas
from nas import Architecture, NasError, Recipe, SearchSpace
from nas.cli.tables import headline
from nas.exporters.bundle import CARD_FILE
from nas.study.records import TrialState, front_of
from nas.units import epochs_text
from tests.helpers import Ran, formula

Report = Callable[[int, float], None]


@pytest.fixture
def nine(tiny: SearchSpace) -> SearchSpace:
    return tiny.with_changes(recipe=Recipe(epochs=9, batch_size=64))


def timed(architecture: Architecture, report: Report, *, epochs: int) -> float:
    """One's own training that is told for how long to train: the longer, the better."""
    final = formula(architecture, lambda *_: None)
    for epoch in range(1, epochs + 1):
        report(epoch, final - 0.02 * (9 - epoch))
    return final - 0.02 * (9 - epochs)


def finished(study: nas.Study) -> list[tuple[str, int | None, float | None]]:
    return [(record.architecture.key, record.length, record.accuracy) for record in study.records() if record.finished]


@pytest.mark.parametrize("sampler", ["front", "tpe"])
def test_short_trainings_come_first_and_optuna_sees_the_full_ones_alone(
    tmp_path: Path, nine: SearchSpace, sampler: str
) -> None:
    study = nas.search(nine, trials=12, runs=tmp_path, name="s", evaluate=timed, sampler=sampler)
    records = study.records()
    assert {record.length for record in records} <= {1, 3, 9}
    assert [record.state for record in records] == [
        TrialState.SHORT if record.length != 9 else TrialState.COMPLETE for record in records
    ]
    assert all(record.accuracy is not None and len(record.curve) == record.length for record in records)
    assert all(record.trained for record in study.front())
    spent = sum(len(record.curve) for record in records)
    assert 12 * 9 <= spent < 13 * 9
    opened = optuna.load_study(study_name="s", storage=study.optuna_study._storage)
    assert all(trial.state.name == ("COMPLETE" if trial.params["epochs"] == 9 else "PRUNED") for trial in opened.trials)
    whole = [record for record in records if record.length == 9]
    assert {trial.number for trial in opened.best_trials} == {record.trial for record in front_of(whole)}


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["front", "random"])
def test_an_interrupted_search_with_lengths_goes_on_as_if_undisturbed(
    tmp_path: Path, nine: SearchSpace, sampler: str
) -> None:
    options: dict[str, Any] = {"trials": 8, "runs": tmp_path, "sampler": sampler, "fidelities": 3}
    whole = nas.search(nine, name="whole", evaluate=timed, **options)
    calls = []

    def interrupted(architecture: Architecture, report: Report, *, epochs: int) -> float:
        calls.append(architecture.key)
        if len(calls) in (5, 12, 16):
            raise KeyboardInterrupt
        return timed(architecture, report, epochs=epochs)

    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            nas.search(nine, name="parts", evaluate=interrupted, **options)
    parts = nas.search(nine, name="parts", evaluate=interrupted, **options)
    assert finished(parts) == finished(whole)
    assert nas.Study.open("parts", tmp_path).records() == parts.records()


def test_real_short_trainings_are_annealed_to_their_end_and_exported(tmp_path: Path, nine: SearchSpace) -> None:
    study = nas.search(nine, "digits", trials=2, runs=tmp_path, name="s", device="cpu", max_images=400, keep="all")
    short = [record for record in study.records() if record.state == TrialState.SHORT]
    assert short
    exported = nas.export(study, tmp_path / "out", trial=short[0].trial, formats=["safetensors"])
    assert f"{epochs_text(short[0].length or 0)} of batches" in (exported.folder / CARD_FILE).read_text()
    assert all(len(record.curve) == record.length for record in short)
    data = nas.load_data("digits", nine.input, max_images=400)
    from nas.training.train import on_device, train

    recipe = Recipe(epochs=short[0].length or 0, batch_size=64)
    again = train(short[0].architecture, on_device(data, recipe, "cpu"), recipe)
    assert again.curve == short[0].curve  # a schedule of its own, not the beginning of a longer one


def test_a_search_may_change_its_lengths_when_it_goes_on(tmp_path: Path, nine: SearchSpace) -> None:
    nas.search(nine, trials=4, runs=tmp_path, name="s", evaluate=timed, fidelities=1)
    nas.search(nine, trials=8, runs=tmp_path, name="s", evaluate=timed, fidelities=3)
    study = nas.search(nine, trials=10, runs=tmp_path, name="s", evaluate=timed, fidelities=2, eta=2)
    lengths = [record.length for record in study.records()]
    assert lengths[:4] == [None] * 4
    assert {1, 9} <= set(lengths) <= {None, 1, 3, 4, 9}
    assert len({(r.architecture.key, r.length or 9) for r in study.records()}) == len(lengths)


@pytest.mark.slow
def test_full_trainings_alone_may_follow_short_ones(tmp_path: Path, nine: SearchSpace) -> None:
    nas.search(nine, trials=3, runs=tmp_path, name="s", evaluate=timed, fidelities=3)
    study = nas.search(nine, trials=60, runs=tmp_path, name="s", evaluate=timed, fidelities=1)
    short = {record.architecture.key for record in study.records() if record.state == TrialState.SHORT}
    complete = [record.architecture.key for record in study.records() if record.state == TrialState.COMPLETE]
    assert len(set(complete)) == len(complete)
    assert short & set(complete)  # what was only trained short is as open as what was never trained
    assert not any(record.avoided for record in study.records())


def test_one_s_own_training_that_takes_no_epochs_is_searched_at_full_length(tmp_path: Path, nine: SearchSpace) -> None:
    study = nas.search(nine, trials=3, runs=tmp_path, name="s", evaluate=formula)
    assert [record.length for record in study.records()] == [None] * 3
    with pytest.raises(NasError, match="fidelities=3: evaluate takes no keyword 'epochs'"):
        nas.search(nine, trials=3, runs=tmp_path, name="t", evaluate=formula, fidelities=3)


def test_a_training_beyond_hope_is_stopped_and_costs_what_it_trained(tmp_path: Path, nine: SearchSpace) -> None:
    def at_chance(architecture: Architecture, report: Report, *, epochs: int) -> float:
        for epoch in range(1, epochs + 1):
            report(epoch, 0.1)
        return 0.1

    stopped = nas.search(nine, trials=2, runs=tmp_path, name="s", evaluate=at_chance, fidelities=1)
    records = stopped.records()
    assert {(record.state, record.reason, len(record.curve)) for record in records} == {
        (TrialState.STOPPED, "at_chance", 5)
    }
    assert len(records) == 4  # two trainings' worth of epochs, at five of nine each
    let_be = nas.search(nine, trials=2, runs=tmp_path, name="t", evaluate=at_chance, fidelities=1, stopping="none")
    assert {record.state for record in let_be.records()} == {TrialState.COMPLETE}


def test_patience_ends_a_search_that_has_settled(tmp_path: Path, tiny: SearchSpace) -> None:
    study = nas.search(tiny, trials=60, runs=tmp_path, name="s", evaluate=lambda *_: 0.5, patience=5)
    assert 6 <= len(study.records()) < 40
    state = study.attributes.search
    assert state is not None
    assert state.state == "settled"


def test_an_earlier_study_warms_the_model_and_is_no_part_of_the_new_one(tmp_path: Path, nine: SearchSpace) -> None:
    earlier = nas.search(nine, trials=20, runs=tmp_path, name="earlier", evaluate=timed)
    warm = nas.search(nine, trials=4, runs=tmp_path, name="warm", evaluate=timed, warm_start="earlier")
    cold = nas.search(nine, trials=4, runs=tmp_path, name="cold", evaluate=timed)
    assert finished(warm) != finished(cold)
    assert len(warm.records()) < 20
    assert headline(warm).endswith(f" 9 epochs; learning from {len(earlier.records())} trainings of an earlier study")
    assert not headline(cold).endswith("study")
    other = nas.load_space("regnet")
    with pytest.raises(NasError, match=r"warm_start='earlier': its space has no choice of \w+\.\w+ and this one"):
        nas.search(other, trials=1, runs=tmp_path, name="t", evaluate=formula, warm_start="earlier")
    with pytest.raises(NasError, match="warm_start='earlier': its networks are judged by accuracy, and those of this"):
        by: Any = {"metric": "macro_f1"}
        nas.search(nine, trials=1, runs=tmp_path, name="t", evaluate=timed, warm_start="earlier", recipe=by)
    with pytest.raises(NasError, match="warm_start='earlier': the sampler tpe learns from no other study; front does"):
        nas.search(nine, trials=1, runs=tmp_path, name="t", evaluate=timed, warm_start="earlier", sampler="tpe")
    nas.search(nine, trials=1, runs=tmp_path, name="one", evaluate=timed, fidelities=1, sampler="random")
    least = str(nine.least_cost[0])
    with pytest.raises(NasError, match="warm_start='one': none of its 1 trained networks is in this space and its"):
        nas.search(nine, trials=1, runs=tmp_path, name="t", evaluate=timed, warm_start="one", max_flops=least)
    with pytest.raises(NasError, match="no study 'nowhere'"):
        nas.search(nine, trials=1, runs=tmp_path, name="u", evaluate=timed, warm_start="nowhere")
    assert not (tmp_path / "u").exists()  # refused before anything is written


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--eta", "1"), "eta=1: must be from 2"),
        (("--fidelities", "4"), "fidelities=4: 9 epochs divided by eta=3 allow at most 3"),
        (("--fidelities", "0"), "fidelities=0"),
        (("--stopping", "frnt"), "stopping='frnt': must be one of front, none; did you mean 'front'?"),
        (("--patience", "0"), "patience=0"),
        (("--warm-start", "nowhere"), "no study 'nowhere'"),
    ],
)
def test_options_that_cannot_be_are_one_line(
    nas_command: Callable[..., Ran], tmp_path: Path, args: tuple[str, ...], message: str
) -> None:
    ran = nas_command("search", "--epochs", 9, "--trials", 1, "--runs", tmp_path, *args)
    assert ran.code == 2
    assert message in ran.err
    assert ran.err.count("\n") == 1


@pytest.mark.slow
def test_the_terminal_says_what_was_done_and_how_well_short_trainings_foretold(
    nas_command: Callable[..., Ran], tmp_path: Path, nine: SearchSpace
) -> None:
    nas.search(nine, trials=30, runs=tmp_path, name="s", evaluate=timed, fidelities=3)
    report = nas_command("front", "--report", "--runs", tmp_path).out
    assert "Kendall's τ" in report
    [one, *_] = json.loads(nas_command("front", "--report", "--json", "--runs", tmp_path).out)
    assert one["length"] in (1, 3)
    assert one["tau"] == pytest.approx(1)  # by the formula they foretell everything
    assert not one["misleads"]
    assert "short: 1 epoch" in nas_command("trials", "--runs", tmp_path).out
    searched = nas_command(
        "search", "--trials", 3, "--epochs", 9, "--runs", tmp_path, "--study", "real", "--device", "cpu"
    )
    assert "short (3 of 9 epochs)" in searched.out
    assert "after 3 epochs" in searched.out
