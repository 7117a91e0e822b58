"""What the dashboard does: it starts searches, and steers those that run."""

import http.client
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import nas
from benchmarks.browser import dashboard
from nas import SearchSpace, Study
from nas.analysis.confirmation import confirmed
from nas.analysis.final_training import final_training
from nas.strategy.samplers import ValidSampler
from nas.study.catalog import list_studies
from nas.study.search_state import Request, SearchState, SearchStatus
from nas.system.processes import this_worker
from nas.units import percent_text
from tests.app.test_pages import Open, figures, open_page, said, unescaped
from tests.helpers import formula, write_patches, write_photos

pytest.importorskip("streamlit")
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import TextInput

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


def test_what_steers_keeps_its_place_when_the_status_grows(open_page: Open, study: Study, tiny: SearchSpace) -> None:
    """An element that moves is mounted again by the browser: a popover closes, and a click on a button is lost."""

    def places(app: AppTest) -> dict[int, str]:
        return {index: child.type for index, child in app.sidebar.children.items()}

    study.attributes.search = SearchState(9, SearchStatus.RUNNING, this_worker(), request=Request.PAUSE)
    idle = open_page("progress")
    study.ask(ValidSampler(("random", 7), tiny, {}))
    training = open_page("progress")
    assert len(training.sidebar.caption) > len(idle.sidebar.caption)
    assert places(training) == places(idle)


def test_what_another_person_did_first_is_said(open_page: Open, study: Study) -> None:
    app = open_page("progress")
    study.attributes.search = SearchState(9, SearchStatus.RUNNING, this_worker(), request=Request.PAUSE)
    click(app, "Pause")
    assert "the search is paused already" in "".join(each.value for each in app.warning).replace("\u2060", "")


def test_the_training_to_end_stays_the_chosen_one(open_page: Open, study: Study, tiny: SearchSpace) -> None:
    study.attributes.search = SearchState(9, SearchStatus.RUNNING, this_worker())
    (first, _), (second, _) = (study.ask(ValidSampler(("random", seed), tiny, {})) for seed in (7, 8))
    app = open_page("progress")
    chosen = next(each for each in app.selectbox if each.label == "A running training")
    assert chosen.value == first.number
    study.end_trial(first.number, "ended")
    app.run()
    chosen = next(each for each in app.selectbox if each.label == "A running training")
    assert (chosen.value, chosen.options) == (first.number, [f"{first.number}, ended", f"{second.number}"])
    assert next(button for button in app.button if button.label == "End it").disabled


def test_what_python_searched_is_not_searched_on_from_here(open_page: Open, tiny: SearchSpace, tmp_path: Path) -> None:
    nas.search(tiny, trials=1, runs=tmp_path, name="own", evaluate=formula)
    app = open_page("progress")
    assert "which alone can search on" in said(app)
    assert not any("nas search" in code.value for code in app.code)


