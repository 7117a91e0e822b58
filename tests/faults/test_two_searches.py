"""Two people, or two machines, on one study: they work together, or the second is told."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import nas
from nas import Architecture, NasError, SearchSpace, Study
from nas.study.search_state import SearchState, SearchStatus
from nas.study.storage import heartbeat as heartbeat_module
from nas.system.processes import METHOD
from tests.faults.killing import check_whole, forked, kill, until
from tests.helpers import formula

pytestmark = pytest.mark.skipif(METHOD != "forkserver", reason="forks as on Linux and macOS")

SEARCHES = 5
Report = Callable[[int, float], None]


def _search_or_say_why(space: SearchSpace, runs: Path, answer: Path, storage: str | None) -> None:
    try:
        nas.search(space, trials=12, runs=runs, name="s", evaluate=formula, storage=storage)
        answer.write_text("searched", encoding="utf-8")
    except NasError as error:
        answer.write_text(str(error), encoding="utf-8")


def _search_for_ever(space: SearchSpace, runs: Path, storage: str | None) -> None:
    def waits(architecture: Architecture, report: Report) -> float:
        (runs / "at work").touch()
        until(lambda: False)
        raise AssertionError

    nas.search(space, trials=12, runs=runs, name="s", evaluate=waits, storage=storage)


@pytest.fixture(params=["journal", "sqlite"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    return None if request.param == "journal" else f"sqlite:///{tmp_path}/s.db"


def test_of_searches_that_begin_at_once_on_a_new_study_each_works_in_turn_or_is_told(
    tmp_path: Path, tiny: SearchSpace, storage: str | None
) -> None:
    answers = [tmp_path / f"answer-{number}" for number in range(SEARCHES)]
    processes = [forked(_search_or_say_why, tiny, tmp_path, answer, storage) for answer in answers]
    for process in processes:
        process.join()
    said = [answer.read_text(encoding="utf-8") for answer in answers]
    assert "searched" in said
    assert all(line == "searched" or "another search is running on it" in line for line in said), said
    study = Study.open("s", tmp_path)
    records = study.records()
    assert sum(record.finished for record in records) == 12
    assert len({record.architecture.key for record in records}) == 12
    if storage is None:
        check_whole(study, weights=False)


def test_searches_that_make_one_database_at_once_all_have_it(tmp_path: Path, tiny: SearchSpace) -> None:
    storage, answers = f"sqlite:///{tmp_path}/s.db", [tmp_path / f"answer-{number}" for number in range(SEARCHES)]
    processes = [
        forked(_search_or_say_why, tiny, tmp_path / f"folder-{number}", answer, storage)
        for number, answer in enumerate(answers)
    ]
    for process in processes:
        process.join()
    said = [answer.read_text(encoding="utf-8") for answer in answers]
    assert "searched" in said
    assert all(line == "searched" or "another search is running on it" in line for line in said), said


def test_a_second_search_on_another_s_database_is_told_from_any_folder(tmp_path: Path, tiny: SearchSpace) -> None:
    storage = f"sqlite:///{tmp_path}/s.db"
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    mine.mkdir()
    first = forked(_search_for_ever, tiny, mine, storage)
    until((mine / "at work").exists)
    with pytest.raises(NasError, match=r"another search is running on it, by .*nas worker s --storage sqlite"):
        nas.search(tiny, trials=12, runs=theirs, name="s", evaluate=formula, storage=storage)
    kill(first.pid)
    first.join()
    study = nas.search(tiny, trials=12, runs=theirs, name="s", evaluate=formula, storage=storage)
    assert sum(record.finished for record in study.records()) == 12


def test_a_search_on_another_machine_is_respected_while_it_is_heard_of(
    tmp_path: Path, tiny: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = nas.search(tiny, trials=1, runs=tmp_path, name="s", evaluate=formula)
    study.attributes.search = SearchState(9, SearchStatus.RUNNING, "elsewhere:7@1")
    (study.folder / "workers").mkdir(exist_ok=True)
    (study.folder / "workers" / "worker-elsewhere-7@1").touch()
    with pytest.raises(NasError, match="another search is running on it, by elsewhere:7;"):
        nas.search(tiny, trials=2, runs=tmp_path, name="s", evaluate=formula)
    monkeypatch.setattr(heartbeat_module, "GRACE_SECONDS", -1.0)
    assert len(nas.search(tiny, trials=2, runs=tmp_path, name="s", evaluate=formula).records()) == 2


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda space: space.with_changes(max_flops=90_000), "space.max_flops is none there and 90000 now"),
        (lambda space: space.with_changes(recipe=replace(space.recipe, epochs=7)), r"recipe.epochs is 2 there and 7"),
        (lambda space: replace(space, name="renamed", stages=space.stages[:1]), "space.stages"),
    ],
)
def test_another_version_of_the_space_is_refused(
    tmp_path: Path, tiny: SearchSpace, storage: str | None, change: Any, what: str
) -> None:
    first = nas.search(tiny, trials=1, runs=tmp_path, name="s", evaluate=formula, storage=storage)
    with pytest.raises(NasError, match=what):
        nas.search(change(tiny), trials=3, runs=tmp_path, name="s", evaluate=formula, storage=storage)
    assert len(first.records()) == 1
    if storage:
        with pytest.raises(NasError, match=what):
            nas.search(change(tiny), trials=3, runs=tmp_path / "elsewhere", name="s", evaluate=formula, storage=storage)
