import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import nas
from nas import Architecture, NasError, SearchSpace, Study, TrialRecord
from nas.spaces.preflight import preflight
from nas.study.records import TrialState
from nas.study.search_state import SearchState, SearchStatus
from nas.system.processes import this_worker
from nas.workers import trial as trial_module
from tests.helpers import checkpoint_every_epoch, formula

Report = Callable[[int, float], None]


class Diary:
    """Writes down what a listener is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def search_started(self, study: nas.Study, trials: int) -> None:
        self.lines.append(f"search {trials}")

    def trial_started(self, record: TrialRecord) -> None:
        self.lines.append(f"start {record.trial}")

    def epoch_ended(self, trial: int, curve: Sequence[float]) -> None:
        self.lines.append(f"epoch {len(curve)}")

    def trial_ended(self, record: TrialRecord) -> None:
        self.lines.append(f"{record.state} {record.trial}")

    def search_steered(self, state: SearchState) -> None:
        self.lines.append(f"{state.request} {state.trials}")

    def search_ended(self, reason: str) -> None:
        self.lines.append(reason)


def finished(study: nas.Study) -> list[tuple[str, float | None]]:
    return [(record.architecture.key, record.accuracy) for record in study.records() if record.finished]


def test_a_real_search_finds_a_front_and_keeps_the_weights(tmp_path: Path, tiny: SearchSpace) -> None:
    study = nas.search(tiny, "digits", trials=4, runs=tmp_path, device="cpu")
    assert study.name == "tiny-digits"
    records = study.records()
    assert [record.state for record in records] == ["complete"] * 4
    assert len({record.architecture.key for record in records}) == 4
    assert all(record.architecture.classes == 10 for record in records)
    assert all(len(record.curve) == tiny.recipe.epochs and record.accuracy == record.curve[-1] for record in records)
    assert study.front()
    assert all(study.weights_file(record.trial).is_file() for record in study.front())


def test_a_pair_of_arrays_is_data(tmp_path: Path, tiny: SearchSpace) -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = (digits.images[:300] * 15).astype("uint8")[..., None]
    study = nas.search(tiny, (images, digits.target[:300]), trials=1, runs=tmp_path, name="arrays", device="cpu")
    assert study.config.data["source"] == "arrays"
    assert study.records()[0].state == "complete"


def test_one_s_own_training_takes_the_place_of_ours(tmp_path: Path, tiny: SearchSpace) -> None:
    diary = Diary()
    study = nas.search(tiny, trials=2, runs=tmp_path, name="own", evaluate=formula, listener=diary)
    assert diary.lines == [
        "search 2",
        *("start 0", "epoch 1", "epoch 2", "complete 0"),
        *("start 1", "epoch 1", "epoch 2", "complete 1"),
        "complete",
    ]
    first = study.records()[0]
    assert first.accuracy == formula(first.architecture, lambda *_: None)


def test_trials_is_a_total_and_resuming_gives_what_an_undisturbed_search_gives(
    tmp_path: Path, tiny: SearchSpace
) -> None:
    whole = nas.search(tiny, trials=18, runs=tmp_path, name="whole", evaluate=formula)
    for total in (5, 12, 18, 18, 3):
        parts = nas.search(tiny, trials=total, runs=tmp_path, name="parts", evaluate=formula)
    assert finished(parts) == finished(whole)


@pytest.mark.slow
def test_an_interrupted_architecture_is_trained_again_and_the_rest_is_as_undisturbed(
    tmp_path: Path, tiny: SearchSpace
) -> None:
    whole = nas.search(tiny, trials=16, runs=tmp_path, name="whole", evaluate=formula)
    calls = []

    def interrupted(architecture: Architecture, report: Report) -> float:
        calls.append(architecture.key)
        if len(calls) in (3, 4, 13):
            raise KeyboardInterrupt
        return formula(architecture, report)

    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            nas.search(tiny, trials=16, runs=tmp_path, name="parts", evaluate=interrupted)
    parts = nas.search(tiny, trials=16, runs=tmp_path, name="parts", evaluate=interrupted)
    assert finished(parts) == finished(whole)
    states = [record.state for record in parts.records()]
    assert states.count(TrialState.FAILED) == 3
    assert "running" not in states
    assert "waiting" not in states


@pytest.mark.slow
def test_resuming_nsga2_after_an_interruption_gives_what_an_undisturbed_search_gives(
    tmp_path: Path, tiny: SearchSpace
) -> None:
    """NSGA-II notes a generation with every trial, also with one whose parameters are fixed already."""
    space, total = nas.load_space("digits"), 56  # its population is 50
    whole = nas.search(space, trials=total, runs=tmp_path, name="whole", evaluate=formula, sampler="nsga2")
    calls = []

    def interrupted(architecture: Architecture, report: Report) -> float:
        calls.append(architecture.key)
        if len(calls) == 20:
            raise KeyboardInterrupt
        return formula(architecture, report)

    with pytest.raises(KeyboardInterrupt):
        nas.search(space, trials=total, runs=tmp_path, name="parts", evaluate=interrupted, sampler="nsga2")
    parts = nas.search(space, trials=total, runs=tmp_path, name="parts", evaluate=interrupted, sampler="nsga2")
    assert finished(parts) == finished(whole)


def test_a_space_of_one_architecture_is_trained_once(tmp_path: Path) -> None:
    stage = {"depth": 1, "mid": 8, "groups": 2, "out": 8}
    space = SearchSpace.from_dict({"name": "one", "input": {"channels": 1, "size": 8}, "stages": [stage]})
    for _ in range(2):
        study = nas.search(space, trials=5, runs=tmp_path, name="one", evaluate=formula)
        assert [record.state for record in study.records()] == ["complete"]


def test_weights_that_cannot_be_kept_stop_the_search_and_cost_no_architecture(
    tmp_path: Path, tiny: SearchSpace
) -> None:
    study = nas.search(tiny, "digits", trials=1, runs=tmp_path, name="s", device="cpu", epochs=1)
    artifacts = study.weights_file(0).parent

    class Breaks(Diary):
        def trial_started(self, record: TrialRecord) -> None:
            artifacts.rename(artifacts.with_name("moved"))
            artifacts.write_text("a file, where the folder should be")

    with pytest.raises(NasError, match=r"safetensors: cannot be written"):
        nas.search(trials=3, runs=tmp_path, name="s", device="cpu", listener=Breaks())
    states = [(record.state, record.reason) for record in study.records()]
    assert states == [("complete", None), ("failed", "interrupted"), ("waiting", None)]


def test_trials_that_fail_are_recorded_with_why_and_the_search_goes_on(tmp_path: Path, tiny: SearchSpace) -> None:
    answers: list[Any] = [
        ValueError("broken <b>here</b>"),
        MemoryError(),
        float("nan"),
        93.1,
        None,
        "good",
        0.5,
    ]

    def evaluate(architecture: Architecture, report: Report) -> float:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]

    study = nas.search(tiny, trials=1, runs=tmp_path, name="failing", evaluate=evaluate)
    records = study.records()
    reasons = [record.reason for record in records]
    assert reasons == ["error", "out_of_memory", *["bad_accuracy"] * 4, None]
    assert "ValueError: broken <b>here</b>" in (records[0].detail or "")
    assert "93.1; an accuracy is between 0 and 1" in (records[3].detail or "")
    assert len({record.architecture.key for record in records}) == 7  # what failed is not tried again
    assert [record.trial for record in study.front()] == [6]


def test_a_training_that_diverges_is_recorded_as_not_finite(tmp_path: Path, tiny: SearchSpace) -> None:
    recipe = nas.Recipe(epochs=2, optimizer="sgd", learning_rate=1000.0, weight_decay=1000.0)
    with pytest.raises(NasError, match="the first 3 trainings all failed as not_finite"):
        nas.search(tiny.with_changes(recipe=recipe), "digits", trials=1, name="s", runs=tmp_path, device="cpu")
    assert [record.reason for record in nas.Study.open("s", tmp_path).records()] == ["not_finite"] * 3


def test_a_small_space_ends_the_search(tmp_path: Path, tiny: SearchSpace) -> None:
    diary = Diary()
    space = tiny.with_changes(max_flops=sorted(nas.cost(tiny.architecture(p)).flops for p in tiny.points())[3])
    for _ in range(2):
        study = nas.search(space, trials=100, runs=tmp_path, name="small", evaluate=formula, listener=diary)
        assert diary.lines[-1] == "exhausted"
    assert len(study.records()) == len(list(filter(space.fits, map(space.architecture, space.points()))))


def test_budgets_that_exclude_each_other_are_refused(tmp_path: Path) -> None:
    """A first stage of 16 spares a projection at full size (FLOPs), one of 8 narrows what follows (parameters)."""
    space = SearchSpace.from_dict(
        {
            "name": "split",
            "input": {"channels": 1, "size": 8},
            "stem": [{"width": 16}],
            "stages": [
                {"depth": 1, "mid": 8, "groups": 1, "out": [8, 16], "stride": 1},
                {"depth": 1, "mid": 4, "groups": 1, "out": 8},
            ],
        }
    )
    every = [nas.cost(space.architecture(point)) for point in space.points()]
    least_flops = min(every, key=lambda amounts: amounts.flops)
    least_params = min(every, key=lambda amounts: amounts.params)
    assert least_flops.params > least_params.params
    space = space.with_changes(max_flops=least_flops.flops, max_params=least_params.params)
    with pytest.raises(NasError, match="keeps both"):
        preflight(space)
    with pytest.raises(NasError, match="no architecture was found that keeps both"):
        nas.search(space, trials=3, runs=tmp_path, evaluate=formula)


def test_timeout_starts_no_further_trial(tmp_path: Path, tiny: SearchSpace) -> None:
    diary = Diary()

    def slow(architecture: Architecture, report: Report) -> float:
        time.sleep(3.1)  # until the time is over
        return formula(architecture, report)

    study = nas.search(
        tiny, trials=100, runs=tmp_path, name="slow", evaluate=slow, timeout=3, sampler="random", listener=diary
    )
    assert [record.state for record in study.records()] == ["complete"]
    assert diary.lines[-1] == "timeout"


def test_budgets_and_epochs_go_into_the_study(tmp_path: Path, tiny: SearchSpace) -> None:
    study = nas.search(tiny, trials=5, runs=tmp_path, name="b", evaluate=formula, max_flops=70_000, epochs=7)
    assert (study.config.space.max_flops, study.config.space.recipe.epochs) == (70_000, 7)
    assert all(record.flops <= 70_000 for record in study.records())
    resumed = nas.search(trials=6, runs=tmp_path, name="b", evaluate=formula)  # what is left out is the study's
    assert len(resumed.records()) == 6
    with pytest.raises(NasError, match=r"space.max_flops is 70000 there and none now"):
        nas.search(tiny, trials=6, runs=tmp_path, name="b", evaluate=formula, epochs=7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampler": "tep"}, "sampler='tep'.*did you mean 'tpe'"),
        ({"trials": 0}, "trials=0.*nearest valid: 1"),
        ({"seed": -1}, "seed=-1"),
        ({"epochs": 0}, "recipe.epochs=0"),
        ({"device": "tpu"}, "device='tpu'"),
        ({"name": "../x"}, "study='../x'"),
        ({"max_flops": 5}, "max_flops=5"),
    ],
)
def test_options_that_cannot_be_are_refused_before_anything_is_written(
    tmp_path: Path, tiny: SearchSpace, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(NasError, match=message):
        nas.search(tiny, "digits", **{"runs": tmp_path / "runs", **options})
    assert not (tmp_path / "runs").exists()


def test_a_colour_space_without_data_asks_for_it(tmp_path: Path) -> None:
    with pytest.raises(NasError, match=r"32×32 pixels with 3 channels.*--data"):
        nas.search("groupconv32", runs=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_process_loses_nothing_that_is_finished(tmp_path: Path, how: signal.Signals) -> None:
    command = [sys.executable, "-m", "nas", "search", "--study", "s", "--runs", str(tmp_path), "--epochs", "2"]
    process = subprocess.Popen(
        [*command, "--trials", "50", "--device", "cpu", "--workers", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    for line in process.stdout:
        if line.startswith("trial 1 "):
            break
    time.sleep(0.2)
    process.send_signal(how)
    out, err = process.communicate(timeout=120)
    kept = [record for record in nas.Study.open("s", tmp_path).records() if record.finished]
    assert len(kept) >= 2
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert f"kept: {len(kept)} of 50 trainings" in err
        assert "nas search --study s" in err
        assert "Traceback" not in out + err
    study = nas.search(name="s", trials=len(kept) + 1, runs=tmp_path, device="cpu")
    records = study.records()
    assert [record for record in records if record.finished][: len(kept)] == kept
    assert {record.state for record in records if not record.finished} <= {"failed"}


def test_a_search_records_how_it_stands_while_it_runs_and_after(tmp_path: Path, tiny: SearchSpace) -> None:
    seen = []

    def evaluate(architecture: Architecture, report: Report) -> float:
        state = Study.open("s", tmp_path).attributes.search
        assert state is not None
        seen.append((state.trials, state.state, state.live))
        return 0.5

    study = nas.search(tiny, trials=2, runs=tmp_path, name="s", evaluate=evaluate)
    assert seen == [(2, "running", True)] * 2
    assert study.attributes.search == SearchState(2, SearchStatus.COMPLETE, this_worker())

    def stop(*_: object) -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        nas.search(tiny, trials=5, runs=tmp_path, name="s", evaluate=stop)
    assert Study.open("s", tmp_path).attributes.search == SearchState(
        5, SearchStatus.INTERRUPTED, this_worker(), before=2
    )


def test_what_one_s_own_training_measures_is_kept(tmp_path: Path, tiny: SearchSpace) -> None:
    class Result:
        accuracy, measures = 0.5, {"latency (ms)": 3.25}

    [record] = nas.search(tiny, trials=1, runs=tmp_path, name="s", evaluate=lambda *_: Result()).records()
    assert record.measures == {"latency (ms)": 3.25}
    assert record.to_dict()["measures"] == {"latency (ms)": 3.25}


def test_measures_are_finite_and_have_names_of_their_own(tmp_path: Path, tiny: SearchSpace) -> None:
    class Result:
        accuracy = 0.5

        def __init__(self, measures: dict[str, float]) -> None:
            self.measures = measures

    given = iter([{"a (ms)": float("nan"), "b (ms)": 2.0}, {"seconds": 2.0}, {"stage1.groups": 1.0}, {}])
    records = nas.search(
        tiny,
        trials=2,
        runs=tmp_path,
        name="s",
        evaluate=lambda *_: Result(next(given)),
    ).records()
    assert records[0].measures == {"b (ms)": 2.0}
    assert [record.reason for record in records[1:]] == ["bad_measures", "bad_measures", None]
    assert "'seconds', which every trial has already" in str(records[1].detail)


def test_a_long_trial_s_curve_is_written_while_it_is_trained(
    tmp_path: Path, tiny: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_module, "SECONDS_BETWEEN_REPORTS", 0.0)
    seen = []

    def evaluate(architecture: Architecture, report: Report) -> float:
        for epoch in (1, 2):
            report(epoch, epoch / 4)
            seen.append(Study.open("s", tmp_path).records()[-1].curve)
        return 0.75

    nas.search(tiny, trials=1, runs=tmp_path, name="s", evaluate=evaluate)
    assert seen == [(0.25,), (0.25, 0.5)]


@pytest.mark.slow
def test_an_interrupted_training_goes_on_after_its_last_epoch(
    tmp_path: Path, tiny: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nas.training.checkpoint import Checkpoint

    checkpoint_every_epoch(monkeypatch)
    restored: list[int] = []
    restore = Checkpoint.restore

    def and_write_down(self: Checkpoint, *given: Any) -> None:
        progress = self.progress()
        restored.append(len(progress.curve) if progress else 0)
        restore(self, *given)

    monkeypatch.setattr(Checkpoint, "restore", and_write_down)

    class Stops(Diary):
        def epoch_ended(self, trial: int, curve: Sequence[float]) -> None:
            if trial == 1 and len(curve) == 2:
                raise KeyboardInterrupt

    undisturbed = nas.search(tiny, "digits", trials=3, epochs=3, runs=tmp_path, name="u", device="cpu")
    with pytest.raises(KeyboardInterrupt):
        nas.search(tiny, "digits", trials=3, epochs=3, runs=tmp_path, name="s", device="cpu", listener=Stops())
    study = Study.open("s", tmp_path)
    assert study.checkpoint_file(study.records()[1]).is_file()
    study = nas.search(trials=3, runs=tmp_path, name="s", device="cpu")
    assert restored == [2]
    assert finished(study) == finished(undisturbed)
    assert not list((study.folder / "artifacts").glob("checkpoint-*"))