def test_visitors_from_elsewhere_start_and_steer_nothing(
    open_page: Open, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    import streamlit as st

    usual = st.get_option
    monkeypatch.setattr(st, "get_option", lambda name: "0.0.0.0" if name == "server.address" else usual(name))
    assert not {"Pause", "Stop", "Add"} & set(labels(open_page("progress")))
    assert "Queue for training" not in labels(open_page("design"))
    app = open_page("new")
    assert not labels(app)
    assert "can be reached from other machines, so it only reads" in said(app)


def test_nobody_acts_where_it_only_reads(open_page: Open, study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page("progress")
    import access  # type: ignore[import-not-found, unused-ignore]

    assert "Pause" in labels(app)
    monkeypatch.setattr(access._Server, "acting", access.Acting.NOBODY)
    assert "Pause" not in labels(open_page("progress"))
    assert "opened with --read-only" in said(open_page("new"))


def get(url: str) -> tuple[int, str]:
    """Follows no redirect; returns the status, and the cookie that is set."""
    host, path = url.removeprefix("http://").split("/", 1)
    connection = http.client.HTTPConnection(host, timeout=20)
    connection.request("GET", f"/{path}")
    answer = connection.getresponse()
    connection.close()
    return answer.status, answer.getheader("set-cookie", "")


def test_the_secret_link_gives_a_cookie_and_no_other_does(tmp_path: Path) -> None:
    with (tmp_path / "said").open("w") as file, dashboard(tmp_path, "--allow-actions", said=file) as address:
        [link] = [word for word in (tmp_path / "said").read_text().split() if "token=" in word]
        assert link.startswith(f"{address}/act?token=")
        code, cookie = get(link)
        assert code == 303
        assert link.partition("=")[2] in cookie
        assert "HttpOnly" in cookie and "SameSite=strict" in cookie
        assert get(link[:-1]) == (403, "")
        assert get(f"{address}/act") == (403, "")
        assert get(f"{address}/act?token=%C3%A4") == (403, "")
    with (tmp_path / "said").open("w") as file, dashboard(tmp_path, said=file) as address:
        assert "token=" not in (tmp_path / "said").read_text()


@pytest.mark.parametrize("has_it", [True, False])
def test_with_a_link_only_who_has_the_cookie_acts(
    open_page: Open, study: Study, monkeypatch: pytest.MonkeyPatch, has_it: bool
) -> None:
    open_page("progress")
    import access  # type: ignore[import-not-found, unused-ignore]
    import streamlit as st

    monkeypatch.setattr(access._Server, "acting", access.Acting.BY_LINK)
    cookies = {access._cookie(): access._Server.token} if has_it else {access._cookie(): "x"}
    monkeypatch.setattr(type(st.context), "cookies", property(lambda _: cookies))
    assert ("Pause" in labels(open_page("progress"))) == has_it
    assert ("Open the link that nas dashboard printed" in said(open_page("new"))) != has_it


def test_studies_are_shown_as_cards_compared_renamed_and_put_away(
    open_page: Open, study: Study, tmp_path: Path, tiny: SearchSpace
) -> None:
    nas.search(tiny, trials=2, name="other", runs=tmp_path, evaluate=formula)
    app = open_page("studies", study="other")
    assert {"s", "other"} <= {label.replace("\u2060", "") for label in labels(app)}
    assert {"sketch s", "sketch other"} <= set(figures(app))
    assert "searching" in said(app)
    app.multiselect(key="fronts").set_value(["s", "other"]).run()
    assert {trace["name"] for trace in figures(app)["fronts-figure"]["data"]} == {"s", "other"}
    app.multiselect(key="fronts").set_value([]).run()

    app.button(key="archive s").click().run()
    assert "a search is running on it; nas stop s ends it" in unescaped(app.warning[0].value)
    app.text_input(key="new name of other").set_value("best").run()
    app.button(key="rename other").click().run()
    assert not app.exception
    assert sorted(list_studies(tmp_path)) == ["best", "s"]
    assert app.sidebar.selectbox[0].value == "best"
    assert app.button(key="delete best").disabled
    app.checkbox(key="sure best").check().run()
    app.button(key="delete best").click().run()
    assert not app.exception
    assert list_studies(tmp_path) == ["s"]
    app.button(key="restore .bin best").click().run()
    assert sorted(list_studies(tmp_path)) == ["best", "s"]
    app.text_input(key="find a study").set_value("BE").run()
    assert "sketch s" not in figures(app)


def test_visitors_put_no_study_away(open_page: Open, study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    open_page("studies")
    import access  # type: ignore[import-not-found, unused-ignore]

    monkeypatch.setattr(access._Server, "acting", access.Acting.NOBODY)
    app = open_page("studies")
    assert "sketch s" in figures(app)
    assert not {"Rename", "Archive", "Move to the bin"} & set(labels(app))


def images_field(app: AppTest) -> TextInput:
    return next(each for each in app.text_input if each.label == "Images")


def test_a_space_is_shown_with_what_it_holds(open_page: Open, study: Study) -> None:
    app = open_page("new")
    assert {metric.label for metric in app.metric} >= {"architectures", "within the budget"}
    assert "space" in figures(app)
    assert "nas search digits --data digits --trials 50 --workers auto --study digits" in app.code[0].value
    app.selectbox(key="new search: space of digits").set_value("made for the images").run()
    assert "digits.space.yaml --data digits" in app.code[0].value
    assert figures(app)["space"]["data"]
    app.text_input(key="new search: name of digits").set_value("../elsewhere").run()
    click(app, "Start the search")
    assert "study='../elsewhere': must be at most 100 letters" in said(app)
    assert not list(study.folder.parent.parent.glob("elsewhere*"))
    app.text_input(key="new search: name of digits").set_value("digits").run()
    click(app, "Remove the last")
    assert not app.warning
    app.text_input(key="new search: most FLOPs of digits").set_value("3").run()
    assert "no architecture" in "".join(each.value for each in app.warning).replace("\u2060", "")
    images_field(app).set_value("nowhere/to/be/found").run()
    assert "no such file or folder" in "".join(each.value for each in app.warning).replace("\u2060", "")


def test_the_form_keeps_what_was_entered_while_another_page_is_shown(open_page: Open, study: Study) -> None:
    app = open_page("new")
    app.selectbox(key="new search: space of digits").set_value("made for the images").run()
    app.text_input(key="new search: most FLOPs of digits").set_value("300k").run()
    app.number_input(key="new search: trainings of digits").set_value(7).run()
    click(app, "Remove the last")
    asked = app.code[0].value
    assert "--trials 7" in asked
    for page in ("front", "new"):
        app._page_hash = app.session_state["pages"][page]._script_hash
        app.run()
        assert not app.exception
    assert app.code[0].value == asked
    assert app.text_input(key="new search: most FLOPs of digits").value == "300k"
    assert [row["part"] for row in app.session_state["rows"]] == ["stem 1", "stem 2", "stage 1", "stage 2"]


def test_another_space_may_learn_from_the_study_s_trials(open_page: Open, study: Study) -> None:
    app = open_page("new", study="s")
    app.selectbox(key="new search: space of digits").set_value("that of study s").run()
    assert "--warm-start" not in app.code[0].value
    app.text_input(key="new search: most FLOPs of digits").set_value("50k").run()
    assert "max_flops: " in said(app)
    app.checkbox(key="new search: learning from s of digits").check().run()
    assert not app.exception
    assert any("--warm-start s" in code.value for code in app.code)
    app.text_input(key="new search: name of digits").set_value("s").run()
    assert not any("--warm-start" in code.value for code in app.code)


def test_rare_classes_are_found_and_given_their_weight(open_page: Open) -> None:
    app = open_page("new")
    app.toggle(key="all digits").set_value(True).run()
    assert "A search takes them in grey with 8×8 pixels, cropped to squares." in said(app)
    assert len(app.get("image")) == 10 + 10 * 7  # examples beside the path, and some of each class
    app.selectbox(key="new search: metric of digits").set_value("macro_f1").run()
    app.selectbox(key="new search: class_weights of digits").set_value("balanced").run()
    assert not app.exception
    assert any("--metric macro_f1 --class-weights balanced --study" in code.value for code in app.code)
    app.segmented_control(key="new search: folds of digits").set_value("5").run()
    assert not app.exception
    assert any("--class-weights balanced --folds 5 --study" in code.value for code in app.code)


def test_image_files_are_read_as_asked_and_again_as_in_their_study(open_page: Open, tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos")
    app = open_page("new")
    images_field(app).set_value(str(photos)).run()
    app.selectbox(key=f"new search: resize of {photos}").set_value("letterbox").run()
    app.text_input(key=f"new search: groups of {photos}").set_value("folder").run()
    next(each for each in app.checkbox if each.label == "Leave out files that cannot be read").check().run()
    assert not app.exception
    asked = "--resize letterbox --group-by folder --skip-bad-images --study"
    assert any(asked in code.value for code in app.code)
    broken = next(photos.rglob("*.png"))
    broken.write_bytes(broken.read_bytes()[:30])
    nas.search(
        data=photos, evaluate=formula, trials=1, name="p", runs=tmp_path, resize="letterbox", skip_bad_images=True
    )
    app = open_page("new", study="p")
    assert any("--resize letterbox --skip-bad-images --study" in code.value for code in app.code)


def test_the_form_begins_with_the_images_of_the_study(open_page: Open, study: Study, tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos")
    nas.search(data=str(photos), evaluate=formula, trials=1, name="of-photos", runs=study.folder.parent)
    app = open_page("new", study="of-photos")
    assert not app.exception
    assert images_field(app).value == str(photos)
    assert images_field(open_page("new", study="s")).value == "digits"


def test_images_with_several_labels_are_judged_by_the_metric_for_them(open_page: Open, tmp_path: Path) -> None:
    app = open_page("new")
    images_field(app).set_value(str(write_patches(tmp_path, 30))).run()
    assert not app.exception
    assert "30 images with any of 3 labels, colour, of 16×16 pixels." in said(app)
    metric = next(each for each in app.selectbox if each.label == "Metric")
    assert metric.options == ["mean_average_precision"]
    assert not any("--metric" in code.value for code in app.code)
    images_field(app).set_value("digits").run()  # whose metric is another
    assert app.selectbox(key="new search: metric of digits").value == "accuracy"
    assert not any("--metric" in code.value for code in app.code)


@pytest.mark.slow
def test_it_says_how_long_a_search_takes_here(open_page: Open) -> None:
    app = click(open_page("new"), "How long?")
    assert "by one worker, 10 epochs each" in said(app)
    app.number_input(key="new search: epochs of digits").set_value(3).run()
    assert "by one worker, 3 epochs each" in said(click(app, "How long?"))


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
    assert any("nas show" in code.value for code in app.code)  # what the search printed
    assert any("nas search --trials 11 --workers auto --study digits" in code.value for code in app.code)
    click(app, "Start")
    wait_for(lambda: len(study.records()) > 1)
    wait_for(lambda: _ended(study))


def _ended(study: Study) -> bool:
    state = study.attributes.search
    return state is not None and not state.live


@pytest.mark.slow
def test_the_front_is_confirmed_and_the_network_trained_on_all_images(
    open_page: Open, tmp_path: Path, tiny: SearchSpace
) -> None:
    study = nas.search(tiny, "digits", trials=2, runs=tmp_path, name="s", device="cpu", references=False)
    app = open_page("front")
    next(each for each in app.number_input if each.label == "Seeds").set_value(2)
    next(each for each in app.number_input if each.label == "At most").set_value(1)
    app.run()
    assert f"nas confirm s --seeds 2 --top 1 --runs {tmp_path}" in [code.value for code in app.code]
    click(app, "Confirm")
    wait_for(lambda: "Confirm" in labels(app.run()))
    report = confirmed(study)
    assert report is not None
    assert [len(member.trainings) for member in report.members] == [2]

    best = study.front()[-1]
    app = open_page("export", study="s", trial=str(best.trial))
    assert "Its weights were trained without the 287 validation images." in said(app)
    next(each for each in app.number_input if each.label == "Epochs").set_value(2)
    app.run()
    assert f"nas train s:{best.trial} --all-images --epochs 2 --runs {tmp_path}" in [code.value for code in app.code]
    click(app, "Train on all images")
    wait_for(lambda: "Trained on all images for 2 epochs" in said(app.run()))
    found = final_training(study, best.architecture)
    assert found is not None
    assert f"{percent_text(found[1].accuracy or 0.0)} of the 359 test images. These weights are exported." in said(app)
    assert "Train on all images" not in labels(app)


@pytest.mark.slow
def test_a_training_that_cannot_begin_says_why_and_a_running_one_is_stopped(
    open_page: Open, tmp_path: Path, tiny: SearchSpace
) -> None:
    study = nas.search(tiny, "digits", trials=1, runs=tmp_path, name="s", device="cpu", references=False)
    app = open_page("export")
    next(each for each in app.text_input if each.label == "Where the images are now").set_value("no-such-folder")
    app.run()
    click(app, "Train on all images")
    wait_for(lambda: "It did not go on" in said(app.run()))
    assert "no-such-folder" in said(app)

    app = open_page("export", study="s")
    next(each for each in app.number_input if each.label == "Epochs").set_value(5000)
    app.run()
    click(app, "Train on all images")
    wait_for(lambda: "Stop training" in labels(app.run()))
    click(app, "Stop training")
    wait_for(lambda: "Train on all images" in labels(app.run()))
    assert "It did not go on" not in said(app)
    assert final_training(study, study.front()[-1].architecture) is None


@pytest.mark.slow
def test_a_search_that_cannot_begin_says_why(open_page: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import launch  # type: ignore[import-not-found, unused-ignore]

    app = open_page("new")
    monkeypatch.setattr(launch, "command", lambda *_: ["nas", "search", "no-such-space"])
    click(app, "Start the search")
    wait_for(lambda: app.session_state["launch"].process.poll() is not None)
    app.run()
    assert "no ready space of that name" in "".join(each.value for each in app.warning).replace("\u2060", "")
