"""The dashboard under load: twenty sessions on a growing study of 10,000 trials, beside a search, on the same cores.

A session speaks the protocol of Streamlit's own page, without a browser: it costs the server what a person's does, and
this machine little more. The pace is that of the same search each time, trained in earnest by one worker.
"""

import asyncio
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import psutil
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect

from benchmarks.bookkeeping import SPACE, fill
from benchmarks.browser import dashboard
from nas import Study
from nas.strategy.samplers import ValidSampler
from nas.study.records import Outcome
from nas.study.search_state import SearchState, SearchStatus
from nas.system.processes import this_worker

SESSIONS, TRIALS, ROUNDS, REPEATS = 20, 10_000, 10, 3
STUDY = "b"
"""As `fill` calls what it makes."""
PAGES = ("", "trials", "architecture", "compare", "progress", "insights", "export")
SEARCHED = 12
SECONDS_TO_WAIT = 120.0
LARGEST_MESSAGE = 2**28
MB = 1e6


def measure() -> Iterator[tuple[str, list[float], str]]:
    """All pages by all sessions at once, the server's memory, and what a search beside them loses."""
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder)
        fill(runs, TRIALS)
        with dashboard(runs) as address:
            server = serving_process(address)
            yield "memory of the server before anybody comes", [server.memory_info().rss / MB], "MB"
            for number in range(1, ROUNDS + 1):
                used, seconds = processor_seconds(server), list[float]()
                for visit in asyncio.run(crowd(address, SESSIONS)):
                    seconds += visit.seconds
                    _refuse(visit.errors)
                used = processor_seconds(server) - used
                if number in (1, ROUNDS):
                    yield f"round {number}: until a page was sent whole", seconds, "s"
                    yield f"round {number}: processor time of the server for a page", [used / len(seconds)], "s"
                    yield f"memory of the server after round {number}", [server.memory_info().rss / MB], "MB"
        alone, watched, cores = list[float](), list[float](), list[float]()
        for _ in range(REPEATS):
            with dashboard(runs) as address, growing(runs):
                alone.append(pace(runs))
                server = serving_process(address)
                watching = multiprocessing.get_context("spawn").Process(target=watch, args=(address, SESSIONS))
                watching.start()
                try:
                    used, began = processor_seconds(server), time.perf_counter()
                    watched.append(pace(runs))
                    cores.append((processor_seconds(server) - used) / (time.perf_counter() - began))
                finally:
                    watching.terminate()
                    watching.join()
        yield "a search alone beside the growing study", alone, "trials/min"
        yield f"the same while {SESSIONS} sessions watch that study", watched, "trials/min"
        yield "processor taken by the server meanwhile", cores, "cores"


