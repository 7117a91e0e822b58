import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import pytest

from nas.errors import NasWarning
from nas.study.storage import heartbeat as heartbeat_module
from nas.study.storage.database import PatientStorage
from nas.study.storage.heartbeat import Heartbeat, WorkerRegistry
from nas.system.processes import is_alive, this_worker, worker_named


def test_a_worker_lives_as_long_as_its_process() -> None:
    host, _, process = this_worker().rpartition(":")
    assert int(process.partition("@")[0]) == os.getpid()
    assert is_alive(this_worker())
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert is_alive(f"{host}:{ended.pid}") is False


def test_of_another_machine_nothing_is_known() -> None:
    assert is_alive("another-machine:1") is None
    assert is_alive("nonsense") is None


def test_a_process_that_has_died_and_that_nobody_asked_after_is_dead() -> None:
    host = this_worker().rpartition(":")[0]
    zombie = subprocess.Popen([sys.executable, "-c", ""])
    until = time.monotonic() + 10
    while is_alive(f"{host}:{zombie.pid}"):
        assert time.monotonic() < until
        time.sleep(0.02)
    zombie.wait()


def test_another_process_with_a_dead_one_s_number_is_not_taken_for_it() -> None:
    of_an_earlier_boot = this_worker().partition("@")[0] + "@0123456742"
    assert is_alive(of_an_earlier_boot) is False
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert is_alive(worker_named(child.pid))
        assert worker_named(child.pid).partition("@")[2] != this_worker().partition("@")[2]
        child.communicate(b"\n")
    assert is_alive(worker_named(child.pid)) is False


def test_workers_elsewhere_are_there_while_they_are_heard_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study: Any = None  # a folder needs none
    attendance = WorkerRegistry(study, tmp_path / "workers")
    assert attendance.gone(["far:1", this_worker(), None]) == {"far:1"}
    with monkeypatch.context() as patch:
        patch.setattr(heartbeat_module, "this_worker", lambda: "far:1")
        with Heartbeat(attendance.beat, attendance.leave):
            assert attendance.gone(["far:1", this_worker(), "far:2"]) == {"far:2"}
            os.utime(tmp_path / "workers" / "worker-far-1", (0, time.time() - 3600))
            assert attendance.gone(["far:1"]) == {"far:1"}
    assert not list((tmp_path / "workers").iterdir())


def test_clocks_that_differ_make_nobody_dead_and_are_mentioned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attendance, now = WorkerRegistry(optuna.create_study(), tmp_path / "workers"), time.time()
    monkeypatch.setattr(heartbeat_module, "this_worker", lambda: "far:1")
    with Heartbeat(attendance.beat, attendance.leave):
        attendance.warn_of_clock()  # nothing to warn of
        with monkeypatch.context() as patch:
            patch.setattr(time, "time", lambda: now + 3600)
            assert attendance.gone(["far:1"]) == set()
            with pytest.warns(NasWarning, match=r"this machine's clock is 3,\d{3} s ahead of the disk's; times"):
                attendance.warn_of_clock()
            patch.setattr(time, "time", lambda: now - 3600)
            assert attendance.gone(["far:1"]) == set()
            with pytest.warns(NasWarning, match=r"this machine's clock is 3,\d{3} s behind the disk's; times"):
                attendance.warn_of_clock()


def test_nobody_is_taken_for_dead_for_a_while_after_the_database_was_away(monkeypatch: pytest.MonkeyPatch) -> None:
    study = optuna.create_study(storage=PatientStorage("sqlite://", skip_table_creation=False))
    attendance = WorkerRegistry(study, None)
    assert attendance.gone(["far:1"]) == {"far:1"}
    monkeypatch.setattr(PatientStorage, "seconds_since_failure", 100.0)
    assert attendance.gone(["far:1"]) == set()


def test_a_heart_goes_on_beating_when_a_beat_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat_module, "BEAT_SECONDS", 0.01)
    beats: list[int] = []

    def beat() -> None:
        beats.append(1)
        if len(beats) == 2:
            raise OSError("the disk is away for a moment")

    with Heartbeat(beat, lambda: None):
        until = time.monotonic() + 10
        while len(beats) < 5:
            assert time.monotonic() < until
            time.sleep(0.01)
    count = len(beats)
    time.sleep(0.05)
    assert len(beats) == count
