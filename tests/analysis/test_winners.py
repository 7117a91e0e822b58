import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

import nas
from nas import NasError, SearchSpace
from nas.analysis import latencies
from nas.analysis.cost_metrics import LATENCY
from nas.analysis.requirements import Requirements
from nas.analysis.selection import choose
from nas.architectures import latency
from nas.errors import StudyError
from nas.exporters.trained_network import trained_weights
from nas.study.attributes import StudyAttributes
from nas.study.records import front_of
from nas.workflows.confirm import confirm
from nas.workflows.retrain import retrain_trial
from tests.helpers import TINY, Ran


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> nas.Study:
    space = SearchSpace.from_dict(TINY)
    return nas.search(space, "digits", trials=6, name="s", runs=tmp_path_factory.mktemp("runs"), device="cpu")


@pytest.fixture
def copied(searched: nas.Study, tmp_path: Path) -> nas.Study:
    shutil.copytree(searched.folder, tmp_path / "s")
    return nas.Study.open("s", tmp_path)


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
    assert "the most accurate of the 2 confirmed networks" in choice.sentences[0]  # others were trained, too
    assert choice.sentences[-1] == "Its accuracy is the mean of its confirmation."


def test_where_no_confirmed_one_will_do_another_is_taken_and_called_unconfirmed(
    copied: nas.Study,
) -> None:
    study = copied
    dearest = max(study.records(), key=lambda record: record.flops)
    retrain_trial(study, dearest.trial, device="cpu")
    assert choose(study, Requirements()).pick.record.trial == dearest.trial
    choice = choose(study, Requirements(max_flops=dearest.flops - 1))
    assert choice.pick.record.trial != dearest.trial
    assert "not confirmed" in choice.sentences[-1]


@pytest.mark.parametrize("waited", [0.0, 0.5])
def test_missing_latencies_are_measured_and_kept_unless_other_programs_interfered(
    copied: nas.Study, monkeypatch: pytest.MonkeyPatch, waited: float
) -> None:
    study = copied
    monkeypatch.setattr(latency, "seconds_waited", partial(_waiting, waited))
    choice = choose(study, Requirements(max_latency=1e6), device="cpu")
    assert "ms for one image" in choice.sentences[0]
    known = {record.trial: LATENCY.value(record) for record in study.records()}
    if waited:
        assert set(known.values()) == {None}
        assert "threads waited for a core up to 50 % of the time" in choice.sentences[-1]
        with pytest.raises(NasError, match=r"nearest is trial .* Other programs were in the way"):
            choose(study, Requirements(max_latency=1e-6), device="cpu")
    else:
        assert all((value or 0) > 0 for value in known.values())
        assert choose(study, Requirements(max_latency=1e6), device="cpu") == choice
        assert {record.trial: LATENCY.value(record) for record in study.records()} == known


def test_times_of_two_devices_are_not_mixed_and_those_asked_for_by_name_are_measured(copied: nas.Study) -> None:
    before = {record.trial: 1e5 for record in copied.records()}
    copied.attributes.latencies, copied.attributes.latency_device = before, "a board"
    slow = choose(copied, Requirements(max_latency=2e5))
    assert LATENCY.value(slow.pick.record) == 1e5
    assert slow.sentences[-1] == "Latencies are those of a board."
    assert LATENCY.value(choose(copied, Requirements(max_latency=2e5), device="cpu").pick.record) < 1e5  # type: ignore[operator]
    assert (copied.attributes.latencies, copied.attributes.latency_device) == (before, "a board")


def test_a_study_that_cannot_be_written_to_is_chosen_from(copied: nas.Study, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise StudyError("study 's': its folder is read-only")

    monkeypatch.setattr(latency, "seconds_waited", lambda: 0.0)
    monkeypatch.setattr(StudyAttributes, "_write", refuse)
    choice = choose(copied, Requirements(max_latency=1e6), device="cpu")
    assert choice.sentences[-1] == "The latencies were not kept: study 's': its folder is read-only."


def _waiting(share: float) -> float:
    """Stands in for what the system reports: all threads have waited for this share of the time."""
    return share * torch.get_num_threads() * time.perf_counter()


def test_the_best_at_every_cost_are_measured_first(copied: nas.Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latencies, "MOST_MEASURED", len(copied.front()))
    records, _ = latencies.with_missing_latencies(copied, copied.records(), device="cpu")
    front = front_of(records, by=lambda record: record.flops)
    assert {record.trial for record in records if LATENCY.value(record) is not None} == {r.trial for r in front}


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
    assert "no trained network meets max_flops=1; nearest is trial" in ran.err
