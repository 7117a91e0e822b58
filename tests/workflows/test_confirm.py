import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import nas
from nas import NasError, SearchSpace
from nas.analysis.confirmation import ConfirmationReport, Repetitions, Spread, confirmations, confirmed, front_rows
from nas.analysis.cost_metrics import FLOPS
from nas.analysis.requirements import Limit, Requirements
from nas.analysis.selection import choose, choose_from
from nas.exporters.trained_network import trained_weights
from nas.study.precision import Estimate
from nas.study.records import TrialRecord, TrialState
from nas.training import train as train_module
from nas.workflows.confirm import confirm
from tests.helpers import TINY, Ran, formula


def study_of(found: ConfirmationReport) -> nas.Study:
    """The study that holds the trainings of a report."""
    study = found.members[0].study
    assert study is not None
    return study


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> nas.Study:
    space = SearchSpace.from_dict(TINY)
    return nas.search(
        space, "digits", trials=5, name="s", runs=tmp_path_factory.mktemp("runs"), device="cpu", keep="all"
    )


@pytest.fixture(scope="module")
def found(searched: nas.Study) -> ConfirmationReport:
    return confirm(searched, top=3, seeds=2, test=True, device="cpu")


def test_each_contender_is_trained_from_scratch_on_other_seeds(searched: nas.Study, found: ConfirmationReport) -> None:
    assert 1 <= len(found.members) <= 3
    assert [member.record.flops for member in found.members] == sorted(m.record.flops for m in found.members)
    for member in found.members:
        assert [training.seed for training in member.trainings] == [1, 2]  # the search's was 0
        assert member.record in searched.records()
        assert member.optimism == pytest.approx(member.record.accuracy - sum(member.accuracies) / 2)  # type: ignore[operator]
        weights = [
            safetensors.torch.load_file(file)
            for file in (
                searched.weights_file(member.record.trial),
                *(study_of(found).weights_file(training.trial) for training in member.trainings),
            )
        ]
        assert not torch.equal(weights[0]["classifier.weight"], weights[1]["classifier.weight"])
        assert not torch.equal(weights[1]["classifier.weight"], weights[2]["classifier.weight"])
    assert len(searched.records()) == 5  # a confirmation is no trial of the search


def test_the_same_seed_gives_what_a_training_by_hand_gives(searched: nas.Study, found: ConfirmationReport) -> None:
    from nas.training.train import on_device, train

    recipe = searched.config.space.recipe
    data = on_device(nas.load_data("digits", searched.config.space.input), recipe, "cpu")
    training = found.members[0].trainings[1]
    assert train(training.architecture, data, recipe, seed=2).accuracy == training.accuracy


