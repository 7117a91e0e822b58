"""A search by hosts that vanish, are cut off or stop, on a database that restarts."""

import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import pytest

from nas import NasError, Study
from nas.study.search_state import SearchStatus
from tests.faults.host_program import GRACE_SECONDS
from tests.faults.hosts import Host, cluster, why_not
from tests.faults.killing import until
from tests.postgresql import Server, binaries

pytest.importorskip("psycopg")
REASON = why_not() or ("PostgreSQL is not installed" if binaries() is None else None)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(REASON is not None, reason=str(REASON))]

WORKERS = ("one", "two", "three")
HOUR = 3600
WRONG_CLOCK = "wrong_clock.so"


class Plan(NamedTuple):
    """A search: trainings, seconds after which a silent worker counts as dead, and how far clocks are off, by host."""

    trials: int = 45
    grace: float = GRACE_SECONDS
    clocks: Mapping[str, int] = MappingProxyType({})


class Search:
    """A search on its hosts: the database's, the one that watches over it, and three that train."""

    def __init__(self, hosts: dict[str, Host], folder: Path, server: Server, plan: Plan) -> None:
        self.hosts, self.name, self._plan = hosts, folder.name, plan
        self.lost = 0
        self._folder, self._server = folder, server
        self.head = self._run("head", "search")
        until(self._has_begun)
        self._working = {worker: self._run(worker, "work") for worker in WORKERS}

    @property
    def study(self) -> Study:
        return Study.open(self.name, self._folder / "head", storage=self._server.local_url)

    def has_ended(self) -> bool:
        return self.head.poll() is not None

    def vanish(self, worker: str) -> None:
        """All processes of a host are gone at once; later it boots, and works again."""
        self.hosts[worker].vanish()
        self._working.pop(worker).wait()
        self.lost += 1
        time.sleep(random.uniform(0.0, 2.0))
        self.hosts[worker].start()
        self.hosts[worker].join()
        self._working[worker] = self._run(worker, "work")

    def pause(self, worker: str) -> None:
        """All processes of a host stop until they are taken for dead, and then go on."""
        self.hosts[worker].signal(signal.SIGSTOP)
        time.sleep(GRACE_SECONDS + 4)
        self.hosts[worker].signal(signal.SIGCONT)
        self.lost += 1

    def cut_off(self, worker: str, seconds: float) -> None:
        """A host has no network for a while."""
        self.hosts[worker].cut()
        time.sleep(seconds)
        self.hosts[worker].join()
        self.lost += seconds > self._plan.grace

    def restart(self, mode: str) -> None:
        """The database is away for a moment."""
        self._server.stop(mode)
        time.sleep(random.uniform(0.0, 3.0))
        self._server.start()

    def cut_connections(self) -> None:
        """The database ends all connections."""
        self._server.cut()

    def check(self) -> None:
        """It has ended by itself, with as many trainings as asked: none lost, none twice but a lost worker's."""
        try:
            assert self.head.wait(timeout=240) == 0, self.said("head")
        except subprocess.TimeoutExpired:
            raise AssertionError(self._everything()) from None
        for worker, process in self._working.items():
            assert process.wait(timeout=60) == 0, self.said(worker)
        study = self.study
        assert study.attributes.search is not None
        assert study.attributes.search.state == SearchStatus.COMPLETE
        records = study.records()
        # A proposal of a worker that lost its lock may wait for the next search, as there was enough to train already.
        assert {record.state for record in records} <= {"complete", "failed", "waiting"}
        assert {record.reason for record in records if record.state == "failed"} <= {"interrupted"}
        counted = Counter(record.architecture.key for record in records if record.state == "complete")
        assert counted.total() == self._plan.trials
        assert max(counted.values()) == 1
        trained = Counter(line.split()[0] for line in (self._folder / "log").read_text(encoding="utf-8").splitlines())
        assert counted.keys() <= trained.keys()
        assert trained.total() - self._plan.trials <= self.lost

    def _has_begun(self) -> bool:
        assert not self.has_ended(), self.said("head")
        try:
            return self.study.attributes.search is not None
        except NasError:
            return False

    def _run(self, host: str, what: str) -> "subprocess.Popen[bytes]":
        arguments = [
            what,
            self.name,
            str(self._folder / host),
            self._server.url,
            str(self._plan.trials),
            str(self._folder / "log"),
        ]
        environment = {"NAS_TEST_GRACE": str(self._plan.grace)}
        if offset := self._plan.clocks.get(host):
            environment |= {"LD_PRELOAD": str(self._folder.parent / WRONG_CLOCK), "CLOCK_OFFSET": str(offset)}
        program, said = "tests.faults.host_program", self._folder / f"{host}.said"
        return self.hosts[host].run(program, *arguments, said=said, environment=environment)

    def _everything(self) -> str:
        """What is unfinished, and what the hosts said and are doing."""
        for host in ("head", *WORKERS):
            self.hosts[host].signal(signal.SIGUSR1)
        time.sleep(2)
        open_trials = [record for record in self.study.records() if not record.finished]
        return "\n".join([*map(str, open_trials), *(f"{host}: {self.said(host)}" for host in ("head", *WORKERS))])

    def said(self, host: str) -> str:
        """Returns what a host has printed."""
        return (self._folder / f"{host}.said").read_text(encoding="utf-8")


