"""A search whose database restarts, or loses all connections, at random moments goes on as if nothing had been."""

import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import nas
from nas import Architecture, NasError, SearchSpace, Study
from nas.system.processes import METHOD
from tests.faults.disks import fill, mounted
from tests.faults.killing import check_whole, forked, until, wait_a_moment
from tests.helpers import TINY
from tests.postgresql import Server, binaries, running_server

psycopg = pytest.importorskip("psycopg")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(METHOD != "forkserver", reason="forks as on Linux and macOS"),
    pytest.mark.skipif(binaries() is None, reason="PostgreSQL is not installed"),
]

TRIALS = 40
Report = Callable[[int, float], None]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server() as made:
        yield made


def brief(architecture: Architecture, report: Report) -> float:
    time.sleep(0.1)
    accuracy = 0.5 + (int(architecture.key, 16) % 400) / 1000
    report(1, accuracy)
    return accuracy


def _search(space: SearchSpace, runs: Path, name: str, url: str, workers: int) -> None:
    options: Any = {"evaluate": brief, "storage": url, "workers": workers, "keep": "none", "seed": 1}
    nas.search(space, trials=TRIALS, runs=runs, name=name, **options)


def _has_begun(name: str, runs: Path, url: str) -> bool:
    with suppress(NasError):
        return Study.open(name, runs, storage=url).attributes.search is not None
    return False


def restart(server: Server, mode: str, seconds: float) -> None:
    server.stop(mode)
    time.sleep(seconds)
    server.start()


@pytest.mark.parametrize(
    ("workers", "faults"), [(1, 2), (3, 3), pytest.param(3, 25, marks=pytest.mark.long)], ids=["one", "three", "many"]
)
def test_a_search_outlives_restarts_and_cut_connections(
    tmp_path: Path, server: Server, tally: Callable[[str, int], None], workers: int, faults: int
) -> None:
    tiny = SearchSpace.from_dict(TINY)
    chance, done = random.Random(f"{workers} {faults}"), 0
    while done < faults:
        name = f"s-{workers}-{faults}-{done}"
        searching = forked(_search, tiny, tmp_path, name, server.url, workers)
        until(partial(_has_begun, name, tmp_path, server.local_url))
        while searching.is_alive() and done < faults:
            wait_a_moment(chance, 2.0)
            kind = chance.choice(["connections cut", "restarts (fast)", "restarts (immediate)"])
            if kind == "connections cut":
                server.cut()
            else:
                restart(server, "fast" if "fast" in kind else "immediate", chance.uniform(0.0, 3.0))
            done += 1
            tally(f"a database's {kind}", 1)
        searching.join(timeout=240)
        assert searching.exitcode == 0
        check_search(Study.open(name, tmp_path, storage=server.url))


@pytest.mark.parametrize("faults", [1, pytest.param(12, marks=pytest.mark.long)], ids=["once", "many"])
def test_a_search_outlives_a_full_disk_of_its_database(
    tmp_path: Path, tally: Callable[[str, int], None], faults: int
) -> None:
    tiny, chance, done = SearchSpace.from_dict(TINY), random.Random(faults), 0
    place = Path(tempfile.mkdtemp(prefix="nas-pg-"))  # where an ordinary user can reach it
    with mounted(place, 128 * 2**20):
        server = Server(place)
        server.start()
        while done < faults:
            name = f"s{done}"
            searching = forked(_search, tiny, tmp_path, name, server.url, 3)
            until(partial(_has_begun, name, tmp_path, server.local_url))
            while searching.is_alive() and done < faults:
                wait_a_moment(chance, 2.0)
                with suppress(OSError):  # the server takes some of the room
                    fill(place)
                with pytest.raises(psycopg.OperationalError, match=r"No space left on device|closed|refused"):
                    server.ask("CREATE TABLE large AS SELECT generate_series(1, 100000) AS x; SELECT 0")
                wait_a_moment(chance, 5.0)
                (place / "filler").unlink()
                if not server.is_running():  # it ends where it cannot write its log
                    server.start()
                done += 1
                tally("a database's full disks", 1)
            searching.join(timeout=240)
            assert searching.exitcode == 0
            check_search(Study.open(name, tmp_path, storage=server.url))
        server.stop()
    place.rmdir()


def check_search(study: Study) -> None:
    """As many trainings as asked, none twice, none that runs for ever."""
    check_whole(study, weights=False)
    records = study.records()
    assert sum(record.state == "complete" for record in records) == TRIALS
    assert max(Counter(record.architecture.key for record in records if record.accuracy is not None).values()) == 1
    assert not [record for record in records if record.state == "failed" and record.reason != "interrupted"]