@dataclass
class Visit:
    """One person's session: an async context that is connected to a server while it is entered.

    `seconds` has how long each page took that was opened, `runs` how often a page was run, also by itself; `errors` is
    what went wrong, as the page shows it.
    """

    address: str
    seconds: list[float] = field(default_factory=list)
    runs: int = 0
    errors: list[str] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        self._looks: dict[str, tuple[float, float]] = {}  # by what they run: how often, and when next
        self._connection: ClientConnection = await connect(
            self.address.replace("http", "ws", 1) + "/_stcore/stream",
            origin=self.address,  # type: ignore[arg-type]
            subprotocols=["streamlit"],  # type: ignore[list-item]
            max_size=LARGEST_MESSAGE,
            open_timeout=SECONDS_TO_WAIT,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()

    async def open(self, page: str, query: str) -> None:
        """Opens a page by its name in the URL, and waits until all of it was sent.

        Raises:
            TimeoutError: it did not come.
        """
        start = time.perf_counter()
        self._looks.clear()
        self._page, self._query = page, query
        await self._run()
        async with asyncio.timeout(SECONDS_TO_WAIT):
            while not await self._receive():
                pass
        self.seconds.append(time.perf_counter() - start)

    async def stay(self, seconds: float) -> None:
        """Leaves the page open for that long; where it looks for news by itself, it does."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            for look, (every, due) in self._looks.items():
                if time.monotonic() >= due:
                    self._looks[look] = (every, time.monotonic() + every)
                    await self._run(look)
            try:
                async with asyncio.timeout(min(left, 0.2)):
                    await self._receive()
            except TimeoutError:
                continue

    async def _run(self, look: str | None = None) -> None:
        """Has the page run, or that part of it that looks for news."""
        asked = BackMsg()
        asked.rerun_script.query_string, asked.rerun_script.page_name = self._query, self._page
        if look is not None:
            asked.rerun_script.fragment_id, asked.rerun_script.is_auto_rerun = look, True
        await self._connection.send(asked.SerializeToString())

    async def _receive(self) -> bool:
        """Takes one message in; whether it says that the page's run has ended."""
        raw = await self._connection.recv(decode=False)
        message = ForwardMsg.FromString(raw)
        kind = message.WhichOneof("type")
        if kind == "delta" and message.delta.new_element.WhichOneof("type") == "exception":
            self.errors.append(message.delta.new_element.exception.message)
        elif kind == "page_not_found":
            self.errors.append(f"no page {message.page_not_found.page_name}")
        elif kind == "auto_rerun":
            every = message.auto_rerun.interval
            self._looks[message.auto_rerun.fragment_id] = (every, time.monotonic() + every)
        elif kind == "stop_auto_rerun":
            for fragment in message.stop_auto_rerun.fragment_ids:
                self._looks.pop(fragment, None)
        elif kind == "script_finished":
            if message.script_finished == ForwardMsg.FINISHED_WITH_COMPILE_ERROR:
                self.errors.append("the page does not compile")
            self.runs += message.script_finished == ForwardMsg.FINISHED_SUCCESSFULLY
            return bool(message.script_finished == ForwardMsg.FINISHED_SUCCESSFULLY)
        return False


async def crowd(address: str, sessions: int, *, seconds: float = 0.0, runs: int = 0) -> list[Visit]:
    """So many sessions at once, each of which opens all pages, beginning with another one.

    Each stays at its last for at most so many seconds, until its pages were run so often.
    """

    async def come(number: int) -> Visit:
        async with Visit(address) as visit:
            for step in range(len(PAGES)):
                await visit.open(PAGES[(number + step) % len(PAGES)], f"study={STUDY}&compared=1,2,3")
            end = time.monotonic() + seconds
            while visit.runs < runs and time.monotonic() < end:
                await visit.stay(0.5)
        return visit

    return await asyncio.gather(*(come(number) for number in range(sessions)))


def watch(address: str, sessions: int) -> None:
    """A crowd that stays until its process is ended. It gives way to all others, as its browsers would be elsewhere."""
    os.nice(19)
    asyncio.run(crowd(address, sessions, seconds=3600, runs=10**9))


@contextmanager
def growing(runs: Path, *, every: float = 1.0) -> Iterator[None]:
    """While it is entered, another process goes on with the study, a trial every so many seconds, as a search would.

    It has begun when this is entered: a page that is opened before would not look for news.
    """
    process = multiprocessing.get_context("spawn").Process(target=grow, args=(runs, every))
    process.start()
    study = Study.open(STUDY, runs)
    try:
        while (state := study.attributes.search) is None or not state.live:
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.join()


def grow(runs: Path, every: float) -> None:
    """Adds trials that train nothing, until its process is ended."""
    study = Study.open(STUDY, runs)
    study.attributes.search = SearchState(10 * TRIALS, SearchStatus.RUNNING, this_worker())
    for number in range(10 * TRIALS):
        trial, _ = study.ask(ValidSampler(("random", os.getpid() + number), SPACE, {}))
        study.report(trial, (0.5,) * 5)
        time.sleep(every)
        study.tell(trial, Outcome(0.5, every, (0.5,) * 10))


def pace(runs: Path, trials: int = SEARCHED) -> float:
    """Trials a minute of a search of the digits by one worker, from its first training to its last."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "nas", "search", "digits", "--workers", "1", "--device", "cpu"]
        command += ["--runs", folder, "--study", "s", "--trials", str(trials), "--fidelities", "1"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=runs)
        records = Study.open("s", folder).records()
    began, ended = min(r.started or 0.0 for r in records), max(r.ended or 0.0 for r in records)
    return 60 * len(records) / (ended - began)


def serving_process(address: str) -> psutil.Process:
    """The process that listens at an address of this machine."""
    port = int(address.rpartition(":")[2])
    return next(
        psutil.Process(found.pid)
        for found in psutil.net_connections("tcp")
        if found.status == psutil.CONN_LISTEN and found.laddr and found.laddr.port == port
    )


def processor_seconds(process: psutil.Process) -> float:
    """What a process has taken of the processor so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


def _refuse(errors: Sequence[str]) -> None:
    if errors:
        raise RuntimeError(f"the dashboard shows an error: {errors[0]}")