def test_test_images_are_read_for_the_winners_and_once(
    searched: nas.Study, found: ConfirmationReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {member.record.trial for member in found.members if member.on_front} == {
        member.record.trial for member in found.members if member.tested
    }
    monkeypatch.setattr(train_module, "evaluate", lambda *_, **__: pytest.fail("it was read a second time"))
    assert confirm(searched, top=3, seeds=2, test=True, device="cpu").members == found.members


def test_the_test_accuracy_is_that_of_the_weights_on_the_test_images(
    searched: nas.Study, found: ConfirmationReport
) -> None:
    member = next(member for member in found.members if member.on_front)
    network = nas.build_network(member.record.architecture)
    network.load_state_dict(safetensors.torch.load_file(study_of(found).weights_file(member.trainings[0].trial)))
    data = nas.load_data("digits", searched.config.space.input)
    images = torch.from_numpy(data.test.images[:]).float().permute(0, 3, 1, 2) / 255
    images = (images - data.normalization.mean[0]) / data.normalization.std[0]
    right = network.eval()(images).argmax(1).numpy() == data.test.labels
    assert member.tested[member.trainings[0].trial] == pytest.approx(right.mean())


def test_what_is_there_is_not_trained_again_and_more_seeds_add_what_is_missing(
    searched: nas.Study, found: ConfirmationReport
) -> None:
    before = study_of(found).records()
    confirm(searched, top=3, seeds=2, device="cpu")
    assert nas.Study.open(study_of(found).name, searched.folder).records() == before
    more = confirm(searched, top=3, seeds=3, device="cpu")
    assert all([training.seed for training in member.trainings] == [1, 2, 3] for member in more.members)
    assert study_of(more).records()[: len(before)] == before


@pytest.mark.slow
def test_confirmations_of_other_lengths_stand_beside_each_other(
    tmp_path: Path, tiny: SearchSpace, nas_command: Callable[..., Ran]
) -> None:
    study = nas.search(tiny, "digits", trials=4, name="s", runs=tmp_path, device="cpu")
    confirm(study, top=2, seeds=1, device="cpu")
    longer = confirm(study, top=1, seeds=1, epochs=3, device="cpu")
    assert [member.epochs for member in longer.members].count(3) == 1
    assert len(longer.members) == 3
    [long] = [member for member in longer.members if member.epochs == 3]
    assert len(long.trainings[0].curve) == 3
    assert longer.of(long.record.architecture) == long
    assert len(longer.as_records()) == 2
    assert sorted(file.parent.name for file in study.folder.glob("*/study.yaml")) == ["s.confirmed-2", "s.confirmed-3"]
    again = confirmed(study)
    assert again is not None
    assert again.members == longer.members
    assert nas.Study.open("s", tmp_path).records() == study.records()
    shown = nas_command("front", "s", "--runs", tmp_path).out
    assert re.search(r"seeds +epochs +on the front", shown)


def test_what_is_missing_of_a_confirmation_is_said_and_the_others_compete(tiny: SearchSpace) -> None:
    cheap, middle, dear = list(map(tiny.architecture, tiny.points()))[0:40:19]
    searched = [
        TrialRecord(0, TrialState.COMPLETE, cheap, 0.9, estimate=Estimate(0.85, 0.83, 0.87, 0.01)),
        TrialRecord(1, TrialState.COMPLETE, dear, 0.92, estimate=Estimate(0.9, 0.88, 0.92, 0.01)),
        TrialRecord(2, TrialState.COMPLETE, middle, 0.99),
    ]
    members = confirmations(
        searched, [Repetitions(10, [replace(searched[0], accuracy=0.8, estimate=None, seed=1)])], full=10
    )
    report = ConfirmationReport(tuple(members), 10, unfinished=1)
    choice = choose_from(searched, report, images=1000)
    assert choice is not None
    assert choice.pick.record.trial == 1  # what was measured of the third is no match for an estimate or a mean
    assert choice.sentences[-2] == "It is not confirmed yet."
    assert choice.sentences[-1].startswith("The confirmation is not finished: 1 training is missing")
    alike = [searched[0], replace(searched[1], estimate=Estimate(0.82, 0.78, 0.86, 0.01)), searched[2]]
    choice = choose_from(alike, report, images=1000)
    assert choice is not None
    assert choice.pick.record.trial == 0  # two points more may be chance
    doubt = "Trial 1, not confirmed, is estimated to be 2.00 points more accurate, which may be chance."
    assert choice.sentences[0].startswith("Trial 0 is the only confirmed network")
    assert choice.sentences[1:3] == [doubt, "Its accuracy is the mean of its confirmation."]
    choice = choose_from(searched, report, images=1000, limits=[Limit("max_flops", FLOPS, searched[0].flops)])
    assert choice is not None
    assert (choice.pick.record.trial, choice.pick.record.accuracy) == (0, 0.8)
    assert choice.sentences[-2] == "Its accuracy is the mean of its confirmation."


def test_longer_trainings_of_some_are_not_compared_with_the_searchs(tiny: SearchSpace) -> None:
    cheap, dear = list(map(tiny.architecture, tiny.points()))[0:20:19]
    searched = [
        TrialRecord(0, TrialState.COMPLETE, cheap, 0.8, estimate=Estimate(0.8, 0.79, 0.81, 0.005)),
        TrialRecord(1, TrialState.COMPLETE, dear, 0.9, estimate=Estimate(0.9, 0.89, 0.91, 0.005)),
    ]
    longer = [TrialRecord(n, TrialState.COMPLETE, cheap, 0.95, seed=n) for n in (1, 2)]
    alike = [TrialRecord(n, TrialState.COMPLETE, each, 0.85, seed=1) for n, each in enumerate((cheap, dear))]
    members = confirmations(searched, [Repetitions(30, longer)], full=10)
    choice = choose_from(searched, ConfirmationReport(tuple(members), 10), images=1000)
    assert choice is not None
    assert (choice.pick.record.trial, choice.sentences[-1]) == (1, "It is not confirmed yet.")
    at_most = [Limit("max_flops", FLOPS, searched[0].flops)]
    choice = choose_from(searched, ConfirmationReport(tuple(members), 10), images=1000, limits=at_most)
    assert choice is not None
    assert choice.sentences[-1].startswith("Its confirmation is by trainings of 30 epochs")
    both = confirmations(searched, [Repetitions(10, alike), Repetitions(30, longer)], full=10)
    assert [(member.epochs, member.on_front) for member in both] == [(10, True), (30, True), (10, False)]


@pytest.mark.parametrize(
    ("excess", "words"),
    [
        ([0.02, 0.024, 0.016, 0.02], "2.0 ± 0.2 points too high: the best owe part of their rank to chance."),
        ([-0.02, -0.024, -0.016, -0.02], "2.0 ± 0.2 points too low."),
        ([0.02, -0.01, 0.015, -0.02], "points too high, no more than chance explains."),
        ([0.02, 0.03], "2.5 ± 0.5 points too high, no more than chance explains."),
        ([0.02], "put the confirmed architecture 2.0 points too high; of one alone that may be chance."),
    ],
)
def test_luck_is_called_luck_only_beyond_its_error(tiny: SearchSpace, excess: list[float], words: str) -> None:
    chosen = list(map(tiny.architecture, tiny.points()))[: len(excess)]
    searched = [TrialRecord(n, TrialState.COMPLETE, each, 0.8 + excess[n]) for n, each in enumerate(chosen)]
    trained = [TrialRecord(n, TrialState.COMPLETE, each, 0.8, seed=1) for n, each in enumerate(chosen)]
    alike = confirmations(searched, [Repetitions(10, trained)], full=10)
    assert (ConfirmationReport(tuple(alike), 10).optimism_text() or "").endswith(words)
    other = confirmations(searched, [Repetitions(10, trained)], full=5)
    assert [member.optimism for member in other] == [None] * len(excess)
    assert ConfirmationReport(tuple(other), 5).optimism_text() is None


def test_a_copied_study_takes_its_confirmations_along(
    searched: nas.Study, found: ConfirmationReport, tmp_path: Path
) -> None:
    import shutil

    shutil.copytree(searched.folder, tmp_path / "other")
    copied = confirmed(nas.Study.open("other", tmp_path))
    assert copied is not None
    assert [member.record for member in copied.members] == [member.record for member in found.members]


def test_spread_probability_and_optimism(tiny: SearchSpace) -> None:
    cheap, dear = list(map(tiny.architecture, tiny.points()))[0:20:19]
    searched = [TrialRecord(0, TrialState.COMPLETE, cheap, 0.9), TrialRecord(1, TrialState.COMPLETE, dear, 0.95)]
    repeated = [
        TrialRecord(number, TrialState.COMPLETE, architecture, accuracy, seed=seed)
        for number, (architecture, accuracy, seed) in enumerate(
            [(dear, 0.93, 2), (cheap, 0.88, 1), (dear, 0.91, 1), (cheap, 0.86, 2)]
        )
    ]
    failed = TrialRecord(9, TrialState.FAILED, cheap, None, seed=3)
    first, second = confirmations(searched, [Repetitions(10, [*repeated, failed], {0: 0.5})], full=10)
    assert (first.record, first.accuracies) == (searched[0], (0.88, 0.86))
    assert tuple(first.validation) == pytest.approx((0.87, 0.0141421), abs=1e-6)
    assert first.optimism == pytest.approx(0.03)
    assert first.best.accuracy == 0.88
    assert (first.probability, first.on_front) == (1.0, True)
    assert second.probability == pytest.approx(0.964, abs=0.01)  # t with 2 degrees of freedom at 0.05 / 0.01414
    assert second.test == Spread(0.5, None)
    assert first.test is None
    single = confirmations([], [Repetitions(10, repeated[:2])], full=10)
    assert [(member.probability, member.optimism) for member in single] == [(None, None), (None, None)]


def test_own_trainings_are_confirmed_with_their_seed(tmp_path: Path, tiny: SearchSpace) -> None:
    study = nas.search(tiny, trials=3, name="own", runs=tmp_path, evaluate=formula)
    seen: list[int] = []

    def seeded(architecture: nas.Architecture, report: Callable[[int, float], None], *, seed: int) -> float:
        seen.append(seed)
        return formula(architecture, report) - seed / 1000

    found = confirm(study, top=1, seeds=2, evaluate=seeded)
    assert seen == [1, 2]
    assert found.members[0].optimism == pytest.approx(0.0015)
    with pytest.raises(NasError, match="takes no keyword 'seed'"):
        confirm(study, evaluate=formula)
    with pytest.raises(NasError, match="searched from Python"):
        confirm(study)


def test_mistakes_are_one_line(tmp_path: Path, tiny: SearchSpace, nas_command: Callable[..., Ran]) -> None:
    nas.search(tiny, "digits", trials=1, name="s", runs=tmp_path, device="cpu")
    for options, message in (
        (["--seeds", 0], "seeds=0: must be from 1"),
        (["--top", 0], "top=0: must be from 1"),
        (["--epochs", 0], "epochs=0"),
        (["--device", "tpu"], "device='tpu'"),
        (["--data", "nowhere"], "nowhere"),
    ):
        ran = nas_command("confirm", "s", "--runs", tmp_path, "--workers", 1, *options)
        assert (ran.code, ran.err.count("\n")) == (2, 1)
        assert message in ran.err
    ran = nas_command("confirm", "nothing", "--runs", tmp_path)
    assert "no study 'nothing'" in ran.err


def test_the_command_shows_the_confirmed_front(
    searched: nas.Study, found: ConfirmationReport, nas_command: Callable[..., Ran]
) -> None:
    runs = searched.folder.parent
    ran = nas_command("confirm", "s", "--runs", runs, "--top", 3, "--seeds", 2, "--workers", 1, "--device", "cpu")
    assert ran.code == 0
    shown = nas_command("front", "s", "--runs", runs)
    for text in ("confirmed", "on the front", "test", "±", "The search put"):
        assert text in ran.out
        assert text in shown.out
    assert shown.out in ran.out


def test_json_has_the_confirmations(
    searched: nas.Study, found: ConfirmationReport, nas_command: Callable[..., Ran]
) -> None:
    import json

    rows = json.loads(nas_command("front", "s", "--runs", searched.folder.parent, "--json").out)
    assert rows == json.loads(json.dumps(front_rows(searched, confirmed(searched))))
    confirmed_rows = {row["trial"]: row["confirmed"] for row in rows if row["confirmed"]}
    assert set(confirmed_rows) == {member.record.trial for member in found.members}
    for row in confirmed_rows.values():
        assert {"epochs", "seeds", "accuracies", "mean", "std", "probability", "on_front", "optimism", "test"} == set(
            row
        )


@pytest.mark.slow
def test_new_members_of_the_front_are_said_to_be_unconfirmed(
    tmp_path: Path, tiny: SearchSpace, nas_command: Callable[..., Ran]
) -> None:
    nas.search(tiny, "digits", trials=1, name="s", runs=tmp_path, device="cpu")
    assert nas_command("confirm", "s", "--runs", tmp_path, "--seeds", 1, "--workers", 1).code == 0
    study = nas.search(tiny, "digits", trials=6, name="s", runs=tmp_path, device="cpu")
    missing = [record for record in study.front() if record.trial != 0]
    assert missing
    shown = nas_command("front", "s", "--runs", tmp_path).out
    rows = {int(line.split()[0]): line for line in shown.splitlines() if line.strip()[:1].isdigit()}
    assert {trial for trial, line in rows.items() if "not yet" in line} == {record.trial for record in missing}
    assert 0 in rows
    assert "Not yet: on the search's front" in shown


KILLED = """
import sys
import nas
from nas.workflows.confirm import confirm

confirm(nas.Study.open("s", sys.argv[1]), top=2, seeds=2, epochs=12, device="cpu")
"""


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on_where_it_was(tmp_path: Path, tiny: SearchSpace) -> None:
    study = nas.search(tiny, "digits", trials=3, name="s", runs=tmp_path, device="cpu")
    chosen = confirm(study, top=2, seeds=2, epochs=3, device="cpu")  # which architectures: not the ones below
    kept: dict[tuple[Any, ...], float | None] = {}
    kills = 0
    for delay in (0.3, 0.9, 1.6, 2.4, 3.1):
        process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)])
        while not list(study.folder.glob("*.confirmed-12/journal.log")) and process.poll() is None:
            time.sleep(0.02)
        time.sleep(delay)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
        records = nas.Study.open("s.confirmed-12", study.folder).records()
        complete = {(r.trial, r.seed): r.accuracy for r in records if r.state == TrialState.COMPLETE}
        assert kept.items() <= complete.items()  # what was finished stays as it was
        kept = dict(complete)
    assert kills
    found = confirm(study, top=2, seeds=2, epochs=12, device="cpu")
    members = [member for member in found.members if member.epochs == 12]
    assert len(members) == len(chosen.members)
    assert all([training.seed for training in member.trainings] == [1, 2] for member in members)
    assert members[0].study is not None
    assert not list(members[0].study.folder.glob("artifacts/checkpoint*"))
    undisturbed = confirm(_copy_without_confirmations(study, tmp_path), top=2, seeds=2, epochs=12, device="cpu")
    assert [m.accuracies for m in members] == [m.accuracies for m in undisturbed.members]


