import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import nas
from nas import Architecture, NasError, SearchSpace, Study, TrialRecord
from nas.study.records import TrialState
from nas.study.search_state import Request, SearchState, SearchStatus
from nas.system.processes import this_worker
from nas.workers import trial as trial_module
from nas.workflows import steering
from tests.helpers import Ran, formula, has_trials
from tests.workers.test_loop import Diary

Report = Callable[[int, float], None]


class Person(Diary):
    """Does something to the study once as many trials have ended, and resumes a paused search."""

    def __init__(self, after: int, act: Callable[[Study], object]) -> None:
        super().__init__()
        self._after, self._act = after, act
        self.study: Study | None = None

    def search_started(self, study: Study, trials: int) -> None:
        super().search_started(study, trials)
        self.study = Study.open(study.name, study.folder.parent)  # as another process would

    def trial_ended(self, record: TrialRecord) -> None:
        super().trial_ended(record)
        assert self.study
        if record.trial + 1 == self._after:
            self._act(self.study)

    def search_steered(self, state: SearchState) -> None:
        assert self.study
        self.lines.append(f"{state.request} {state.trials}")
        if state.request == Request.PAUSE:
            steering.resume(self.study)


def search(runs: Path, space: SearchSpace, trials: int, **options: Any) -> Study:
    return nas.search(space, trials=trials, name="s", runs=runs, references=False, **{"evaluate": formula, **options})


def acts(study: Study) -> list[str]:
    return [act.what for act in study.attributes.acts]


def test_a_paused_search_starts_nothing_until_it_is_resumed(tmp_path: Path, tiny: SearchSpace) -> None:
    person = Person(1, steering.pause)
    study = search(tmp_path, tiny, 2, listener=person)
    steps = [line for line in person.lines if not line.startswith("epoch")]
    assert steps == ["search 2", "start 0", "complete 0", "pause 2", "None 2", "start 1", "complete 1", "complete"]
    assert acts(study) == ["paused the search", "resumed the search"]
    assert study.attributes.acts[0].time == pytest.approx(time.time(), abs=600)


def test_a_stopped_search_ends_and_the_same_search_goes_on(tmp_path: Path, tiny: SearchSpace) -> None:
    person = Person(2, steering.stop)
    study = search(tmp_path, tiny, 5, listener=person)
    assert person.lines[-1] == "stopped"
    assert (state := study.attributes.search)
    assert (state.state, len(study.records())) == (SearchStatus.STOPPED, 2)
    study = search(tmp_path, tiny, 5)
    assert (state := study.attributes.search)
    assert (state.state, state.request, len(study.records())) == (SearchStatus.COMPLETE, None, 5)


def test_a_running_search_is_extended(tmp_path: Path, tiny: SearchSpace) -> None:
    person = Person(2, lambda study: steering.extend(study, 2))
    study = search(tmp_path, tiny, 3, listener=person)
    assert "None 5" in person.lines
    assert len(study.records()) == 5
    assert (state := study.attributes.search)
    assert (state.trials, state.state) == (5, SearchStatus.COMPLETE)


def after_an_epoch(runs: Path, act: Callable[[Study, int], object]) -> Callable[[Architecture, Report], float]:
    """A training during which, in the second trial and for once, a person does something."""
    done: list[int] = []

    def evaluate(architecture: Architecture, report: Report) -> float:
        study = Study.open("s", runs)
        [trial] = [record.trial for record in study.records() if record.state == TrialState.RUNNING]
        report(1, 0.25)
        if trial == 1 and not done:
            done.append(trial)
            act(study, trial)
        report(2, 0.5)
        return formula(architecture, lambda *_: None)

    return evaluate


