"""The dashboard as a person meets it: a real search, a real server, a real browser (Debian's Chromium)."""

import contextlib
import io
import json
import os
import random
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

import nas
from benchmarks.browser import CHROMIUM, browsing, dashboard
from nas import SearchSpace, Study
from nas.study.search_state import Request, SearchState, SearchStatus
from nas.system.processes import this_worker
from nas.units import percent_text
from nas.workflows import steering
from tests.helpers import formula

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

pytest.importorskip("streamlit")
pytest.importorskip("playwright")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt-get install chromium")

# Where a trial of a trace lies on the screen, and which trial it is.
PLACE = """([name, index]) => {
  const chart = document.querySelector(".nas-chart"), trace = chart._fullData.find(trace => trace.name === name)
  const {xaxis, yaxis} = chart._fullLayout, box = chart.getBoundingClientRect()
  return [box.left + xaxis._offset + xaxis.d2p(trace.x[index]), box.top + yaxis._offset + yaxis.d2p(trace.y[index]),
          trace.customdata[index]]
}"""
DRAWN = """() => {
  const chart = document.querySelector(".nas-chart")
  const names = ["front", "beaten", "beaten, perhaps by chance"]
  return (chart?._fullData ?? []).filter(trace => names.includes(trace.name)).reduce((sum, t) => sum + t.x.length, 0)
}"""
RANGE = "() => document.querySelector('.nas-chart')._fullLayout.xaxis.range"
Serve = Callable[..., str]


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    with browsing() as started:
        yield started


