"""From an empty folder to files that run elsewhere without leaving the browser: start, design, queue, steer, export."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.browser import CHROMIUM
from nas import Study
from nas.study.records import TrialRecord, TrialState
from nas.study.search_state import SearchStatus
from tests.app.test_browser import Serve, browser, page, press, press_export, serve, wait_for
from tests.helpers import has_trials

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytest.importorskip("streamlit")
pytest.importorskip("playwright")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")]
__all__ = ["browser", "page", "serve"]


@pytest.fixture
def on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    yield
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""


def open_page(page: "Page", title: str) -> None:
    page.locator("[data-testid=stSidebar] a", has_text=title).click()


def choose(page: "Page", label: str, option: str) -> None:
    """Chooses from a list, as a person does: opens it and clicks, again if it has closed as the page was rerun."""
    from playwright.sync_api import TimeoutError as Overdue

    def chosen() -> bool:
        page.get_by_role("combobox", name=label).last.click()
        try:
            page.get_by_role("option", name=option, exact=True).click(timeout=3000)
        except Overdue:
            page.keyboard.press("Escape")
            return False
        return True

    wait_for(chosen)


def started(page: "Page", runs: Path) -> Study:
    """Starts a search of the digits, and returns its study once it has a trial."""
    page.get_by_role("button", name="Start the search").wait_for()
    for label, value in (("Trainings", "12"), ("Epochs", "2"), ("Workers", "1")):
        page.get_by_label(label, exact=True).fill(value)
        page.get_by_label(label, exact=True).press("Enter")
    page.get_by_text("--trials 12 --workers 1 --epochs 2").wait_for()
    page.get_by_role("button", name="Start the search").click()
    wait_for(lambda: has_trials("digits", runs))
    page.get_by_role("button", name="Pause").wait_for()
    return Study.open("digits", runs)


def designed(page: "Page", study: Study) -> TrialRecord:
    """Designs a network that was not trained yet, and returns its trial, which waits in the queue."""
    open_page(page, "Design")
    page.get_by_text("It was trained as trial").wait_for()
    page.get_by_role("button", name="Add a stage").click()
    page.get_by_text("Outside the study's space").wait_for()
    page.get_by_role("button", name="Undo").click()
    page.get_by_text("It was trained as trial").wait_for()
    known = {record.architecture.key for record in study.records()}
    depth = page.get_by_role("combobox", name="depth").first

    def opened() -> bool:  # the page may still be rerunning
        depth.press("ArrowDown")
        page.wait_for_timeout(1000)
        return page.get_by_role("option").count() > 1

    wait_for(opened)
    other = next(text for text in page.get_by_role("option").all_inner_texts() if text != depth.input_value())
    page.get_by_role("option", name=other, exact=True).click()
    page.get_by_text("It would").wait_for()  # on the front, or not
    page.get_by_role("button", name="Queue for training").click()
    page.get_by_text("Queued: ").wait_for()
    [queued] = [record for record in study.records() if record.state == TrialState.WAITING]
    assert queued.architecture.key not in known
    return queued


def acts(study: Study, what: str) -> bool:
    return any(act.what == what for act in study.attributes.acts)


def steered(page: "Page", study: Study, queued: TrialRecord) -> None:
    """Goes on with the search, pauses, resumes, extends and stops it; it trains what was queued first of all."""
    page.get_by_role("button", name="Search on").click()
    page.get_by_label("More trainings").fill("400")  # more than there is time for: it is to be stopped
    page.get_by_label("More trainings").press("Enter")
    page.get_by_text("--trials 412").wait_for()
    page.get_by_role("button", name="Start", exact=True).click()
    press(page.get_by_role("button", name="Pause"), lambda: acts(study, "paused the search"), reload=True)
    press(page.get_by_role("button", name="Resume"), lambda: acts(study, "resumed the search"), reload=True)
    page.get_by_role("button", name="Pause").wait_for()
    page.get_by_role("button", name="More", exact=True).last.click()  # an older one may be fading out
    page.get_by_label("Trainings to add").fill("20")
    page.get_by_label("Trainings to add").press("Enter")
    page.wait_for_timeout(2000)  # it stays open while trainings begin and end
    page.get_by_role("button", name="Add", exact=True).last.click()
    wait_for(lambda: (state := study.attributes.search) is not None and state.trials == 432)
    wait_for(lambda: study.record(queued.trial).trained)
    page.keyboard.press("Escape")
    page.get_by_label("Trainings to add").wait_for(state="hidden")  # else the next click only closes it
    press(page.get_by_role("button", name="Stop", exact=True), lambda: acts(study, "stopped the search"), reload=True)
    page.get_by_text("The search was stopped by a person.").wait_for()
    assert study.record(queued.trial).by_person


@pytest.mark.usefixtures("on_the_cpu")
def test_from_an_empty_folder_to_an_export(tmp_path: Path, page: "Page", serve: Serve) -> None:
    address = serve(tmp_path)
    page.goto(f"{address}/new")
    study = started(page, tmp_path)
    wait_for(lambda: (state := study.attributes.search) is not None and state.state == SearchStatus.COMPLETE)
    steered(page, study, designed(page, study))
    page.goto(f"{address}/architecture?study=digits")  # the most accurate, whose predictions are there
    page.get_by_text("taken for another class").first.wait_for()
    choose(page, "Class", "8")
    page.get_by_text("validation images: taken for another class.").wait_for()
    open_page(page, "Export")
    press_export(page)
    page.get_by_role("button", name="Download the files").wait_for(timeout=180_000)


@pytest.mark.long
@pytest.mark.usefixtures("on_the_cpu")
def test_two_browsers_that_act_at_once_lose_nothing_and_do_nothing_twice(
    tmp_path: Path, page: "Page", browser: "Browser", serve: Serve
) -> None:
    address = serve(tmp_path)
    page.goto(f"{address}/new")
    study = started(page, tmp_path)
    other = browser.new_page()
    other.goto(f"{address}/progress?study=digits")
    other.get_by_role("button", name="Pause").wait_for()

    def acts() -> list[str]:
        return [act.what for act in study.attributes.acts]

    for each in (page, other):
        each.get_by_role("button", name="More", exact=True).last.click()
    for added in (1, 2, 3):
        for each in (page, other):
            each.get_by_role("button", name="Add", exact=True).last.click()
        wait_for(lambda: sum("by 10 trainings" in what for what in acts()) >= 2 * added)  # noqa: B023 - called here
    for each in (page, other):
        each.keyboard.press("Escape")
        each.get_by_label("Trainings to add").wait_for(state="hidden")
    state = study.attributes.search
    assert state is not None
    assert state.trials == 12 + 6 * 10
    for each in (page, other):
        each.get_by_role("button", name="Stop", exact=True).last.click()
    wait_for(lambda: (state := study.attributes.search) is not None and state.state == SearchStatus.STOPPED)
    for each in (page, other):
        each.get_by_text("The search was stopped by a person.").wait_for()
    assert not [record for record in study.records() if record.state == TrialState.RUNNING]
    other.close()
