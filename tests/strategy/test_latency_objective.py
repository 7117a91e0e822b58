"""Searches for the accuracy–latency front, and latencies that are measured once a search has ended."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest

import nas
from nas import Architecture, NasError, SearchSpace, Study
from nas.analysis.confirmation import Repetitions, confirmations, front_rows
from nas.analysis.convergence import history
from nas.analysis.cost_metrics import FLOPS, LATENCY, cost_metrics_of, default_cost_metric
from nas.analysis.front import front_numbers
from nas.analysis.requirements import Limit, Requirements
from nas.analysis.selection import choose, pick
from nas.analysis.significance import contenders
from nas.architectures import latency as latency_module
from nas.architectures.cost import cost
from nas.architectures.latency import Latency
from nas.errors import InvalidValue, StudyError
from nas.strategy import latency_objective as latency_objective_module
from nas.strategy.latency_objective import SAMPLE, latency_on, measure_front, sampled
from nas.strategy.multi_fidelity import promotion
from nas.strategy.stopping import StopRule
from nas.study.config import StudyConfig
from nas.study.records import LATENCY_KEY, TrialRecord, TrialState, front_of
from nas.workers.join import join
from tests.helpers import Ran, formula

BY_LATENCY = "accuracy,latency"


def milliseconds(architecture: Architecture) -> float:
    """A device on which depth costs more than FLOPs, so that the two fronts differ."""
    return 0.1 * len(cost(architecture).layers) + cost(architecture).flops / 1e7


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Architecture]:
    """What is measured from now on, in the place of a device that other programs disturb."""
    asked: list[Architecture] = []

    def measure(architecture: Architecture, **_: Any) -> Latency:
        asked.append(architecture)
        taken = milliseconds(architecture)
        return Latency(1, taken, taken, taken, 10, "a device of its own")

    monkeypatch.setattr(latency_module, "measure_latency", measure)
    return asked


def searched(runs: Path, tiny: SearchSpace, *, trials: int = 6, **also: Any) -> Study:
    settings: dict[str, Any] = {"objectives": BY_LATENCY, "evaluate": formula, "name": "s", "device": "cpu", **also}
    return nas.search(tiny, trials=trials, runs=runs, **settings)


def record(number: int, tiny: SearchSpace, accuracy: float, latency: float | None, **also: Any) -> TrialRecord:
    point = list(tiny.points())[number]
    measures = {LATENCY_KEY: latency} if latency is not None else {}
    also = {"state": "complete", "objective": "latency", "measures": measures, **also}
    return TrialRecord(number, architecture=tiny.architecture(point), accuracy=accuracy, **also)


@pytest.mark.parametrize("sampler", ["front", "tpe"])
def test_a_search_for_latency_measures_each_network_before_it_is_trained(
    tmp_path: Path, tiny: SearchSpace, measured: list[Architecture], sampler: str
) -> None:
    trained: list[Architecture] = []

    def training(architecture: Architecture, report: Callable[[int, float], None]) -> float:
        assert measured[-1] == architecture
        trained.append(architecture)
        return formula(architecture, report)

    study = searched(tmp_path, tiny, evaluate=training, sampler=sampler)
    records = study.records()
    assert measured == [*sampled(tiny, seed=0), *trained]
    assert [found.objective_cost for found in records] == [milliseconds(found.architecture) for found in records]
    assert study.front() == front_of(records, by=LATENCY.value)
    assert study.optuna_study.metric_names == ["accuracy", "latency"]
    told = [trial.values for trial in study.optuna_study.get_trials()]
    assert told == [[found.accuracy, found.measures[LATENCY_KEY]] for found in records]
    assert study.config.objective == "latency"


@pytest.mark.slow
def test_the_device_s_own_latencies_do_as_well(tmp_path: Path, tiny: SearchSpace) -> None:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # beside other programs, two that wait for each other take a hundred times as long
    try:
        study = searched(tmp_path, tiny, trials=3, data="digits", evaluate=None, epochs=1)
    finally:
        torch.set_num_threads(threads)
    assert all((found.objective_cost or 0) > 0 for found in study.records())
    model = study.attributes.latency_model
    assert model is not None
    assert model.device == "CPU, 1 thread"
    assert 0 < model.least < model.most


def test_a_resumed_search_has_the_same_model_and_measures_no_sample(
    tmp_path: Path, tiny: SearchSpace, measured: list[Architecture]
) -> None:
    model = searched(tmp_path, tiny, trials=3).attributes.latency_model
    assert len(measured) == SAMPLE + 3
    study = nas.search(trials=5, name="s", runs=tmp_path, evaluate=formula, device="cpu")  # the study's own objective
    assert len(measured) == SAMPLE + 5
    assert study.attributes.latency_model == model
    whole = searched(tmp_path, tiny, trials=5, name="whole")
    assert [found.architecture for found in whole.records()] == [found.architecture for found in study.records()]


def test_another_device_does_not_go_on(
    tmp_path: Path, tiny: SearchSpace, measured: list[Architecture], monkeypatch: pytest.MonkeyPatch
) -> None:
    searched(tmp_path, tiny, trials=2)
    monkeypatch.setattr(latency_objective_module, "in_words", lambda _: "another one")
    with pytest.raises(StudyError, match=r"its latencies are those of CPU, .* and device='cpu' is another one"):
        searched(tmp_path, tiny, trials=3)


def test_the_objective_is_part_of_what_a_study_is(
    tmp_path: Path, tiny: SearchSpace, measured: list[Architecture]
) -> None:
    searched(tmp_path, tiny, trials=2)
    with pytest.raises(StudyError, match="another configuration: objective is latency there and flops now"):
        searched(tmp_path, tiny, objectives=["accuracy", "flops"])


def test_a_study_of_before_is_one_by_flops(tmp_path: Path, tiny: SearchSpace) -> None:
    study = nas.search(tiny, trials=3, runs=tmp_path, name="old", evaluate=formula)
    written = {key: value for key, value in study.config.to_dict().items() if key != "objective"}
    study.optuna_study.set_user_attr("nas", written)
    opened = Study.open("old", tmp_path)
    assert opened.config == study.config == StudyConfig.from_dict(written)
    assert opened.front() == study.front()
    assert len(nas.search(tiny, trials=4, runs=tmp_path, name="old", evaluate=formula).records()) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objectives": "latency"}, "objectives='latency': must be accuracy,flops or accuracy,latency"),
        ({"objectives": "accuracy,latency,flops"}, "must be accuracy,flops or accuracy,latency"),
        ({"objectives": 3}, "objectives=3: must be accuracy,flops or accuracy,latency"),
        ({"workers": 2}, "workers=2: latency is measured on an idle device, .* takes workers=1"),
        ({"workers": 0}, "workers=0: latency is measured on an idle device"),
        ({"ray": "auto"}, "ray='auto': latency is measured on an idle device"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, tiny: SearchSpace, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        searched(tmp_path, tiny, **options)
    assert not list(tmp_path.iterdir())


def test_auto_is_one_worker_and_no_other_joins(tmp_path: Path, tiny: SearchSpace, measured: list[Architecture]) -> None:
    study = searched(tmp_path, tiny, trials=2, workers="auto")
    assert len({found.worker for found in study.records()}) == 1
    with pytest.raises(NasError, match=r"study 's': .* its search has one worker, and takes no others"):
        join("s", runs=tmp_path, evaluate=formula)


def test_short_and_failed_trainings_were_measured_too(
    tmp_path: Path, tiny: SearchSpace, measured: list[Architecture]
) -> None:
    def training(architecture: Architecture, report: Callable[[int, float], None], *, epochs: int) -> float:
        if cost(architecture).flops % 5 == 0:
            raise RuntimeError("no luck")
        return formula(architecture, report)

    space = tiny.with_changes(recipe=nas.Recipe(epochs=9))
    study = searched(tmp_path, space, evaluate=training, trials=5, sampler="random")
    assert {"short", "complete"} <= {found.state for found in study.records()}
    assert all(found.objective_cost for found in study.records())


def test_one_s_own_measures_stay_beside_the_latency(
    tmp_path: Path, tiny: SearchSpace, measured: list[Architecture]
) -> None:
    class Result:
        accuracy, measures = 0.5, {"energy (mJ)": 3.0}

    study = searched(tmp_path, tiny, trials=1, evaluate=lambda architecture, report: Result())
    assert set(study.records()[0].measures) == {"energy (mJ)", LATENCY_KEY}


def test_all_that_compares_costs_compares_latencies(tiny: SearchSpace) -> None:
    """The first of two beats the other by FLOPs, and is beaten by latency."""
    few, many = record(0, tiny, 0.8, 9.0), record(439, tiny, 0.9, 3.0)
    assert few.flops < many.flops
    assert front_of([few, many]) == front_numbers([few, many]).front == [many]
    small = pick([few, many], LATENCY, [Limit("max_flops", FLOPS, few.flops)])
    assert small is not None
    assert small.record == few
    assert default_cost_metric([few]) is cost_metrics_of([few])[LATENCY_KEY] is LATENCY
    assert default_cost_metric([replace(few, objective="flops")]) is default_cost_metric([]) is FLOPS
    assert contenders([few, many], 10_000) == [many]
    short = [replace(each, state=TrialState.SHORT, length=1) for each in (few, many)]
    assert promotion(short, (1, 3), 3) == (short[1], 3)
    unknown = record(5, tiny, 0.99, None)
    assert front_of([few, many, unknown]) == [many]
    assert contenders([few, many, unknown], 10_000) == [many]
    assert not unknown.costs_at_most(many)
    assert many.costs_at_most(few)


def test_a_training_is_given_up_for_one_that_is_as_fast_and_not_for_a_smaller_one(tiny: SearchSpace) -> None:
    rule = StopRule(9, 0.1, 1000)
    curve = (0.3, 0.3, 0.3)
    ended = [record(n, tiny, 0.9, 2.0, curve=(0.85, 0.86, 0.87, 0.88, 0.89, 0.9, 0.9, 0.9, 0.9)) for n in range(12)]
    dear, fast = record(400, tiny, 0.0, 5.0, state="running"), record(400, tiny, 0.0, 1.0, state="running")
    assert rule.reason(dear, curve, ended) == "out_of_reach"
    assert rule.reason(fast, curve, ended) is None


def test_confirmations_are_by_the_search_s_latency(tiny: SearchSpace) -> None:
    searched_ones = [record(0, tiny, 0.8, 9.0), record(439, tiny, 0.9, 3.0)]
    trainings = [
        replace(
            each,
            trial=10 + number,
            seed=seed,
            accuracy=(each.accuracy or 0) - seed / 100,
            measures={},
            objective="flops",
        )
        for number, each in enumerate(searched_ones)
        for seed in (1, 2)
    ]
    found = confirmations(searched_ones, [Repetitions(2, trainings)], full=2)
    assert [(member.record.trial, member.on_front) for member in found] == [(439, True), (0, False)]


def test_the_hypervolume_lies_within_bounds_that_were_fixed_beforehand(
    tmp_path: Path, tiny: SearchSpace, measured: list[Architecture]
) -> None:
    study = searched(tmp_path, tiny, trials=8)
    model = study.attributes.latency_model
    assert model is not None
    past = history(study.records(), tiny, bounds=model.bounds).hypervolume
    assert 0 < past[0] <= past[-1] < 1
    perfect = record(0, tiny, 1.0, model.least)
    assert history([perfect], tiny, bounds=model.bounds).hypervolume == pytest.approx([1.0])
    unknown = record(0, tiny, 0.9, None, state="failed")
    assert history([unknown], tiny, bounds=model.bounds).hypervolume == [0.0]


def test_patience_ends_a_search_for_latency(tmp_path: Path, tiny: SearchSpace, measured: list[Architecture]) -> None:
    study = searched(tmp_path, tiny, trials=40, evaluate=lambda *_: 0.5, patience=3)
    assert len(study.records()) < 40


def test_a_choice_is_by_latency(tmp_path: Path, tiny: SearchSpace, measured: list[Architecture]) -> None:
    study = searched(tmp_path, tiny)
    assert choose(study, Requirements()).pick.record == study.front()[-1]
    assert "ms for one image" in " ".join(choose(study, Requirements(min_accuracy=0.1)).sentences)
    assert [row["trial"] for row in front_rows(study, None)] == [found.trial for found in study.front()]


def test_the_front_is_measured_once_the_search_has_ended(
    tmp_path: Path, tiny: SearchSpace, measured: list[Architecture]
) -> None:
    settings: dict[str, Any] = {"runs": tmp_path, "name": "s", "evaluate": formula, "device": "cpu"}
    study = nas.search(tiny, trials=6, measure_latency=True, **settings)
    assert [found.architecture for found in study.front()] == measured
    expected = {found.trial: milliseconds(found.architecture) for found in study.front()}
    assert {found.trial: found.measures.get(LATENCY_KEY) for found in study.front()} == expected
    assert study.config.objective == "flops"
    assert [found.measures for found in study.records() if found.trial not in expected] == [{}] * (6 - len(expected))
    again = nas.search(tiny, trials=6, measure_latency=True, **settings)
    assert len(measured) == len(expected)
    assert again.records() == study.records()
    more = nas.search(tiny, trials=12, measure_latency=True, **settings)
    assert all(LATENCY_KEY in found.measures for found in more.front())
    assert len(measured) == len({found.key for found in measured})


def test_on_another_device_the_front_is_measured_anew(
    tmp_path: Path, tiny: SearchSpace, measured: list[Architecture], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = nas.search(tiny, trials=6, runs=tmp_path, name="s", evaluate=formula, measure_latency=True)
    members = list(measured)
    monkeypatch.setattr(latency_objective_module, "in_words", lambda _: "another one")
    measure_front(study, device="cpu")
    assert measured == members * 2
    assert study.attributes.latency_device == "another one"


def test_what_was_measured_before_an_interruption_is_kept(
    tmp_path: Path, tiny: SearchSpace, measured: list[Architecture], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = latency_on("cpu")

    def interrupted(_: str) -> Callable[[Architecture], float]:
        def measure(architecture: Architecture) -> float:
            if measured:
                raise KeyboardInterrupt
            return real(architecture)

        return measure

    settings: dict[str, Any] = {
        "runs": tmp_path,
        "name": "s",
        "evaluate": formula,
        "device": "cpu",
        "measure_latency": True,
    }
    monkeypatch.setattr(latency_objective_module, "latency_on", interrupted)
    with pytest.raises(KeyboardInterrupt):
        nas.search(tiny, trials=8, **settings)
    study = Study.open("s", tmp_path)
    version = study.version()
    assert [found.architecture for found in study.records() if found.measures] == measured
    monkeypatch.undo()
    monkeypatch.setattr(latency_objective_module, "latency_on", lambda _: milliseconds)
    nas.search(tiny, trials=8, **settings)
    assert all(LATENCY_KEY in found.measures for found in study.front())
    assert study.version() != version


def test_a_database_s_version_tells_of_latencies(tmp_path: Path, tiny: SearchSpace) -> None:
    storage = f"sqlite:///{tmp_path / 'studies.db'}"
    study = nas.search(tiny, trials=2, runs=tmp_path, name="s", evaluate=formula, storage=storage)
    version = study.version()
    study.attributes.latencies = {0: 2.5}
    assert study.version() != version
    assert study.record(0).measures == {LATENCY_KEY: 2.5}


def test_a_disturbed_measurement_is_taken_again(tiny: SearchSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    waits = iter([0.9, 0.5, 0.1, 0.0])

    def measure(architecture: Architecture, **_: Any) -> Latency:
        waited = next(waits)
        return Latency(1, 1 + waited, 1, 1, 10, "CPU", waited)

    monkeypatch.setattr(latency_module, "measure_latency", measure)
    assert latency_on("cpu")(tiny.architecture(next(tiny.points()))) == 1.1
    assert next(waits) == 0.0  # the third one was good enough


def test_a_sample_goes_from_the_cheapest_to_the_dearest_within_the_budgets(tiny: SearchSpace) -> None:
    sample = sampled(tiny, seed=1)
    assert len({each.key for each in sample}) == SAMPLE
    flops = [cost(each).flops for each in sample]
    every = [cost(tiny.architecture(point)).flops for point in tiny.points()]
    assert (min(flops), max(flops)) == (min(every), max(every))
    assert flops != sorted(flops)
    tight = tiny.with_changes(max_flops=min(every))
    assert {cost(each).flops for each in sampled(tight, seed=1)} == {min(every)}


def test_the_terminal_says_latency(
    nas_command: Callable[..., Ran], tmp_path: Path, measured: list[Architecture]
) -> None:
    options = ("--trials", 3, "--epochs", 1, "--device", "cpu", "--runs", tmp_path)
    ran = nas_command("search", "--objectives", BY_LATENCY, *options)
    assert "The accuracy–latency front of digits" in ran.out
    assert "ms for one image" in ran.out
    assert "Latency is that of one image on CPU" in ran.out
    assert "latency (ms)" in nas_command("front", "--runs", tmp_path).out
    rows = json.loads(nas_command("front", "--runs", tmp_path, "--json").out)
    assert all(row["measures"][LATENCY_KEY] for row in rows)
    refused = nas_command("search", "--objectives", "flops", *options)
    assert (refused.code, refused.err) == (2, "nas: objectives='flops': must be accuracy,flops or accuracy,latency\n")


def test_the_terminal_shows_latencies_that_were_measured_afterwards(
    nas_command: Callable[..., Ran], tmp_path: Path, tiny: SearchSpace, measured: list[Architecture]
) -> None:
    study = nas.search(tiny, trials=6, runs=tmp_path, name="s", evaluate=formula)
    assert "latency" not in nas_command("front", "--runs", tmp_path).out
    study.attributes.latencies = {study.front()[0].trial: 2.125}
    shown = nas_command("front", "--runs", tmp_path).out
    assert "latency (ms)" in shown
    assert "2.12" in shown
    assert "–" in shown


def test_optuna_itself_can_read_the_study(tmp_path: Path, tiny: SearchSpace, measured: list[Architecture]) -> None:
    study = searched(tmp_path, tiny)
    best = {trial.number for trial in study.optuna_study.best_trials}
    assert {found.trial for found in study.front()} == best
    assert study.optuna_study.directions == [
        optuna.study.StudyDirection.MAXIMIZE,
        optuna.study.StudyDirection.MINIMIZE,
    ]
