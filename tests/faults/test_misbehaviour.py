"""Trainings that run out of memory, diverge, raise, hang or kill their process; and searches where all of them do."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import nas
from nas import Architecture, NasError, SearchSpace
from nas.errors import TrainingFailed
from nas.study.search_state import SearchState, SearchStatus
from nas.system.processes import METHOD, this_worker
from tests.faults.killing import forked, until
from tests.helpers import Ran, formula

Report = Callable[[int, float], None]
needs_fork = pytest.mark.skipif(METHOD != "forkserver", reason="signals and forks as on Linux and macOS")

MORE_THAN_ANY_MACHINE_HAS = 1 << 50


def takes_all_memory(architecture: Architecture, report: Report) -> float:
    import torch

    torch.empty(MORE_THAN_ANY_MACHINE_HAS, dtype=torch.uint8)
    raise AssertionError


def raises(architecture: Architecture, report: Report) -> float:
    raise KeyError("no such layer")


def hangs(architecture: Architecture, report: Report) -> float:
    """As a kernel that never returns: signals that ask it to end are of no use."""
    report(1, 0.5)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    time.sleep(3600)
    raise AssertionError


def hangs_when_deep(architecture: Architecture, report: Report) -> float:
    return hangs(architecture, report) if architecture.stages[0].depth > 1 else formula(architecture, report)


def is_killed(architecture: Architecture, report: Report) -> float:
    """As by a system that is out of memory."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def is_killed_when_deep(architecture: Architecture, report: Report) -> float:
    return is_killed(architecture, report) if architecture.stages[0].depth > 1 else formula(architecture, report)


class InTurn:
    """A training that does one thing after the other."""

    def __init__(self, *deeds: Callable[[Architecture, Report], float]) -> None:
        self.deeds = list(deeds)

    def __call__(self, architecture: Architecture, report: Report) -> float:
        return self.deeds.pop(0)(architecture, report) if self.deeds else formula(architecture, report)


def gives_no_number(architecture: Architecture, report: Report) -> float:
    return float("nan")


def says_why(architecture: Architecture, report: Report) -> float:
    raise TrainingFailed("no_licence", "the simulator has no licence left")


def runs_out_of_memory(architecture: Architecture, report: Report) -> float:
    raise MemoryError


def test_each_failure_is_recorded_with_its_reason_and_the_search_goes_on(tmp_path: Path, tiny: SearchSpace) -> None:
    deeds = [takes_all_memory, raises, gives_no_number, says_why, runs_out_of_memory]
    study = nas.search(tiny, trials=3, runs=tmp_path, name="s", evaluate=InTurn(*deeds), sampler="random")
    records = study.records()
    reasons = [record.reason for record in records]
    assert reasons == ["out_of_memory", "error", "bad_accuracy", "no_licence", "out_of_memory", None, None, None]
    assert "can't allocate memory" in str(records[0].detail)
    assert str(records[1].detail).splitlines()[-1] == "KeyError: 'no such layer'"
    assert "in raises" in str(records[1].detail)
    assert records[3].detail == "the simulator has no licence left"


def test_a_training_that_diverges_is_recorded_as_such(tmp_path: Path, tiny: SearchSpace) -> None:
    wild = tiny.with_changes(recipe=replace(tiny.recipe, learning_rate=1e3, optimizer="sgd"))
    with pytest.raises(NasError, match="the first 3 trainings all failed as not_finite"):
        nas.search(wild, "digits", trials=6, runs=tmp_path, name="s", device="cpu")
    records = nas.Study.open("s", tmp_path).records()
    assert [record.reason for record in records] == ["not_finite"] * 3
    assert "the loss was not finite in epoch" in str(records[0].detail)


