"""The dashboard and optuna-dashboard on the same journal: a study of 10,000 trials, in Chromium without a GPU."""

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import nas
from benchmarks.browser import CHROMIUM, browsing, dashboard, free_port, serving
from nas import Architecture, cost

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

TRIALS = 10_000
REPEATS = 3
MINUTE = 60_000
FRONT_IS_DRAWN = """() => {
  const traces = document.querySelector(".nas-chart")?._fullData ?? []
  return traces.some(trace => trace.name === "front" && trace.x.length)
}"""
# What tells that a page of ours is there: its first figure, or what stands in its place.
PAGES = {
    "Trials": "() => document.querySelector('[data-testid=stDataFrame] canvas')",
    "Architecture": "() => document.querySelector('.st-key-cost .nas-chart')?._fullData?.length",
    "Compare": "() => document.body.innerText.includes('Choose two to five trials')",
    "Progress": "() => document.querySelector('.st-key-hypervolume .nas-chart')?._fullData?.length",
    "Insights": "() => document.querySelector('.st-key-importance .nas-chart')?._fullData?.length",
    "Export": "() => document.body.innerText.includes('The same in a terminal')",
    "Front": FRONT_IS_DRAWN,
}
ANY_FIGURE = "() => [...document.querySelectorAll('.js-plotly-plot')].some(plot => plot._fullData?.length)"


def measure() -> Iterator[tuple[str, list[float], str]]:
    """From the command to the server's answer, from there to the first figure, and from page to page."""
    if CHROMIUM is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder)
        quick: Any = {
            "sampler": "random",
            "stopping": "none",
            "keep": "none",
            "references": False,
        }  # there is no training
        study = nas.search("digits", trials=TRIALS, runs=runs, name="large", evaluate=made_up, **quick)
        ours = (lambda: dashboard(runs), "/?study=large", FRONT_IS_DRAWN)
        yield from first_figures("`nas dashboard`", *ours)
        with dashboard(runs) as address, browsing() as browser:
            yield from switches(browser, address)
        journal, port = study.folder / "journal.log", free_port()
        program = shutil.which("optuna-dashboard", path=str(Path(sys.executable).parent))
        command = [str(program), str(journal), "--port", str(port)]
        theirs = (lambda: serving(command, port, health="/"), "/dashboard/studies/0", ANY_FIGURE)
        yield from first_figures("`optuna-dashboard`", *theirs)


def first_figures(
    name: str, serve: Callable[[], AbstractContextManager[str]], path: str, drawn: str
) -> Iterator[tuple[str, list[float], str]]:
    """A new server each time, then a browser that has never seen it, then one that has."""
    answered, cold, warm = [], [], []
    for _ in range(REPEATS):
        start = time.perf_counter()
        with serve() as address, browsing() as browser:
            answered.append(time.perf_counter() - start)
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            cold.append(timed(page, address + path, drawn))
            warm.append(timed(page, address + path, drawn))
    yield f"{name}: command to the server's answer", answered, "s"
    yield f"{name}: address to first figure", cold, "s"
    yield f"{name}: the same again", warm, "s"


def switches(browser: "Browser", address: str) -> Iterator[tuple[str, list[float], str]]:
    """From a click on a page's name to its first figure."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    timed(page, f"{address}/?study=large", FRONT_IS_DRAWN)
    seconds: dict[str, list[float]] = {name: [] for name in PAGES}
    for _ in range(REPEATS):
        for name, sign in PAGES.items():
            page.wait_for_timeout(1500)
            start = time.perf_counter()
            page.locator("[data-testid=stSidebar] a", has_text=name).click()
            page.wait_for_function(sign, timeout=MINUTE)
            seconds[name].append(time.perf_counter() - start)
    for name, values in seconds.items():
        yield f"`nas dashboard`: switch to {name}", values, "s"


def timed(page: "Page", url: str, drawn: str) -> float:
    """Seconds until a page's figure is drawn."""
    start = time.perf_counter()
    page.goto(url)
    page.wait_for_function(drawn, timeout=3 * MINUTE)
    return time.perf_counter() - start


def made_up(architecture: Architecture, report: Callable[[int, float], None]) -> float:
    """An accuracy without a training: it rises with FLOPs, with a part of the architecture's own."""
    own = int(architecture.key, 16) % 1000 / 1000
    accuracy = 0.98 - 0.6 * np.exp(-0.55 * (np.log(cost(architecture).flops) - 10.2)) + 0.02 * (own - 0.5)
    curve = [accuracy * (1 - np.exp(-epoch / 4)) for epoch in range(1, 16)]
    for epoch, value in enumerate(curve, start=1):
        report(epoch, float(value))
    return float(accuracy)
