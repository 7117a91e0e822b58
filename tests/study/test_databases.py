"""Studies in a PostgreSQL database: several workers, from here and as if from elsewhere."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import nas
from nas import Architecture, NasError, SearchSpace, Study
from nas.study import study as study_module
from nas.study.records import TrialState
from nas.study.storage import heartbeat as heartbeat_module
from nas.study.storage.backend import open_storage
from nas.study.storage.locks import AskLock
from tests.helpers import formula
from tests.postgresql import binaries, server

Report = Callable[[int, float], None]


def quick(architecture: Architecture, report: Report) -> float:
    return formula(architecture, report)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of a database of our own."""
    pytest.importorskip("psycopg")
    if binaries() is None:
        pytest.skip("PostgreSQL is not installed")
    with server() as url:
        yield url


def test_four_workers_on_one_study_train_nothing_twice_and_leave_nothing(
    tmp_path: Path, tiny: SearchSpace, postgresql: str
) -> None:
    study = nas.search(
        tiny, trials=40, runs=tmp_path, name="four", evaluate=quick, sampler="random", workers=4, storage=postgresql
    )
    records = study.records()
    assert [record.state for record in records] == ["complete"] * 40
    assert len({record.architecture.key for record in records}) == 40
    assert len({record.worker for record in records}) > 1
    assert not (tmp_path / "four" / "journal.log").exists()


def test_workers_join_by_the_database_alone_and_one_that_is_killed_leaves_nothing_stuck(
    tmp_path: Path, postgresql: str
) -> None:
    begin = [sys.executable, "-m", "nas", "search", "--study", "joined", "--runs", str(tmp_path / "here")]
    search = subprocess.Popen(
        [*begin, "--workers", "0", "--trials", "6", "--epochs", "2", "--storage", postgresql],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 60
    while not (tmp_path / "here" / "joined" / "study.yaml").exists():
        assert time.monotonic() < until
        assert search.poll() is None, search.communicate()
        time.sleep(0.2)
    time.sleep(2)
    join = [sys.executable, "-m", "nas", "worker", "joined", "--storage", postgresql, "--device", "cpu"]
    joined = [
        subprocess.Popen(
            [*join, "--runs", str(tmp_path / f"there-{number}")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    study = Study.open("joined", tmp_path / "nowhere", storage=postgresql)
    while not any(f":{joined[0].pid}@" in record.worker for record in running(study) if record.worker):
        assert time.monotonic() < until + 60
        time.sleep(0.05)
    joined[0].kill()
    out, err = search.communicate(timeout=120)
    assert search.returncode == 0, out + err
    joined[0].communicate()
    out, err = joined[1].communicate(timeout=240)
    assert joined[1].returncode == 0, out + err
    records = study.records()
    assert sum(record.finished for record in records) == 6
    assert {record.state for record in records if record.finished} == {"complete"}
    assert not running(study)


def running(study: Study) -> list[nas.TrialRecord]:
    return [record for record in study.records() if record.state == TrialState.RUNNING]


def test_a_worker_of_another_machine_is_taken_for_dead_when_it_was_not_heard_of(
    tmp_path: Path, tiny: SearchSpace, postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = nas.search(tiny, trials=1, runs=tmp_path, name="far", evaluate=formula, storage=postgresql)
    sampler = nas.strategy.samplers.ValidSampler(("random", 7), tiny, {})
    with monkeypatch.context() as patch:
        patch.setattr(study_module, "this_worker", lambda: "elsewhere:1")
        patch.setattr(heartbeat_module, "this_worker", lambda: "elsewhere:1")
        study.workers.beat()
        _, asked = study.ask(sampler)
    study.requeue_stale()
    assert [record.worker for record in running(study)] == ["elsewhere:1"]
    monkeypatch.setattr(heartbeat_module, "GRACE_SECONDS", 0.0)
    assert not running(study)  # it would be put back
    study.requeue_stale()
    assert [record.state for record in study.records()][1:] == ["failed", "waiting"]
    assert study.records()[2].architecture == asked.architecture


def test_a_lock_of_the_database_goes_with_the_process_that_held_it(tmp_path: Path, postgresql: str) -> None:
    program = f"""
from pathlib import Path
from nas.study.storage.locks import AskLock
from nas.study.storage.backend import open_storage
import time
with AskLock(open_storage(Path(), {postgresql!r}), Path(), "s"):
    print("held", flush=True)
    time.sleep(60)
"""
    holder = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert holder.stdout
    assert holder.stdout.readline() == "held\n"
    holder.kill()
    holder.communicate()
    started = time.monotonic()
    with AskLock(open_storage(Path(), postgresql), tmp_path, "s"):
        assert time.monotonic() - started < 10


def test_a_driver_that_is_missing_is_named(tmp_path: Path, tiny: SearchSpace) -> None:
    with pytest.raises(NasError, match=r"needs .*not installed.*pip install 'psycopg\[binary\]'"):
        nas.search(tiny, trials=1, runs=tmp_path, evaluate=formula, storage="mysql+aiomysql://nas@127.0.0.1/nas")
