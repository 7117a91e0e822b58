from collections.abc import Callable
from pathlib import Path

import pytest

import nas
from nas import NasError, SearchSpace, Study
from nas.study.catalog import list_studies
from nas.study.housekeeping import (
    ARCHIVE,
    BIN,
    archive_study,
    delete_study,
    list_put_away,
    rename_study,
    restore_study,
)
from nas.study.search_state import SearchState, SearchStatus
from nas.study.storage.locks import search_lock
from nas.system.processes import this_worker
from tests.helpers import Ran, formula


@pytest.fixture
def study(tmp_path: Path, tiny: SearchSpace) -> Study:
    return nas.search(tiny, trials=2, name="s", runs=tmp_path, evaluate=formula)


def accuracies(study: Study) -> list[float | None]:
    return [record.accuracy for record in study.records()]


def test_a_renamed_study_is_the_same_and_goes_on(study: Study, tmp_path: Path, tiny: SearchSpace) -> None:
    before = accuracies(study)
    rename_study("s", "better", tmp_path)
    assert list_studies(tmp_path) == ["better"]
    assert accuracies(Study.open("better", tmp_path)) == before
    more = nas.search(tiny, trials=3, name="better", runs=tmp_path, evaluate=formula)
    assert accuracies(more)[:2] == before
    with pytest.raises(NasError, match="no study 's'"):
        rename_study("s", "t", tmp_path)


def test_what_is_archived_or_deleted_comes_back(study: Study, tmp_path: Path) -> None:
    assert archive_study("s", tmp_path) == tmp_path / ARCHIVE / "s"
    assert (list_studies(tmp_path), list_put_away(tmp_path, ARCHIVE), list_put_away(tmp_path, BIN)) == ([], ["s"], [])
    restore_study("s", tmp_path)
    assert delete_study("s", tmp_path) == tmp_path / BIN / "s"
    assert list_put_away(tmp_path, BIN) == ["s"]
    restore_study("s", tmp_path)
    assert accuracies(Study.open("s", tmp_path)) == accuracies(study)
    with pytest.raises(NasError, match=r"no study 's' in the archive or the bin of .*; both are empty"):
        restore_study("s", tmp_path)


def test_nothing_is_overwritten(study: Study, tmp_path: Path, tiny: SearchSpace) -> None:
    delete_study("s", tmp_path)
    nas.search(tiny, trials=1, name="s", runs=tmp_path, evaluate=formula)
    with pytest.raises(NasError, match=r"study 's': exists in .*, too; rename that one first"):
        restore_study("s", tmp_path)
    assert delete_study("s", tmp_path) == tmp_path / BIN / "s-2"
    nas.search(tiny, trials=1, name="t", runs=tmp_path, evaluate=formula)
    restore_study("s", tmp_path)
    with pytest.raises(NasError, match="study 't': exists already"):
        rename_study("s", "t", tmp_path)
    restore_study("s-2", tmp_path)
    assert sorted(list_studies(tmp_path)) == ["s", "s-2", "t"]
    assert len(Study.open("s", tmp_path).records()) == 2


@pytest.mark.parametrize("act", [archive_study, delete_study, lambda name, runs: rename_study(name, "t", runs)])
def test_a_study_that_something_is_trained_on_stays(study: Study, tmp_path: Path, act: Callable[..., object]) -> None:
    ended = study.attributes.search
    assert ended is not None
    study.attributes.search = SearchState(9, SearchStatus.RUNNING, this_worker())
    with pytest.raises(NasError, match="study 's': a search is running on it; nas stop s ends it"):
        act("s", tmp_path)
    study.attributes.search = ended
    nested = study.folder / "s.confirmed-5"
    nested.mkdir()
    with search_lock(nested), pytest.raises(NasError, match="another search is running on it"):
        act("s", tmp_path)
    act("s", tmp_path)
    assert "s" not in list_studies(tmp_path)


def test_a_damaged_study_can_be_deleted(study: Study, tmp_path: Path) -> None:
    (study.folder / "journal.log").write_bytes(b"no journal\n")
    delete_study("s", tmp_path)
    assert list_put_away(tmp_path, BIN) == ["s"]


def test_a_study_in_a_database_stays(tmp_path: Path, tiny: SearchSpace) -> None:
    url = f"sqlite:///{tmp_path}/trials.db"
    nas.search(tiny, trials=1, name="s", runs=tmp_path, evaluate=formula, storage=url)
    with pytest.raises(NasError, match="study 's': its trials are in a database under this name, sqlite:"):
        rename_study("s", "t", tmp_path)


@pytest.mark.parametrize("name", ["../t", "", ".t", "a/b"])
def test_a_name_leads_out_of_no_folder(study: Study, tmp_path: Path, name: str) -> None:
    with pytest.raises(NasError, match="study="):
        rename_study("s", name, tmp_path)
    with pytest.raises(NasError, match="study="):
        restore_study(name, tmp_path)
    with pytest.raises(NasError, match="study="):
        delete_study(name, tmp_path)


def test_the_commands_list_rename_and_put_away(nas_command: Callable[..., Ran], study: Study, tmp_path: Path) -> None:
    runs = ("--runs", str(tmp_path))
    assert nas_command("rename", "s", "t", *runs).out == "s is t now.\n"
    listed = nas_command("studies", *runs).out
    assert all(word in listed for word in ("t", "complete", "2"))
    assert (
        nas_command("archive", "t", *runs).out == f"t is in {tmp_path / ARCHIVE} now; nas restore t brings it back.\n"
    )
    assert nas_command("studies", "--put-away", *runs).out == f"t  in {ARCHIVE}\n"
    assert nas_command("restore", "t", *runs).out == "t is back.\n"
    assert nas_command("delete", "t", *runs, "--yes").code == 0
    assert nas_command("studies", *runs, "--json").out.strip() == "[]"
    assert nas_command("studies", *runs).out == f"There is no study in {tmp_path} yet; nas search makes one.\n"
    assert nas_command("studies", "--put-away", "--runs", str(tmp_path / "none")).out.endswith("are empty.\n")
    assert nas_command("delete", "t", *runs).code != 0
