import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nas.errors import StudyError
from nas.study.storage.backend import open_storage
from nas.study.storage.locks import AskLock, search_lock


def hold(folder: Path, url: str | None, spans: list[tuple[float, float]]) -> None:
    with AskLock(open_storage(folder / "journal.log", url), folder, "s"):
        start = time.monotonic()
        time.sleep(0.05)
        spans.append((start, time.monotonic()))


@pytest.mark.parametrize("database", [False, True])
def test_one_asks_at_a_time_in_a_journal_and_in_a_database_file(tmp_path: Path, database: bool) -> None:
    url = f"sqlite:///{tmp_path}/trials.db" if database else None
    open_storage(tmp_path / "journal.log", url)
    spans: list[tuple[float, float]] = []
    folders = [tmp_path / name if database else tmp_path for name in ("a", "b", "c", "d")]  # they share the database
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda folder: hold(folder, url, spans), folders))
    spans.sort()
    assert len(spans) == 4
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))


def test_a_second_search_is_told_how_to_help(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    folder.mkdir()
    with search_lock(folder), pytest.raises(StudyError, match="nas worker s"), search_lock(folder):
        pass
    with search_lock(folder):
        pass
