"""What the dashboard does: it starts searches, and steers those that run."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

import nas
from nas import SearchSpace, Study
from nas.study.search_state import Request, SearchState, SearchStatus
from nas.system.processes import this_worker
from tests.app.test_pages import Open, figures, open_page, said
from tests.helpers import formula

pytest.importorskip("streamlit")
from streamlit.testing.v1 import AppTest

__all__ = ["open_page"]


def click(app: AppTest, label: str) -> AppTest:
    next(button for button in app.button if button.label == label).click()
    app.run()
    assert not app.exception
    return app


def labels(app: AppTest) -> list[str]:
    return [button.label for button in app.button]


def wait_for(what: Callable[[], bool], *, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until
        time.sleep(0.2)


@pytest.fixture
def study(tmp_path: Path, tiny: SearchSpace) -> Study:
    found = nas.search(tiny, "digits", trials=3, name="s", runs=tmp_path, evaluate=formula, references=False)
    found.attributes.search = SearchState(9, SearchStatus.RUNNING, this_worker())
    return found


def request(study: Study) -> Request | None:
    state = study.attributes.search
    assert state is not None
    return state.request


def test_a_running_search_is_paused_resumed_extended_and_stopped(open_page: Open, study: Study) -> None:
    app = click(open_page("progress"), "Pause")
    assert request(study) == Request.PAUSE
    assert "paused" in said(app)
    click(app, "Resume")
    assert request(study) is None
    click(app, "Add")
    assert (state := study.attributes.search)
    assert state.trials == 19
    click(app, "Stop")
    assert request(study) == Request.STOP
    click(app, "Stop now")
    assert request(study) == Request.STOP_NOW
    assert "extended the search by 10 trainings to 19" in said(app)
    click(app, "Resume")
    assert request(study) is None


def test_what_another_person_did_first_is_said(open_page: Open, study: Study) -> None:
    app = open_page("progress")
    study.attributes.search = SearchState(9, SearchStatus.RUNNING, this_worker(), request=Request.PAUSE)
    click(app, "Pause")
    assert "the search is paused already" in "".join(each.value for each in app.warning).replace("\u2060", "")


def test_visitors_from_elsewhere_start_and_steer_nothing(
    open_page: Open, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    import panel  # type: ignore[import-not-found, unused-ignore]

    monkeypatch.setattr(panel, "is_local", lambda: False)
    assert not {"Pause", "Stop", "Add"} & set(labels(open_page("progress")))
    app = open_page("new")
    assert not labels(app)
    assert "Not from here" in said(app)


def test_a_space_is_shown_with_what_it_holds(open_page: Open, study: Study) -> None:
    app = open_page("new")
    assert {metric.label for metric in app.metric} >= {"architectures", "within the budget"}
    assert "space" in figures(app)
    assert "nas search digits --data digits --trials 50 --workers auto --study digits" in app.code[0].value
    app.selectbox(key="space for digits").set_value("made for the images").run()
    assert "digits.space.yaml --data digits" in app.code[0].value
    assert figures(app)["space"]["data"]
    app.text_input(key="name of digits").set_value("../elsewhere").run()
    click(app, "Start the search")
    assert "study='../elsewhere': must be at most 100 letters" in said(app)
    assert not list(study.folder.parent.parent.glob("elsewhere*"))
    app.text_input(key="name of digits").set_value("digits").run()
    click(app, "Remove the last")
    assert not app.warning
    app.text_input(key="most FLOPs").set_value("3").run()
    assert "no architecture" in "".join(each.value for each in app.warning).replace("\u2060", "")
    app.text_input(key="images").set_value("nowhere/to/be/found").run()
    assert "no such file or folder" in "".join(each.value for each in app.warning).replace("\u2060", "")


@pytest.mark.slow
def test_it_says_how_long_a_search_takes_here(open_page: Open) -> None:
    app = click(open_page("new"), "How long?")
    assert "by one worker, 10 epochs each" in said(app)


@pytest.mark.slow
def test_a_search_is_started_and_outlives_the_page(open_page: Open, tmp_path: Path) -> None:
    app = open_page("new")
    next(each for each in app.number_input if each.label == "Trainings").set_value(1)
    next(each for each in app.number_input if each.label == "Epochs").set_value(1)
    next(each for each in app.number_input if each.label == "Workers").set_value(1)
    app.run()
    click(app, "Start the search")
    assert "is being started" in said(app)
    log = tmp_path / "digits.log"
    wait_for(lambda: log.is_file() and "nas show" in log.read_text(encoding="utf-8"))  # the last it prints
    study = Study.open("digits", tmp_path)
    assert len(study.records()) == 1
    app = open_page("progress", study="digits")
    assert "nas search --trials 11 --workers auto --study digits" in app.code[0].value
    click(app, "Start")
    wait_for(lambda: len(study.records()) > 1)
    wait_for(lambda: _ended(study))


def _ended(study: Study) -> bool:
    state = study.attributes.search
    return state is not None and not state.live


@pytest.mark.slow
def test_a_search_that_cannot_begin_says_why(open_page: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import launch  # type: ignore[import-not-found, unused-ignore]

    app = open_page("new")
    monkeypatch.setattr(launch, "command", lambda *_: ["nas", "search", "no-such-space"])
    click(app, "Start the search")
    wait_for(lambda: app.session_state["launch"].process.poll() is not None)
    app.run()
    assert "no ready space of that name" in "".join(each.value for each in app.warning).replace("\u2060", "")
