"""Processes that are killed while they act on a study, and several that act at once: nothing is lost, nothing twice."""

import random
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import nas
from nas import NasError, SearchSpace, Study
from nas.architectures.edits import edited
from nas.study.records import TrialState
from nas.study.search_state import Request, SearchState, SearchStatus
from nas.system.processes import this_worker
from nas.workflows import steering
from nas.workflows.enqueue import enqueue
from tests.faults.killing import forked, kill, until
from tests.helpers import formula

KILLS = 12


@pytest.fixture
def study(tmp_path: Path, tiny: SearchSpace) -> Study:
    found = nas.search(tiny, "digits", trials=3, name="s", runs=tmp_path, evaluate=formula, references=False)
    found.attributes.search = SearchState(9, SearchStatus.RUNNING, this_worker(), workers=2)
    return found


def _act(runs: Path, act: str, ready: Path) -> None:
    """Acts again and again, as somebody at a dashboard does, until it is killed."""
    study = Study.open("s", runs)
    ready.touch()
    number = 0
    while True:
        number += 1
        try:
            if act == "extend":
                steering.extend(study, 1)
            elif act == "pause":
                (steering.pause if number % 2 else steering.resume)(study)
            else:
                steering.set_workers(study, 2 + number % 5)
        except NasError:
            pass


def _killed(target: Callable[..., None], *arguments: Any, ready: Path, rng: random.Random) -> None:
    process = forked(target, *arguments, ready)
    while not ready.exists():
        time.sleep(0.005)
    time.sleep(rng.uniform(0.0, 0.3))
    kill(process.pid)
    process.join()
    ready.unlink()


@pytest.mark.slow
@pytest.mark.parametrize("act", ["extend", "pause", "workers"])
def test_whoever_acts_may_be_killed_at_any_moment(tmp_path: Path, study: Study, act: str) -> None:
    rng = random.Random(act)
    for _ in range(KILLS):
        _killed(_act, tmp_path, act, ready=tmp_path / "ready", rng=rng)
        seen = Study.open("s", tmp_path)  # the journal is whole
        state = seen.attributes.search
        assert state is not None
        assert (state.state, state.worker) == (SearchStatus.RUNNING, this_worker())
        assert state.request in (None, Request.PAUSE)
    seen = Study.open("s", tmp_path)
    steering.extend(seen, 1)  # no lock is left behind
    state, acts = seen.attributes.search, [each.what for each in seen.attributes.acts]
    assert state is not None
    assert len(acts) > 2
    if act == "extend":  # each is in the log once, but for those that were killed between the two
        numbers = [int(words.rpartition(" ")[2]) for words in acts]
        assert numbers == sorted(set(numbers))
        assert state.trials == numbers[-1]


def _search(runs: Path, tiny: SearchSpace, trials: int) -> None:
    nas.search(tiny, "digits", trials=trials, name="s", runs=runs, evaluate=_slow, references=False)


def _slow(architecture: nas.Architecture, report: Callable[[int, float], None]) -> float:
    time.sleep(0.02)
    return formula(architecture, report)


def _untrained(study: Study) -> nas.Architecture:
    """A network of the study's space that has no trial yet."""
    known = {record.architecture.key for record in study.records()}
    points = map(study.config.space.architecture, study.config.space.points())
    return next(architecture for architecture in points if architecture.key not in known)


@pytest.mark.slow
def test_the_search_may_be_killed_while_somebody_acts(tmp_path: Path, tiny: SearchSpace) -> None:
    rng, trials, queued = random.Random(0), 4, []
    nas.search(tiny, "digits", trials=2, name="s", runs=tmp_path, evaluate=formula, references=False)
    for _ in range(KILLS):
        searching = forked(_search, tmp_path, tiny, trials)
        study = Study.open("s", tmp_path)
        until(lambda study=study: (state := study.attributes.search) is not None and state.live)  # type: ignore[misc]
        killed_at = time.monotonic() + rng.uniform(0.0, 0.2)
        with suppress(NasError):  # no search any more
            wanted = _untrained(study)
            enqueue(study, wanted)
            queued.append(wanted.key)
            trials = steering.extend(study, 2)
            steering.pause(study)
            steering.resume(study)
        time.sleep(max(0.0, killed_at - time.monotonic()))
        kill(searching.pid)
        searching.join()
    _search(tmp_path, tiny, trials)
    records = Study.open("s", tmp_path).records()
    assert not [record for record in records if record.state in (TrialState.RUNNING, TrialState.WAITING)]
    trained = [record.architecture.key for record in records if record.state == TrialState.COMPLETE]
    assert len(queued) == KILLS
    assert set(queued) <= set(trained)  # nothing lost
    assert len(trained) == len(set(trained))  # nothing twice
    assert len(trained) >= trials > 4


@pytest.mark.slow
def test_two_who_act_at_once_lose_nothing(tmp_path: Path, study: Study) -> None:
    others = [forked(_extend, tmp_path, 30) for _ in range(2)]
    _extend(tmp_path, 30)
    for process in others:
        process.join()
        assert process.exitcode == 0
    state = Study.open("s", tmp_path).attributes.search
    assert state is not None
    assert state.trials == 9 + 90
    assert len(study.attributes.acts) == 90


def _extend(runs: Path, times: int) -> None:
    mine = Study.open("s", runs)
    for _ in range(times):
        steering.extend(mine, 1)


@pytest.mark.slow
def test_a_network_that_two_queue_at_once_is_queued_once(tmp_path: Path, tiny: SearchSpace) -> None:
    study = nas.search(tiny, "digits", trials=3, name="s", runs=tmp_path, evaluate=formula, references=False)
    known = {record.architecture.key for record in study.records()}
    wanted = next(
        architecture
        for record in study.records()
        for depth in (1, 2)
        for groups in (1, 2, 4)
        if (architecture := edited(record.architecture, [f"stage1.depth={depth}", f"stage1.groups={groups}"])).key
        not in known
    )
    others = [forked(_queue, tmp_path, wanted) for _ in range(4)]
    for process in others:
        process.join()
    waiting = [record for record in Study.open("s", tmp_path).records() if record.state == TrialState.WAITING]
    assert [record.architecture for record in waiting] == [wanted]


def _queue(runs: Path, architecture: Any) -> None:
    with suppress(NasError):  # it is queued already
        enqueue(Study.open("s", runs), architecture)