@pytest.fixture
def watched_closely(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings look for requests after each epoch, however short."""
    monkeypatch.setattr(trial_module, "SECONDS_BETWEEN_REPORTS", 0.0)


@pytest.mark.usefixtures("watched_closely")
def test_a_search_stopped_at_once_trains_on_later_what_was_running(tmp_path: Path, tiny: SearchSpace) -> None:
    evaluate = after_an_epoch(tmp_path, lambda study, _: steering.stop(study, now=True))
    study = search(tmp_path, tiny, 4, evaluate=evaluate)
    states = [(record.state, record.reason) for record in study.records()]
    assert states == [(TrialState.COMPLETE, None), (TrialState.FAILED, "interrupted"), (TrialState.WAITING, None)]
    assert (state := study.attributes.search)
    assert state.state == SearchStatus.STOPPED
    left = study.records()[2].architecture
    study = search(tmp_path, tiny, 4, evaluate=evaluate)
    assert study.records()[2].architecture == left
    assert [record.state for record in study.records()].count(TrialState.COMPLETE) == 4


@pytest.mark.usefixtures("watched_closely")
def test_one_training_is_ended_and_not_trained_again(tmp_path: Path, tiny: SearchSpace) -> None:
    study = search(tmp_path, tiny, 9, evaluate=after_an_epoch(tmp_path, steering.end_training))
    ended = study.records()[1]
    assert (ended.state, ended.reason, ended.curve) == (TrialState.STOPPED, "ended_by_person", (0.25,))
    assert [record.architecture for record in study.records()].count(ended.architecture) == 1
    assert acts(study) == ["ended trial 1"]
    with pytest.raises(NasError, match="trial 1 is stopped, not running"):
        steering.end_training(study, 1)


def test_what_cannot_be_done_is_said_in_one_line(tmp_path: Path, tiny: SearchSpace) -> None:
    study = search(tmp_path, tiny, 2)
    for act in (steering.pause, steering.resume, steering.stop, lambda study: steering.extend(study, 3)):
        with pytest.raises(NasError, match="study 's': no search is running on it"):
            act(study)
    study.attributes.search = SearchState(2, SearchStatus.RUNNING, this_worker())
    with pytest.raises(NasError, match="the search is not paused"):
        steering.resume(study)
    steering.pause(study)
    with pytest.raises(NasError, match="the search is paused already"):
        steering.pause(study)
    steering.stop(study)
    with pytest.raises(NasError, match="the search is stopping already"):
        steering.stop(study)
    steering.stop(study, now=True)
    with pytest.raises(NasError, match="the search is stopping already"):
        steering.stop(study)
    with pytest.raises(NasError, match="trials=0: must be from 1"):
        steering.extend(study, 0)
    with pytest.raises(NasError, match="its search trains in its own process; nas worker s adds one"):
        steering.set_workers(study, 2)
    with pytest.raises(NasError, match="workers=0: must be from 1 to 1024"):
        steering.set_workers(study, 0)
    steering.resume(study)
    assert study.attributes.search == SearchState(2, SearchStatus.RUNNING, this_worker())
    assert len(acts(study)) == 4


def test_what_people_did_does_not_grow_without_end(tmp_path: Path, tiny: SearchSpace) -> None:
    study = search(tmp_path, tiny, 1)
    for number in range(120):
        study.attributes.add_act(f"act {number}")
    assert acts(study) == [f"act {number}" for number in range(20, 120)]


@pytest.fixture
def searching(tmp_path: Path, tiny: SearchSpace) -> Iterator["subprocess.Popen[bytes]"]:
    """A long search of two workers in another process."""
    (tmp_path / "tiny.yaml").write_text(tiny.to_yaml(), encoding="utf-8")
    options = [
        "--data",
        "digits",
        "--trials",
        "60",
        "--epochs",
        "60",
        "--workers",
        "2",
        "--device",
        "cpu",
        "--study",
        "s",
        "--fidelities",
        "1",
        "--runs",
    ]
    command = [sys.executable, "-m", "nas", "search", str(tmp_path / "tiny.yaml"), *options, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    yield process
    process.send_signal(signal.SIGTERM)
    process.communicate()


def wait_for(what: Callable[[], bool], *, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until
        time.sleep(0.1)


@pytest.mark.slow
def test_workers_in_other_processes_hear_of_it(
    searching: "subprocess.Popen[bytes]", tmp_path: Path, nas_command: Callable[..., Ran]
) -> None:
    def running() -> int:
        return sum(record.state == TrialState.RUNNING for record in study.records())

    wait_for(lambda: has_trials("s", tmp_path))
    study = Study.open("s", tmp_path)
    wait_for(lambda: running() == 2)
    assert "s pauses once" in nas_command("pause", "s", "--runs", tmp_path).out
    wait_for(lambda: running() == 0)
    before = len(study.records())
    time.sleep(1)
    assert len(study.records()) == before
    assert "s now searches for 62" in nas_command("extend", 2, "s", "--runs", tmp_path).out
    assert "s goes on" in nas_command("resume", "s", "--runs", tmp_path).out
    wait_for(lambda: running() == 2)
    assert nas_command("workers", 3, "s", "--runs", tmp_path).out == "s has 3 workers from now on.\n"
    wait_for(lambda: running() == 3)
    assert nas_command("workers", 1, "s", "--runs", tmp_path).code == 0
    wait_for(lambda: running() == 1)
    waiting = [record.architecture for record in study.records() if record.state == TrialState.WAITING]
    assert len(waiting) == 2  # those that lost their workers
    time.sleep(2)
    assert running() == 1
    assert "the search has 1 workers already" in nas_command("workers", 1, "s", "--runs", tmp_path).err
    trial = next(record.trial for record in study.records() if record.state == TrialState.RUNNING)
    assert f"Trial {trial} of s ends" in nas_command("stop", "s", "--trial", trial, "--runs", tmp_path).out
    assert "ends after the current epoch" in nas_command("stop", "s", "--now", "--runs", tmp_path).out
    out, error = searching.communicate(timeout=60)
    assert searching.returncode == 0, error
    assert b"Paused: no further training starts" in out
    assert b"The budget is now 62 full-length trainings." in out
    assert b"The search was stopped; the same command resumes it." in out
    assert study.records()[trial].reason == steering.ENDED_BY_PERSON
    assert nas_command("stop", "s", "--runs", tmp_path).err == "nas: study 's': no search is running on it\n"
    assert "only one of them" in nas_command("stop", "s", "--now", "--trial", 0, "--runs", tmp_path).err
