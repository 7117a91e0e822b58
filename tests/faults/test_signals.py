"""Ctrl-C and SIGTERM: seconds until all processes are gone, whatever they are at; a second one ends them at once."""

import ctypes
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

import nas
from nas import Architecture, SearchSpace, Study
from nas.system.processes import METHOD
from nas.system.signals import INTERRUPTED_CODE
from tests.faults.killing import forked, kill, until
from tests.helpers import at_most

pytestmark = pytest.mark.skipif(METHOD != "forkserver", reason="signals and forks as on Linux and macOS")

SECONDS_TO_END = 5.0
AT_ONCE = 2.0
Report = Callable[[int, float], None]


def sleeps(architecture: Architecture, report: Report) -> float:
    _say_so()
    time.sleep(3600)
    raise AssertionError


def ignores_signals(architecture: Architecture, report: Report) -> float:
    _say_so()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    time.sleep(3600)
    raise AssertionError


def computes(architecture: Architecture, report: Report) -> float:
    """Never comes back to Python, as a long kernel: no Python code in this thread sees a signal."""
    libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
    libc.pthread_mutex_init(mutex, None)
    libc.pthread_mutex_lock(mutex)
    _say_so()
    libc.pthread_mutex_lock(mutex)
    raise AssertionError


def _say_so() -> None:
    Path(os.environ["NAS_TEST_MARK"], str(os.getpid())).touch()


def _search(space: SearchSpace, runs: Path, evaluate: Any, workers: int) -> None:
    from rich.console import Console

    from nas.cli.console import watched

    os.environ["NAS_TEST_MARK"] = str(runs / "training")
    output = os.open(runs / "said", os.O_WRONLY | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    try:
        with watched(Console()) as view:
            nas.search(space, trials=9, runs=runs, name="s", evaluate=evaluate, workers=workers, listener=view)
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED_CODE) from None


class Going:
    """A search whose workers are all at a training, its processes, and the shared memory that there was before."""

    def __init__(self, space: SearchSpace, runs: Path, evaluate: Any, workers: int) -> None:
        self.shared = _shared_memory()
        self.runs = runs
        (runs / "training").mkdir()
        self.process = forked(_search, space, runs, evaluate, workers)
        until(lambda: len(list((runs / "training").iterdir())) == workers)
        self.family = [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]

    def seconds_to_end(self) -> float:
        """Until it and all that it has started are gone."""
        began = time.monotonic()
        until(lambda: not any(_lives(member) for member in self.family))
        self.process.join()
        return time.monotonic() - began

    def check(self) -> None:
        """Nothing of it is left, and the next search goes on."""
        assert self.process.exitcode == INTERRUPTED_CODE
        assert _shared_memory() <= self.shared
        assert "Traceback" not in (self.runs / "said").read_text(encoding="utf-8")
        assert "running" not in {record.state for record in Study.open("s", self.runs).records()}


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _shared_memory() -> set[str]:
    folder = Path("/dev/shm")
    files = {file.name for file in folder.iterdir()} if folder.is_dir() else set()
    return {name for name in files if not name.startswith("PostgreSQL")}  # of other tests' servers


@pytest.mark.parametrize(
    ("evaluate", "workers", "number"),
    [
        (sleeps, 1, signal.SIGINT),
        (sleeps, 2, signal.SIGTERM),
        (ignores_signals, 2, signal.SIGINT),
        (computes, 1, signal.SIGTERM),
        (sleeps, 1, signal.SIGHUP),
        pytest.param(sleeps, 2, signal.SIGHUP, marks=pytest.mark.long),
        pytest.param(sleeps, 1, signal.SIGTERM, marks=pytest.mark.long),
        pytest.param(sleeps, 2, signal.SIGINT, marks=pytest.mark.long),
        pytest.param(ignores_signals, 2, signal.SIGTERM, marks=pytest.mark.long),
        pytest.param(computes, 1, signal.SIGINT, marks=pytest.mark.long),
        pytest.param(computes, 2, signal.SIGINT, marks=pytest.mark.long),
    ],
)
def test_one_signal_ends_all_processes_within_seconds(
    tmp_path: Path, tiny: SearchSpace, evaluate: Any, workers: int, number: signal.Signals
) -> None:
    going = Going(tiny, tmp_path, evaluate, workers)
    os.kill(going.process.pid, number)
    assert going.seconds_to_end() < at_most(SECONDS_TO_END)
    going.check()
    said = (tmp_path / "said").read_text(encoding="utf-8")
    orderly = evaluate is not computes or workers > 1
    assert ("kept: 0 of 9 trainings. Go on" if orderly else "nas: ended at once") in said


def _search_without_hangups(space: SearchSpace, runs: Path, evaluate: Any, workers: int) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    _search(space, runs, evaluate, workers)


def test_a_search_that_was_started_by_nohup_survives_its_terminal(
    tmp_path: Path, tiny: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.faults.test_signals._search", _search_without_hangups)
    going = Going(tiny, tmp_path, sleeps, 1)
    os.kill(going.process.pid, signal.SIGHUP)
    time.sleep(0.5)
    assert going.process.is_alive()
    os.kill(going.process.pid, signal.SIGTERM)
    going.seconds_to_end()
    going.check()


def forks(architecture: Architecture, report: Report) -> float:
    """Trains with processes of its own, which it ends by SIGTERM as it leaves the pool."""
    with multiprocessing.get_context("fork").Pool(2) as pool:
        accuracy = float(0.5 + pool.apply(abs, (-0.25,)))
    time.sleep(0.8)  # so that the search would still be there to be ended by mistake
    return accuracy


@pytest.mark.parametrize("workers", [1, 2])
def test_a_training_may_end_processes_that_it_has_forked(tmp_path: Path, tiny: SearchSpace, workers: int) -> None:
    (tmp_path / "training").mkdir()
    process = forked(_search, tiny, tmp_path, forks, workers)
    process.join(timeout=at_most(60))
    assert process.exitcode == 0, (tmp_path / "said").read_text(encoding="utf-8")
    assert [record.accuracy for record in Study.open("s", tmp_path).records()] == [0.75] * 9


@pytest.mark.parametrize(("evaluate", "workers"), [(computes, 1), (ignores_signals, 2)])
def test_a_second_signal_ends_all_processes_at_once(
    tmp_path: Path, tiny: SearchSpace, evaluate: Any, workers: int
) -> None:
    going = Going(tiny, tmp_path, evaluate, workers)
    os.kill(going.process.pid, signal.SIGINT)
    time.sleep(0.3)
    assert going.process.is_alive()
    os.kill(going.process.pid, signal.SIGINT)
    assert going.seconds_to_end() < at_most(AT_ONCE)
    going.check()
    assert "nas: ended at once" in (tmp_path / "said").read_text(encoding="utf-8")


def test_workers_end_with_a_search_that_is_killed(tmp_path: Path, tiny: SearchSpace) -> None:
    going = Going(tiny, tmp_path, ignores_signals, 2)
    kill(going.process.pid)
    assert going.seconds_to_end() < at_most(SECONDS_TO_END)
    assert _shared_memory() <= going.shared
    assert {record.state for record in nas.search(name="s", runs=tmp_path, trials=1, evaluate=half).records()} == {
        "failed",
        "complete",
        "waiting",
    }


def half(architecture: Architecture, report: Report) -> float:
    return 0.5