def _copy_without_confirmations(study: nas.Study, tmp_path: Path) -> nas.Study:
    import shutil

    shutil.copytree(study.folder, tmp_path / "copy", ignore=shutil.ignore_patterns("*.confirmed-*"))
    return nas.Study.open("copy", tmp_path)


def test_several_workers_confirm(tmp_path: Path, tiny: SearchSpace) -> None:
    study = nas.search(tiny, "digits", trials=2, name="s", runs=tmp_path, device="cpu")
    alone = confirm(study, top=2, seeds=2, device="cpu")
    shared = confirm(_copy_without_confirmations(study, tmp_path), top=2, seeds=2, device="cpu", workers=2)
    assert [m.accuracies for m in shared.members] == [m.accuracies for m in alone.members]
    assert len({record.worker for record in study_of(shared).records()}) == 2


def test_a_better_score_is_no_better_network(tiny: SearchSpace) -> None:
    """The front of means is that of the means, whatever the search had said."""
    cheap, dear = list(map(tiny.architecture, tiny.points()))[0:20:19]
    searched = [TrialRecord(0, TrialState.COMPLETE, cheap, 0.9), TrialRecord(1, TrialState.COMPLETE, dear, 0.99)]
    repeated = [
        TrialRecord(n, TrialState.COMPLETE, a, v, seed=s)
        for n, (a, v, s) in enumerate([(cheap, 0.9, 1), (dear, 0.89, 1)])
    ]
    members = confirmations(searched, [Repetitions(10, repeated)], full=10)
    assert [member.on_front for member in members] == [True, False]
    assert replace(members[1].record) == searched[1]


