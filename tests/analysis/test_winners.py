import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import nas
from nas import NasError, SearchSpace
from nas.analysis.cost_metrics import LATENCY
from nas.analysis.requirements import Requirements
from nas.analysis.selection import choose, with_latency
from nas.exporters.trained_network import trained_weights
from nas.workflows.confirm import confirm
from nas.workflows.retrain import retrain_trial
from tests.helpers import TINY, Ran


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> nas.Study:
    space = SearchSpace.from_dict(TINY)
    return nas.search(space, "digits", trials=6, name="s", runs=tmp_path_factory.mktemp("runs"), device="cpu")


@pytest.fixture(scope="module")
def confirmed_study(tmp_path_factory: pytest.TempPathFactory) -> nas.Study:
    space = SearchSpace.from_dict(TINY)
    study = nas.search(space, "digits", trials=6, name="c", runs=tmp_path_factory.mktemp("runs"), device="cpu")
    confirm(study, top=2, seeds=2, test=True, device="cpu")
    return study


def test_without_wishes_it_is_the_most_accurate(searched: nas.Study) -> None:
    assert choose(searched, Requirements()).pick.record == searched.front()[-1]


def test_wishes_limit_the_choice(searched: nas.Study) -> None:
    front = searched.front()
    assert choose(searched, Requirements(max_flops=front[0].flops)).pick.record == front[0]
    assert choose(searched, Requirements(min_accuracy=front[0].accuracy)).pick.record == front[0]
    fewest = min(record.params for record in searched.records())
    assert choose(searched, Requirements(max_params=fewest)).pick.record.params == fewest
    assert "ms for one image" in choose(searched, Requirements(max_latency=1e6), device="cpu").sentences[0]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (Requirements(max_flops=10), "max_flops=10; nearest is trial"),
        (Requirements(max_flops="x"), "max_flops=x: must be a positive number"),
        (Requirements(max_params=0), "max_params=0"),
        (Requirements(min_accuracy=1.5), "min_accuracy=1.5: must be from 0 to 1"),
        (Requirements(max_latency=0.0), "max_latency=0.0: must be from"),
        (Requirements(max_latency=float("nan")), "max_latency=nan"),
        (Requirements(knee=True, min_accuracy=0.5), "knee and min_accuracy"),
    ],
)
def test_mistakes_are_one_line(searched: nas.Study, wanted: Requirements, message: str) -> None:
    with pytest.raises(NasError) as raised:
        choose(searched, wanted)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_confirmed_trials_are_chosen_by_their_means(confirmed_study: nas.Study) -> None:
    choice = choose(confirmed_study, Requirements())
    found = {member.record.trial: member for member in confirm(confirmed_study, top=2, seeds=2, device="cpu").members}
    best = max(found.values(), key=lambda member: member.validation.mean)
    assert choice.pick.record.trial == best.record.trial
    assert choice.pick.record.accuracy == best.validation.mean
    assert choice.sentences[-1] == "Its accuracy is the mean of its confirmation."


def test_where_no_confirmed_one_will_do_another_is_taken_and_called_unconfirmed(
    searched: nas.Study, tmp_path: Path
) -> None:
    shutil.copytree(searched.folder, tmp_path / "s")
    study = nas.Study.open("s", tmp_path)
    dearest = max(study.records(), key=lambda record: record.flops)
    retrain_trial(study, dearest.trial, device="cpu")
    assert choose(study, Requirements()).pick.record.trial == dearest.trial
    choice = choose(study, Requirements(max_flops=dearest.flops - 1))
    assert choice.pick.record.trial != dearest.trial
    assert "not confirmed" in choice.sentences[-1]


def test_latency_is_measured_where_it_was_not_recorded(searched: nas.Study) -> None:
    records = with_latency(searched.records(), device="cpu")
    assert all((LATENCY.value(record) or 0) > 0 for record in records)
    assert with_latency(records, device="cpu") == records


def test_weights_are_those_of_the_best_confirming_training(confirmed_study: nas.Study) -> None:
    for member in confirm(confirmed_study, top=2, seeds=2, test=True, device="cpu").members:
        found = trained_weights(confirmed_study, member.record.trial)
        assert found.accuracy == max(member.accuracies) == member.best.accuracy
        assert found.seed == member.best.seed
        assert (found.confirmed, found.tested) == (member.accuracies, tuple(member.tested.values()))
        assert found.weights_file.parent.parent.name == "c.confirmed-2"
        assert f"trial {member.record.trial} of the study 'c', retrained on seed {found.seed}" in found.origin
        nas.build_network(found.architecture)


def test_without_confirmation_they_are_those_of_the_search(searched: nas.Study) -> None:
    record = searched.front()[0]
    found = trained_weights(searched, record.trial)
    assert (found.accuracy, found.seed, found.confirmed) == (record.accuracy, 0, ())
    assert found.weights_file == searched.weights_file(record.trial)


def test_the_command_says_which_and_why_and_what_next(
    searched: nas.Study, nas_command: Callable[..., Ran], tmp_path: Path
) -> None:
    import json

    runs = searched.folder.parent
    ran = nas_command("pick", "s", "--runs", runs)
    best = searched.front()[-1]
    assert best.name in ran.out
    assert f"Trial {best.trial} is the most accurate of the" in ran.out
    assert f"nas export s --trial {best.trial} --runs {runs} --out best" in ran.out
    row = json.loads(nas_command("pick", "s", "--runs", runs, "--json").out)
    assert row["trial"] == best.trial
    assert row["reasons"]
    ran = nas_command("pick", "s", "--runs", runs, "--max-flops", "1")
    assert (ran.code, ran.out) == (2, "")
    assert "no trained network keeps max_flops=1; nearest is trial" in ran.err
