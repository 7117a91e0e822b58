"""PatientStorage: what is repeated while a database cannot be used, what is not, and what must not happen twice."""

import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from nas.errors import StudyError
from nas.study.storage import locks
from nas.study.storage.backend import open_storage
from nas.study.storage.database import PatientStorage, gathered, passing_failure
from nas.study.storage.locks import AskLock, LockLost
from tests.postgresql import Server, binaries, running_server

pytest.importorskip("psycopg")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(binaries() is None, reason="PostgreSQL is not installed")]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server() as made:
        yield made


def opened(server: Server) -> PatientStorage:
    storage = open_storage(Path(), server.url)
    assert isinstance(storage, PatientStorage)
    return storage


def away(server: Server, seconds: float, mode: str = "fast") -> threading.Thread:
    """Stops the server, and starts it again after a while."""
    server.stop(mode)

    def back() -> None:
        time.sleep(seconds)
        server.start()

    thread = threading.Thread(target=back)
    thread.start()
    return thread


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_restart_is_outlasted_and_said(server: Server, mode: str, caplog: pytest.LogCaptureFixture) -> None:
    storage = opened(server)
    storage.patience = 60
    study = optuna.create_study(storage=storage)
    trial = study.ask()
    assert storage.seconds_since_failure > 1e9
    with caplog.at_level(logging.WARNING, "nas"):
        thread = away(server, 4, mode)
        trial.set_user_attr("seconds", 3.5)
        study.tell(trial, 0.5)
    thread.join()
    assert [(trial.state, trial.value) for trial in study.trials] == [(TrialState.COMPLETE, 0.5)]
    assert storage.seconds_since_failure < 60
    [waiting, back] = [record.getMessage() for record in caplog.records if record.name == "nas"]
    assert "the database cannot be used (" in waiting
    assert "waiting for up to 60 s" in waiting
    assert "can be used again, after" in back


def test_without_patience_or_after_it_the_error_is_raised(server: Server) -> None:
    storage = opened(server)
    study = optuna.create_study(storage=storage)
    server.stop()
    try:
        for patience in (0.0, 1.5):
            storage.patience = patience
            began = time.monotonic()
            with pytest.raises(Exception) as raised:
                study.set_user_attr("a", 1)
            assert passing_failure(raised.value)
            assert patience <= time.monotonic() - began < patience + 10
    finally:
        server.start()
    study.set_user_attr("a", 2)
    assert study.user_attrs == {"a": 2}


def test_what_was_stored_before_the_connection_was_lost_is_not_an_error(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = opened(server)
    storage.patience = 60
    study = optuna.create_study(storage=storage)
    trials = [study.ask() for _ in range(2)]
    stores, cut = RDBStorage.set_trial_state_values, list[int]()

    def stores_and_is_cut(self: RDBStorage, *args: Any) -> bool:
        done = stores(self, *args)
        if not cut:
            cut.append(server.cut())
            self.get_all_studies()  # fails, as its connection is gone
        return done

    monkeypatch.setattr(RDBStorage, "set_trial_state_values", stores_and_is_cut)
    monkeypatch.setattr(PatientStorage, "get_all_studies", RDBStorage.get_all_studies)
    study.tell(trials[0], 0.25)
    assert cut
    assert study.trials[0].value == 0.25
    with pytest.raises(ValueError, match="COMPLETE"):  # as ever, where nothing was cut
        study.tell(trials[0], 0.75)


def test_an_error_of_other_kinds_is_raised_at_once(server: Server) -> None:
    storage = opened(server)
    storage.patience = 60
    began = time.monotonic()
    with pytest.raises(KeyError):
        storage.get_study_id_from_name("there is none")
    assert time.monotonic() - began < 5
    assert passing_failure(ValueError("of another kind")) is None


def test_a_lock_that_the_database_has_released_is_known_to_be_lost(server: Server) -> None:
    storage = opened(server)
    storage.patience = 60
    with AskLock(storage, Path(), "s"):
        assert server.cut()  # who does not mind is not told
    with pytest.raises(LockLost), AskLock(storage, Path(), "s", strict=True):
        assert server.cut()
    with pytest.raises(LockLost), AskLock(storage, Path(), "s", strict=True):
        server.cut()
        raise StudyError("another worker has ended this one's trial")
    with pytest.raises(KeyboardInterrupt), AskLock(storage, Path(), "s", strict=True):
        server.cut()
        raise KeyboardInterrupt
    with AskLock(storage, Path(), "s", strict=True):
        pass


def test_a_lock_of_a_process_that_was_stopped_is_released(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "LONGEST_SECONDS", 1)
    storage = opened(server)
    storage.patience = 60
    with pytest.raises(LockLost), AskLock(storage, Path(), "s", strict=True):
        began = time.monotonic()
        with AskLock(opened(server), Path(), "s"):
            assert time.monotonic() - began > 0.5


def test_the_server_probes_connections_too(server: Server) -> None:
    from sqlalchemy import text

    storage = opened(server)
    with storage.engine.connect() as connection:
        shown = [
            connection.execute(text(f"SHOW tcp_{name}")).scalar_one() for name in ("keepalives_idle", "user_timeout")
        ]
    assert shown == ["30", "60000"]


def test_the_clock_is_the_database_s(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    storage, now = opened(server), time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3600)
    assert abs(storage.clock() - now) < 30
    with_sqlite = PatientStorage("sqlite://", skip_table_creation=False)
    assert abs(with_sqlite.clock() - now) < 30


def test_what_is_gathered_is_written_in_one_go_or_not_at_all(server: Server) -> None:
    storage, other = opened(server), opened(server)
    storage.patience = other.patience = 60
    study = optuna.create_study(storage=storage)
    kinds: dict[str, BaseDistribution] = {name: IntDistribution(1, 8) for name in "abc"}

    def stored(trial: optuna.Trial) -> tuple[dict[str, Any], dict[str, Any]]:
        found = other.get_all_trials(study._study_id)[-1]
        assert found.number == trial.number
        return found.params, found.user_attrs

    with gathered(study):
        trial = study.ask(kinds)
        trial.set_user_attr("worker", "here")
    assert stored(trial) == ({}, {})  # never written
    with gathered(study) as write:
        trial = study.ask(kinds)
        trial.set_user_attr("worker", "here")
        assert stored(trial) == ({}, {})
        thread = away(server, 2)
        write()
    thread.join()
    assert stored(trial) == (trial.params, {"worker": "here"})
    assert set(trial.params) == set("abc")
    trial.set_user_attr("worker", "there")  # at once, as before
    assert stored(trial)[1] == {"worker": "there"}
    other.engine.dispose()


def test_nothing_is_gathered_for_a_trial_that_another_process_has_ended(server: Server) -> None:
    study, other = optuna.create_study(storage=opened(server)), opened(server)
    with gathered(study) as write:
        trial = study.ask({"a": IntDistribution(1, 8)})
        trial.set_user_attr("worker", "here")
        other.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        with pytest.raises(UpdateFinishedTrialError):
            write()
    assert other.get_trial(trial._trial_id).params == {}
    other.engine.dispose()