def test_a_shorter_confirmation_is_not_exported(tmp_path: Path, tiny: SearchSpace) -> None:
    study = nas.search(tiny, "digits", trials=2, epochs=3, name="s", runs=tmp_path, device="cpu", keep="all")
    confirm(study, epochs=1, seeds=1, top=1, device="cpu")
    chosen = choose(study, Requirements()).pick.record
    assert chosen.accuracy == study.record(chosen.trial).accuracy
    for record in study.records():
        assert trained_weights(study, record.trial).weights_file == study.weights_file(record.trial)
    found = confirm(study, epochs=5, seeds=1, top=1, device="cpu")
    longest = max(found.members, key=lambda member: member.epochs)
    assert trained_weights(study, longest.record.trial).config.space.recipe.epochs == 5


def test_trainings_that_failed_often_are_begun_again_all_the_same(tmp_path: Path, tiny: SearchSpace) -> None:
    study = nas.search(tiny, trials=2, name="s", runs=tmp_path, evaluate=formula)
    for _ in range(5):
        with pytest.raises(NasError):
            confirm(study, seeds=3, top=1, evaluate=broken)
    found = confirm(study, seeds=3, top=1, evaluate=formula_with_seed)
    assert [len(member.trainings) for member in found.members] == [3]
    assert not found.unfinished


