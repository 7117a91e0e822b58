"""Many sessions at once on a large study that grows: no page fails, the server's memory stays bounded.

The sessions are real ones, of a real server, and speak the protocol of Streamlit's page (`benchmarks.crowd`).
"""

import asyncio
import multiprocessing
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("streamlit")

from benchmarks.bookkeeping import fill
from benchmarks.browser import dashboard
from benchmarks.crowd import MB, PAGES, STUDY, crowd, growing, pace, serving_process, watch
from nas import Study

Tally = Callable[[str, int], None]


def check_round(address: str, sessions: int, tally: Tally, *, wait: bool) -> None:
    """Every session is sent all pages, none with an error; `wait`: until each was run again by itself, for news."""
    runs = len(PAGES) + wait
    visits = asyncio.run(crowd(address, sessions, seconds=180, runs=runs))
    assert [error for visit in visits for error in visit.errors] == []
    assert min(visit.runs for visit in visits) >= runs
    tally("pages of the dashboard run under load", sum(visit.runs for visit in visits))


def test_sessions_on_a_study_that_grows_faster_than_its_pages_are_run(tmp_path: Path, tally: Tally) -> None:
    fill(tmp_path / "runs", 2_000)
    with (
        (tmp_path / "said").open("w") as said,
        dashboard(tmp_path / "runs", said=said) as address,
        growing(tmp_path / "runs", every=0.02),
    ):
        before = Study.open(STUDY, tmp_path / "runs").version()
        check_round(address, 5, tally, wait=True)
        assert Study.open(STUDY, tmp_path / "runs").version() != before
    assert "Traceback" not in (tmp_path / "said").read_text()


@pytest.mark.long
def test_twenty_sessions_on_ten_thousand_trials_beside_a_search(
    tmp_path: Path, tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMLIT_SERVER_DISCONNECTED_SESSION_TTL", "5")  # sessions that were left are soon forgotten
    runs, used = tmp_path / "runs", list[float]()
    fill(runs, 10_000)
    with (
        (tmp_path / "said").open("w") as said,
        dashboard(runs, said=said) as address,
        growing(runs),
    ):
        server = serving_process(address)
        alone = pace(runs, 5)
        for _ in range(3):
            check_round(address, 20, tally, wait=False)
            used.append(server.memory_info().rss / MB)
        watching = multiprocessing.get_context("spawn").Process(target=watch, args=(address, 20))
        watching.start()
        try:
            watched = pace(runs, 5)
        finally:
            watching.terminate()
            watching.join()
        check_round(address, 20, tally, wait=True)
        used.append(server.memory_info().rss / MB)
    assert "Traceback" not in (tmp_path / "said").read_text()
    assert max(used) < used[0] + 200, used  # twenty sessions that held what is shared would take it each round
    assert watched > alone / 2, (alone, watched)  # the benchmark measures it; here other programs may run as well