@pytest.mark.parametrize(
    ("deeds", "line"),
    [
        ([takes_all_memory, runs_out_of_memory, takes_all_memory], r"all failed as out_of_memory \(.*allocate"),
        ([raises] * 3, r"all failed as error \(KeyError: 'no such layer'\)"),
        ([says_why] * 3, r"all failed as no_licence \(the simulator has no licence left\)"),
    ],
)
def test_three_alike_at_first_end_the_search_with_that_reason(
    tmp_path: Path, tiny: SearchSpace, deeds: Sequence[Any], line: str
) -> None:
    with pytest.raises(NasError, match=line) as refusal:
        nas.search(tiny, trials=9, runs=tmp_path, name="s", evaluate=InTurn(*deeds))
    assert len(str(refusal.value).splitlines()) == 1
    study = nas.Study.open("s", tmp_path)
    assert len(study.records()) == 3
    state = study.attributes.search
    assert state is not None
    assert state.state == "interrupted"
    # Once it is mended the same command goes on; what failed before is no reason to end again.
    study = nas.search(tiny, trials=9, runs=tmp_path, name="s", evaluate=formula)
    assert [record.state for record in study.records()] == ["failed"] * 3 + ["complete"] * 9


@pytest.mark.parametrize(
    "deeds",
    [[raises, raises, says_why], [formula, raises, raises, raises, raises], [raises, formula, raises, raises]],
)
def test_failures_of_several_kinds_or_later_on_end_nothing(
    tmp_path: Path, tiny: SearchSpace, deeds: Sequence[Any]
) -> None:
    study = nas.search(tiny, trials=9, runs=tmp_path, name="s", evaluate=InTurn(*deeds))
    assert sum(record.trained for record in study.records()) == 9


@needs_fork
@pytest.mark.parametrize("workers", [1, 2])
def test_a_training_that_hangs_is_ended_with_its_worker_and_the_search_goes_on(
    tmp_path: Path, tiny: SearchSpace, workers: int
) -> None:
    study = nas.search(
        tiny,
        trials=8,
        runs=tmp_path,
        name="s",
        evaluate=hangs_when_deep,
        sampler="random",
        seed=3,
        workers=workers,
        trial_timeout=0.5,
    )
    finished = [record for record in study.records() if record.finished]
    assert sum(record.trained for record in finished) == 8
    for record in finished:
        hung = record.architecture.stages[0].depth > 1
        assert (record.state, record.reason) == (("failed", "timeout") if hung else ("complete", None))
    hanging = [record for record in finished if record.reason == "timeout"]
    assert hanging
    assert {record.detail for record in hanging} == {
        "it had not ended after 0.5 s, and was ended together with its worker"
    }
    assert {record.state for record in study.records()} == {"failed", "complete"}


@needs_fork
def test_where_all_trainings_hang_the_search_ends(tmp_path: Path, tiny: SearchSpace) -> None:
    with pytest.raises(NasError, match="the first 3 trainings all failed as timeout"):
        nas.search(tiny, trials=9, runs=tmp_path, name="s", evaluate=hangs, workers=2, trial_timeout="0.3s")
    assert "running" not in {record.state for record in nas.Study.open("s", tmp_path).records()}


@needs_fork
def test_a_training_over_which_workers_die_is_recorded_with_what_they_died_of(
    tmp_path: Path, tiny: SearchSpace
) -> None:
    study = nas.search(
        tiny, trials=6, runs=tmp_path, name="s", evaluate=is_killed_when_deep, sampler="random", seed=3, workers=2
    )
    finished = [record for record in study.records() if record.finished]
    assert sum(record.trained for record in finished) == 6
    fatal = [record for record in finished if record.architecture.stages[0].depth > 1]
    assert fatal
    assert {record.reason for record in fatal} == {"worker_died"}
    assert all("3 workers died over it" in str(record.detail) for record in fatal)
    assert any("signal 9 (Killed)" in str(record.detail) for record in fatal)


@needs_fork
def test_a_training_over_which_the_only_process_died_often_is_named(
    tmp_path: Path, tiny: SearchSpace, caplog: pytest.LogCaptureFixture
) -> None:
    options: dict[str, Any] = {"trials": 2, "runs": tmp_path, "name": "s", "sampler": "random", "seed": 3}
    for _ in range(3):
        searching = forked(_search, tiny, {**options, "evaluate": is_killed})
        searching.join()
        assert searching.exitcode == -signal.SIGKILL
    study = nas.search(tiny, evaluate=formula, **options)
    [fatal] = {record.name for record in study.records() if record.reason == "interrupted"}
    assert f"interrupted 3 times while it trained {fatal}; if that training" in caplog.text
    assert sum(record.trained for record in study.records()) == 2