def broken(architecture: nas.Architecture, seed: int = 0) -> float:
    raise ValueError(f"out of order with seed {seed}")


def formula_with_seed(architecture: nas.Architecture, seed: int = 0) -> float:
    return 0.5 + seed / 100


def test_what_a_stopped_confirmation_had_queued_is_not_trained_unless_asked_for(
    tmp_path: Path, tiny: SearchSpace
) -> None:
    study = nas.search(tiny, trials=6, name="s", runs=tmp_path, evaluate=formula, fidelities=1)

    def interrupted(architecture: nas.Architecture, seed: int = 0) -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        confirm(study, seeds=3, evaluate=interrupted)
    few = confirm(study, seeds=1, top=2, evaluate=formula_with_seed)
    assert [len(member.trainings) for member in few.members] == [1, 1]
    assert all(record.finished or record.reason == "interrupted" for record in study_of(few).records())
    more = confirm(study, seeds=2, evaluate=formula_with_seed)
    assert len(more.members) >= 2
    assert {len(member.trainings) for member in more.members} == {2}


def test_trainings_of_one_architecture_are_no_search_to_confirm(tmp_path: Path, tiny: SearchSpace) -> None:
    study = nas.retrain(tiny.architecture(next(iter(tiny.points()))), "digits", name="r", runs=tmp_path, epochs=1)
    with pytest.raises(NasError, match="study 'r': holds trainings of one architecture, not a search"):
        confirm(study, seeds=2)
