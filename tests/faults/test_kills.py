"""Processes of a search are killed at random moments; the same command typed again makes up for it."""

import os
import random
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import nas
from nas import SearchSpace, Study
from nas.system.processes import METHOD, is_alive
from tests.faults.killing import check_whole, finished, forked, kill, results, started, until, wait_a_moment
from tests.helpers import formula

pytestmark = pytest.mark.skipif(METHOD != "forkserver", reason="signals and forks as on Linux and macOS")

EPOCHS = 3
VICTIMS = ("worker", "supervisor", "all", "worker", "worker")
Tally = Callable[[str, int], None]


def command(runs: Path, *more: str) -> list[str]:
    where = ["search", "digits", "--study", "s", "--runs", str(runs), "--device", "cpu", "--epochs", str(EPOCHS)]
    return [*where, "--fidelities", "2", *more]


def now_finished(runs: Path) -> dict[int, nas.TrialRecord]:
    """What has been finished by now; nothing where the study is still being made."""
    return finished(Study.open("s", runs)) if (runs / "s" / "study.yaml").is_file() else {}


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Study]:
    """The study of a search for so many trials that nobody disturbs."""
    known: dict[int, Study] = {}

    def searched(trials: int) -> Study:
        if trials not in known:
            runs = tmp_path_factory.mktemp("undisturbed")
            process = started(command(runs, "--workers", "1", "--trials", str(trials)))
            process.join()
            known[trials] = Study.open("s", runs)
        return known[trials]

    return searched


class Case(NamedTuple):
    """A search for so many trials, killed so often, after at most so many seconds each time."""

    trials: int
    kills: int
    most: float
    database: bool = False


@pytest.mark.parametrize(
    "case",
    [
        Case(4, 5, 0.8),
        pytest.param(Case(24, 60, 1.0), marks=pytest.mark.long),
        pytest.param(Case(8, 15, 1.5, database=True), marks=pytest.mark.long),
    ],
    ids=str,
)
def test_a_search_by_one_worker_that_is_killed_ends_as_an_undisturbed_one(
    tmp_path: Path, undisturbed: Callable[[int], Study], tally: Tally, case: Case
) -> None:
    expected, chance = results(undisturbed(case.trials)), random.Random(case.kills)
    runs, file = tmp_path / "runs", tmp_path / "s.db"
    database = ["--storage", f"sqlite:///{file}"] if case.database else []
    arguments = command(runs, "--workers", "1", "--trials", str(case.trials), *database)
    kept: dict[int, nas.TrialRecord] = {}
    for _ in range(case.kills):
        process = started(arguments)
        wait_a_moment(chance, case.most)
        kill(process.pid)
        process.join()
        kept = still_kept(runs, kept)
        tally("kills survived by a search of one worker", 1)
    process = started(arguments)
    process.join()
    assert process.exitcode == 0
    still_kept(runs, kept)
    study = Study.open("s", runs)
    assert results(study) == expected
    check_whole(study)
    if database:
        with closing(sqlite3.connect(file)) as opened:
            assert opened.execute("pragma integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize(("trials", "kills"), [(8, 3), pytest.param(60, 40, marks=pytest.mark.long)])
def test_a_search_by_two_workers_loses_nothing_whichever_process_is_killed(
    tmp_path: Path, tally: Tally, trials: int, kills: int
) -> None:
    chance = random.Random(trials)
    arguments = command(tmp_path, "--workers", "2", "--trials", str(trials))
    kept: dict[int, nas.TrialRecord] = {}
    process = started(arguments)
    for victim in [VICTIMS[number % len(VICTIMS)] for number in range(kills)]:
        until(partial(_has_ended_or_done_more, process, tmp_path, len(kept)))
        wait_a_moment(chance, 1.0)
        if not process.is_alive():
            break
        workers = now_training(tmp_path)
        if victim != "worker":
            kill(process.pid, group=victim == "all")
            process.join()
            until(lambda workers=workers: not any(is_alive(worker) for worker in workers))  # type: ignore[misc]
            process = started(arguments)
        elif workers:
            kill(int(chance.choice(workers).rpartition(":")[2].partition("@")[0]))
        kept = still_kept(tmp_path, kept)
        tally(f"kills survived by a search of two workers ({victim})", 1)
    process.join()
    if process.exitcode != 0:  # several workers in a row were killed before one had trained anything
        process = started(arguments)
        process.join()
    assert process.exitcode == 0
    study, now = Study.open("s", tmp_path), still_kept(tmp_path, kept)
    full = study.config.space.recipe.epochs
    spent = sum(record.epochs_spent(full) for record in now.values()) / full
    assert trials <= spent < trials + 1
    assert {record.reason for record in now.values() if record.state == "failed"} <= {"worker_died"}
    check_whole(study)


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.long)])
def test_a_search_that_is_killed_at_a_write_to_its_journal_ends_as_an_undisturbed_one(
    tmp_path: Path, tiny: SearchSpace, tally: Tally, every: int
) -> None:
    search = partial(nas.search, tiny, trials=4, name="s", evaluate=formula, seed=5)
    expected = results(search(runs=tmp_path / "undisturbed"))
    writes = len((tmp_path / "undisturbed" / "s" / "journal.log").read_bytes().splitlines())
    for number in range(1, writes, every):
        for before_it in (True, False):
            runs = tmp_path / f"{number}{'b' if before_it else ''}"
            process = forked(_search_until_write, tiny, runs, number, before_it)
            process.join()
            assert process.exitcode == -signal.SIGKILL, f"there was no write {number}"
            kept = now_finished(runs)
            assert results(search(runs=runs)) == expected, f"killed at write {number}"
            still_kept(runs, kept)
            check_whole(Study.open("s", runs), weights=False)
            tally("kills survived at a chosen write", 1)


def _search_until_write(space: SearchSpace, runs: Path, number: int, before_it: bool) -> None:
    """Searches until it writes to the journal for the so-manieth time, and is killed just before or after that."""
    from nas.study.storage import journal

    append, written = journal.Journal.append_logs, 0

    def append_or_die(self: journal.Journal, logs: list[dict[str, Any]]) -> None:
        nonlocal written
        written += 1
        if written == number and before_it:
            kill(os.getpid())
        append(self, logs)
        if written == number:
            kill(os.getpid())

    journal.Journal.append_logs = append_or_die  # type: ignore[method-assign]
    nas.search(space, trials=4, runs=runs, name="s", evaluate=formula, seed=5)


def still_kept(runs: Path, kept: dict[int, nas.TrialRecord]) -> dict[int, nas.TrialRecord]:
    """What is finished by now; all that was kept must be among it, unchanged."""
    now = now_finished(runs)
    assert {trial: now.get(trial) for trial in kept} == kept
    return now


def now_training(runs: Path) -> list[str]:
    """The workers that train."""
    return sorted(
        record.worker for record in Study.open("s", runs).records() if record.state == "running" and record.worker
    )


def _has_ended_or_done_more(process: Any, runs: Path, before: int) -> bool:
    return not process.is_alive() or len(now_finished(runs)) > before