@pytest.fixture
def page(browser: "Browser") -> Iterator["Page"]:
    context = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    context.set_default_timeout(240_000)  # the dashboard's priority is low: beside other tests it is slow
    yield context.new_page()
    context.close()


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts `nas dashboard`; gives its address."""
    with contextlib.ExitStack() as servers:
        yield lambda runs, *options: servers.enter_context(dashboard(runs, *options))


def wait_for(condition: Callable[[], Any], *, seconds: float = 240) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.1)
    return found


def press(button: "Locator", effect: Callable[[], Any], *, reload: bool = False) -> None:
    """Presses a button, and again after a minute if it has moved away under the click, as a loading page may do.

    With `reload` of the page before that, as a person would on cores that are so busy that it has stopped answering.
    """
    from playwright.sync_api import TimeoutError as Overdue

    for _ in range(4):
        with contextlib.suppress(Overdue):  # it may be disabled by an earlier click
            button.last.click(timeout=120_000)
        with contextlib.suppress(AssertionError):
            wait_for(effect, seconds=60)
            return
        if reload:
            button.page.reload()
    assert effect(), "pressing it had no effect"


def press_export(page: "Page") -> None:
    """Exports what the page Export shows."""
    under_way = page.get_by_text("Writing the files").or_(page.get_by_role("button", name="Download the files"))
    press(page.get_by_role("button", name="Export", exact=True), under_way.first.is_visible)


def click_trial(page: "Page", trace: str, index: int) -> int:
    x, y, trial = page.evaluate(PLACE, [trace, index])
    page.mouse.move(x, y)
    page.wait_for_timeout(200)
    page.mouse.click(x, y)
    return int(trial)


def step_up_to(page: "Page", heading: str) -> None:
    """Moves the budget slider to the right until the heading is there, at a person's pace: while a page is drawn anew,
    steps may be lost."""

    def there_after_a_step() -> bool:
        page.locator("[data-testid=stMain] input[type=range]").first.press("ArrowRight")
        page.wait_for_timeout(1000)
        return page.get_by_role("heading", name=heading).is_visible()

    wait_for(there_after_a_step)


def test_a_search_is_watched_understood_and_taken_home(tmp_path: Path, page: "Page", serve: Serve) -> None:
    runs = tmp_path / "runs"
    page.goto(serve(runs))
    page.get_by_text("No study yet").wait_for()

    search = [sys.executable, "-m", "nas", "search", "digits", "--study", "live", "--runs", str(runs)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    running = subprocess.Popen([*search, "--trials", "24", "--epochs", "6"], env=environment, stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: page.evaluate(DRAWN) >= 2)  # nobody reloads the page
        page.locator(".nas-chart").first.hover()
        page.locator("[data-title='Zoom in']").first.click()
        zoomed, drawn = page.evaluate(RANGE), page.evaluate(DRAWN)
        wait_for(lambda: page.evaluate(DRAWN) > drawn)
        assert page.evaluate(RANGE) == zoomed
        assert running.wait(timeout=240) == 0
    finally:
        running.kill()
    study = nas.Study.open("live", runs)
    wait_for(lambda: page.evaluate(DRAWN) == 24)
    page.get_by_text("The search is complete.").wait_for()

    page.reload()
    wait_for(lambda: page.evaluate(DRAWN) == 24)
    trial = click_trial(page, "front", 0)
    assert trial == study.front()[0].trial
    page.get_by_role("heading", name=f"Trial {trial}", exact=True).wait_for()
    page.get_by_text(study.record(trial).name, exact=True).wait_for()
    assert f"trial={trial}" in page.url

    slider = page.locator("[data-testid=stMain] input[type=range]").first
    slider.focus()
    slider.press("Home")
    page.get_by_text("Nothing is that small").wait_for()
    step_up_to(page, "The pick")

    page.locator("[data-testid=stSidebar] a", has_text="Export").click()
    press_export(page)
    with page.expect_download(timeout=180_000) as download:
        page.get_by_role("button", name="Download the files").click(timeout=180_000)
    bundle = zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes()))
    names = {Path(name).name: name for name in bundle.namelist()}
    assert {"model.py", "model.onnx", "model.pt2", "model.safetensors", "MODEL_CARD.md", "verification.json"} <= set(
        names
    )
    bundle.extractall(tmp_path / "taken")
    architecture = nas.Architecture.from_yaml(tmp_path / "taken" / names["architecture.yaml"])
    import safetensors

    with safetensors.safe_open(tmp_path / "taken" / names["model.safetensors"], "np") as file:
        notes = file.metadata()
    exported = next(record for record in study.records() if record.architecture == architecture)
    assert json.loads(notes["validation_accuracy"]) == exported.accuracy


def test_pages_and_choices_are_in_the_url_and_back_goes_back(
    tmp_path: Path, tiny: SearchSpace, page: "Page", serve: Serve
) -> None:
    study = nas.search(tiny, trials=12, runs=tmp_path, name="s", evaluate=formula)
    nas.search(tiny, trials=3, runs=tmp_path, name="older", evaluate=formula)
    address = serve(tmp_path)
    best = study.front()[-1].trial
    page.goto(f"{address}/architecture?study=s&trial={best}")
    page.get_by_role("heading", name=f"Trial {best} ").wait_for()
    for name, sign in (("Trials", "Click a name to sort"), ("Progress", "Hypervolume"), ("Insights", "Which choice")):
        page.wait_for_timeout(1500)  # a person looks before the next click; while a page is drawn, a choice may be lost
        page.locator("[data-testid=stSidebar] a", has_text=name).click()
        page.get_by_text(sign).first.wait_for()
        assert page.url == f"{address}/{name.lower()}?study=s&trial={best}"
    page.go_back()
    page.get_by_text("Hypervolume").first.wait_for()
    page.go_back()
    page.get_by_text("Click a name to sort").wait_for()
    page.reload()
    page.get_by_text("12 of 12 trials. Click").wait_for()
    page.goto(f"{address}/?study=nosuch")
    page.get_by_text("no study 'nosuch'").wait_for()
    page.goto(f"{address}/compare?study=s&compared=0,1")
    page.get_by_text("Trial 1 is").wait_for()


def test_a_lasso_marks_trials_for_comparison(tmp_path: Path, tiny: SearchSpace, page: "Page", serve: Serve) -> None:
    study = nas.search(tiny, trials=12, runs=tmp_path, name="s", evaluate=formula)
    page.goto(f"{serve(tmp_path)}/?study=s")
    wait_for(lambda: page.evaluate(DRAWN) == 12)
    page.locator(".nas-chart").first.hover()
    page.locator("[data-title='Lasso Select']").first.click()
    left, top, right, bottom = page.evaluate(
        """() => {
          const box = document.querySelector(".nas-chart .nsewdrag").getBoundingClientRect()
          return [box.left + 3, box.top + 3, box.right - 3, box.bottom - 3]
        }"""
    )
    page.mouse.move(left, top)
    page.mouse.down()
    for x, y in ((right, top), (right, bottom), (left, bottom), (left, top)):
        page.mouse.move(x, y, steps=8)
    page.mouse.up()
    page.wait_for_url("**compared=**")
    marked = [int(number) for number in page.url.split("compared=")[1].split("&")[0].replace("%2C", ",").split(",")]
    assert len(marked) == 5
    assert set(marked) <= {record.trial for record in study.records()}
    page.locator("[data-testid=stSidebar] a", has_text="Compare").click()
    page.get_by_text("As multiples of trial").wait_for()


def test_a_finished_study_is_left_in_peace_and_a_quiet_one_does_not_flicker(
    tmp_path: Path, tiny: SearchSpace, page: "Page", serve: Serve
) -> None:
    study = nas.search(tiny, trials=5, runs=tmp_path, name="s", evaluate=formula)
    sent: list[object] = []

    def note(frame: object) -> None:
        sent.append(frame)

    page.on("websocket", lambda socket: socket.on("framesent", note))
    address = serve(tmp_path)
    page.goto(address)
    wait_for(lambda: page.evaluate(DRAWN) == 5)
    page.wait_for_timeout(2000)
    before = len(sent)
    page.wait_for_timeout(6000)
    assert len(sent) == before

    study.attributes.search = SearchState(
        9, SearchStatus.RUNNING, this_worker()
    )  # by this process, which lives: there may be news
    page.reload()
    page.get_by_text("searching").wait_for()
    page.wait_for_timeout(3000)
    page.evaluate(
        """() => {
          window.changes = 0
          new MutationObserver(found => { window.changes += found.length }).observe(
            document.querySelector("[data-testid=stMainBlockContainer]"),
            {childList: true, subtree: true, attributes: true},
          )
        }"""
    )
    before = len(sent)

    def has_asked() -> bool:
        page.wait_for_timeout(1000)  # lets Playwright take in the frames
        return len(sent) > before

    wait_for(has_asked)
    page.wait_for_timeout(3000)
    assert page.evaluate("window.changes") == 0


@pytest.mark.slow
def test_a_trial_stays_open_while_its_estimate_changes(
    tmp_path: Path, tiny: SearchSpace, page: "Page", serve: Serve
) -> None:
    def grow(trials: int) -> Study:
        study = nas.search(tiny, "digits", trials=trials, runs=tmp_path, name="s", evaluate=formula)
        study.attributes.search = SearchState(99, SearchStatus.RUNNING, this_worker())
        return study

    study = grow(12)
    opened = study.front()[-1]
    page.goto(f"{serve(tmp_path)}/design?study=s&trial={opened.trial}")
    shown = page.get_by_role("combobox", name="Start from")
    wait_for(lambda: percent_text(opened.quality) in shown.input_value())
    for trials in (16, 20):  # the browser answers with the label of before
        other = grow(trials).record(opened.trial).quality
        assert other != opened.quality
        wait_for(lambda other=other: percent_text(other) in shown.input_value())  # type: ignore[misc]
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Resume").wait_for()
    wait_for(lambda: f"trial={opened.trial}" in page.url)
    assert not page.get_by_text("encountered an error").count()
    assert shown.input_value().startswith(f"{opened.trial} · ")


def test_a_study_that_vanishes_while_it_is_watched_is_a_calm_page(
    tmp_path: Path, tiny: SearchSpace, page: "Page", serve: Serve
) -> None:
    study = nas.search(tiny, trials=5, runs=tmp_path, name="s", evaluate=formula)
    study.attributes.search = SearchState(
        9, SearchStatus.RUNNING, this_worker()
    )  # as this very process is: the page goes on to look
    page.goto(serve(tmp_path))
    wait_for(lambda: page.evaluate(DRAWN) == 5)
    journal = study.folder / "journal.log"
    journal.rename(study.folder / "hidden")
    page.get_by_text("The study cannot be read").wait_for()
    (study.folder / "hidden").rename(journal)
    wait_for(lambda: page.evaluate(DRAWN) == 5)
    journal.write_text("no journal at all\n" * 100)
    page.get_by_text("The study cannot be read").wait_for()
    assert not page.get_by_text("Traceback").count()


@pytest.mark.slow
def test_a_server_that_is_killed_as_somebody_clicks_loses_nothing(
    tmp_path: Path, tiny: SearchSpace, page: "Page", serve: Serve
) -> None:
    study = nas.search(tiny, "digits", trials=3, name="s", runs=tmp_path, evaluate=formula, references=False)
    study.attributes.search = SearchState(9, SearchStatus.RUNNING, this_worker())
    rng, acts = random.Random(0), 0
    for _ in range(6):
        page.goto(f"{serve(tmp_path)}/?study=s")
        button = page.get_by_role("button", name=re.compile("Pause|Resume")).first
        button.wait_for()
        asked = "Pause" in button.inner_text()
        button.click(no_wait_after=True)
        page.wait_for_timeout(rng.uniform(0, 120))
        for server in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):  # one of before, that nobody has waited for
                if "server.py" in " ".join(server.cmdline()):
                    server.kill()
        seen = Study.open("s", tmp_path)  # the journal is whole
        state, said = seen.attributes.search, [act.what for act in seen.attributes.acts]
        assert state is not None
        assert (state.trials, state.state) == (9, SearchStatus.RUNNING)
        assert len(said) - acts in (0, 1)
        if len(said) > acts:
            assert said[-1] == ("paused the search" if asked else "resumed the search")
            assert state.request == (Request.PAUSE if asked else None)
        acts = len(said)
    steering.extend(study, 1)  # no lock is left behind
    assert acts  # some clicks came through