def _search(space: SearchSpace, options: dict[str, Any]) -> None:
    nas.search(space, **options)


@pytest.mark.parametrize(("died", "guess"), [("signal 9 (Killed)", True), ("signal 6 (Aborted)", False)])
def test_the_cause_is_memory_only_where_it_may_have_been(
    tmp_path: Path, tiny: SearchSpace, died: str, guess: bool
) -> None:
    study = nas.search(tiny, trials=1, runs=tmp_path, name="s", evaluate=formula)
    study.attributes.search = SearchState(9, SearchStatus.RUNNING, this_worker())
    for _ in range(3):
        study.ask(nas.strategy.samplers.ValidSampler(("random", 7), tiny, {}))
        study.requeue_stale(died={this_worker(): died})
    [given_up] = [record for record in study.records() if record.reason == "worker_died"]
    assert ("runs out of memory" in str(given_up.detail)) == guess


@pytest.fixture
def small_memory() -> Iterator[Path]:
    """The file by which a process joins a group that has 2 GB in all; the system ends one of it that wants more."""
    old, new = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
    group = (old if old.is_dir() else new) / f"nas-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / ("memory.limit_in_bytes" if old.is_dir() else "memory.max")).write_text(str(2 * 2**30))
    except OSError as error:
        with suppress(OSError):
            group.rmdir()
        pytest.skip(f"no memory can be set apart here: {error}")
    yield group / "cgroup.procs"
    until(lambda: not (group / "cgroup.procs").read_text().strip())
    group.rmdir()


def wants_all_memory_when_deep(architecture: Architecture, report: Report) -> float:
    taken = []
    while architecture.stages[0].depth > 1:
        taken.append(b"x" * 2**26)
    return formula(architecture, report)


def _search_in_small_memory(space: SearchSpace, runs: Path, group: Path) -> None:
    group.write_text(str(os.getpid()))
    nas.search(
        space, trials=6, runs=runs, name="s", evaluate=wants_all_memory_when_deep, sampler="random", seed=3, workers=2
    )


@needs_fork
@pytest.mark.long
def test_where_a_worker_takes_all_memory_the_system_ends_it_and_the_search_goes_on(
    tmp_path: Path, tiny: SearchSpace, small_memory: Path, tally: Callable[[str, int], None]
) -> None:
    process = forked(_search_in_small_memory, tiny, tmp_path, small_memory)
    process.join()
    assert process.exitcode == 0
    records = nas.Study.open("s", tmp_path).records()
    finished = [record for record in records if record.finished]
    assert sum(record.trained for record in finished) == 6
    for record in finished:
        assert record.reason == ("worker_died" if record.architecture.stages[0].depth > 1 else None)
    killed = [record for record in finished if "signal 9" in str(record.detail)]
    assert killed
    tally("workers that took all memory", 3 * len(killed))


def test_a_worker_is_the_first_to_go_where_memory_runs_out(tmp_path: Path, tiny: SearchSpace) -> None:
    if not Path("/proc/self/oom_score_adj").exists():
        pytest.skip("Linux alone has this")
    study = nas.search(tiny, trials=1, runs=tmp_path, name="s", evaluate=writes_its_score, workers=2)
    assert study.records()[0].measures["score"] > int(Path("/proc/self/oom_score_adj").read_text(encoding="ascii"))


class Scored:
    def __init__(self, score: float) -> None:
        self.accuracy, self.measures = 0.5, {"score": score}


def writes_its_score(architecture: Architecture, report: Report) -> Any:
    return Scored(float(Path("/proc/self/oom_score_adj").read_text(encoding="ascii")))


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--trial-timeout", "soon"], "trial_timeout=soon: must be a positive duration"),
        (["--trial-timeout", "0"], "trial_timeout=0: must be a positive duration"),
        (["--trial-timeout", "5m", "--objectives", "accuracy,latency"], "is not for objectives=accuracy,latency"),
        (["--keep", "best"], "keep='best': must be one of front, all, none"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(
    tmp_path: Path, nas_command: Callable[..., Ran], options: list[str], line: str
) -> None:
    ran = nas_command("search", "digits", "--runs", tmp_path / "runs", *options)
    assert ran.code == 2
    assert line in ran.err
    assert not (tmp_path / "runs").exists()