FATAL: dict[str, Callable[[Search, str], None]] = {
    "hosts that vanish": Search.vanish,
    "hosts that are paused until they are taken for dead": Search.pause,
    "hosts that are cut off until they are taken for dead": lambda search, worker: search.cut_off(
        worker, GRACE_SECONDS + 6
    ),
}
PASSING: dict[str, Callable[[Search, str], None]] = {
    "hosts that are cut off for 5 s": lambda search, worker: search.cut_off(worker, 5.0),
    "restarts of the database (fast)": lambda search, _: search.restart("fast"),
    "restarts of the database (immediate)": lambda search, _: search.restart("immediate"),
    "cuts of all connections to the database": lambda search, _: search.cut_connections(),
}
PATIENT = 30.0
"""Seconds after which a worker counts as dead where none dies: one that waits for the database pauses for up to 5 s
(`nas.system.patience`), and is silent meanwhile."""


Begin = Callable[[str, Plan], Search]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """`begin(name, plan)`: a search on hosts that are gone after the test."""
    database = Path(tempfile.mkdtemp(prefix="nas-pg-"))
    with cluster(["database", "head", *WORKERS]) as hosts:
        server = Server(database, hosts["database"].address, hosts["database"].enter())
        server.start()

        def begin(name: str, plan: Plan) -> Search:
            folder = tmp_path / name
            folder.mkdir()
            return Search(hosts, folder, server, plan)

        yield begin
        server.stop()
    shutil.rmtree(database)


def test_a_search_on_three_hosts_of_which_one_vanishes(begin: Begin, tally: Callable[[str, int], None]) -> None:
    search = begin("s", Plan())
    until(lambda: any(record.state == "complete" for record in search.study.records()))
    search.vanish("two")
    tally("hosts that vanish", 1)
    search.check()


@pytest.mark.long
@pytest.mark.parametrize("fault", [*FATAL, *PASSING])
def test_each_fault_at_random_moments(begin: Begin, tally: Callable[[str, int], None], fault: str) -> None:
    chance = random.Random(fault)
    act, plan = (FATAL[fault], Plan()) if fault in FATAL else (PASSING[fault], Plan(grace=PATIENT))
    for number in range(5):
        search = begin(f"s{number}", plan)
        done = 0
        while not search.has_ended() and done < 3:
            time.sleep(chance.uniform(0.0, 3.0))
            act(search, chance.choice(WORKERS))
            tally(fault, 1)
            done += 1
        search.check()


@pytest.mark.long
def test_a_host_that_is_cut_off_for_five_minutes(begin: Begin, tally: Callable[[str, int], None]) -> None:
    """It is taken for dead as late as in earnest, and finds the search ended when it comes back."""
    search = begin("s", Plan(grace=120))
    time.sleep(random.uniform(0.0, 3.0))
    search.cut_off("two", 300)
    tally("hosts that are cut off for 5 min", 1)
    search.check()


@pytest.mark.long
def test_a_host_behind_a_slow_line(begin: Begin, tally: Callable[[str, int], None]) -> None:
    """Each statement takes 200 ms there, and a twentieth of all is lost: it trains less, and the search ends."""
    search = begin("s", Plan(trials=18, grace=120))
    search.hosts["two"].slow_down(seconds=0.1, loss=0.05)
    tally("hosts behind a slow line", 1)
    search.check()


@pytest.mark.long
@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler is installed")
@pytest.mark.parametrize("clocks", [{"two": HOUR, "three": -HOUR}, {"head": HOUR}], ids=["workers", "head"])
def test_hosts_whose_clocks_are_an_hour_off(
    begin: Begin, tmp_path: Path, tally: Callable[[str, int], None], clocks: Mapping[str, int]
) -> None:
    source = Path(__file__).with_name("wrong_clock.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(tmp_path / WRONG_CLOCK), str(source)], check=True)
    search = begin("s", Plan(clocks=clocks))
    tally("hosts whose clock is an hour off", len(clocks))
    search.check()
    for host, seconds in clocks.items():
        assert ("ahead" if seconds > 0 else "behind") in search.said(host)
