"""Every page on an empty, a small and a running study, and on studies where little went well; without a browser."""

import http.client
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import pytest

import nas
from benchmarks.browser import dashboard, free_port, serving
from benchmarks.crowd import serving_process
from nas import NasError, SearchSpace, Study
from nas.analysis.mistakes import label_mistakes
from nas.architectures.cost import cost
from nas.strategy import latency_objective as latency_objective_module
from nas.strategy.samplers import ValidSampler
from nas.study import search_state as search_state_module
from nas.study.artifacts import load_confusion, predictions_of
from nas.study.config import StudyConfig
from nas.study.records import TrialRecord
from nas.study.search_state import SearchState, SearchStatus
from nas.system.processes import is_alive, this_worker, worker_named
from nas.system.resources import dashboard_server
from nas.workflows.retrain import retrain_trial
from tests.faults.killing import until
from tests.helpers import Ran, formula, write_patches
from tests.strategy.test_strategy import timed

pytest.importorskip("streamlit")
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Button

DASHBOARD = dashboard_server().with_name("dashboard.py").resolve()
PAGES = ("front", "trials", "architecture", "design", "compare", "progress", "insights", "export")
Open = Callable[..., AppTest]


@pytest.fixture
def open_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Opens a page of the dashboard on the studies in `tmp_path`, as the URL `/PAGE?QUERY` would."""
    monkeypatch.syspath_prepend(str(DASHBOARD.parent))

    def run(page: str = "front", *, storage: str | None = None, **query: str) -> AppTest:
        monkeypatch.setattr(sys, "argv", ["dashboard.py", str(tmp_path), *([storage] if storage else [])])
        app = AppTest.from_file(str(DASHBOARD), default_timeout=180)
        for name, value in query.items():
            app.query_params[name] = value
        app.run()
        if page != "front":
            app._page_hash = app.session_state["pages"][page]._script_hash  # it opens pages that are files alone
            app.run()
        assert not app.exception
        return app

    return run


@pytest.fixture
def small(tmp_path: Path, tiny: SearchSpace) -> Study:
    """Trained in earnest, so that it has weights and confusion matrices."""
    return nas.search(tiny, "digits", trials=4, runs=tmp_path, name="small", device="cpu", epochs=1)


@pytest.fixture
def running(tmp_path: Path, tiny: SearchSpace) -> Study:
    """Three trials are complete, one failed, and this process trains a fourth."""
    study = nas.search(tiny, trials=3, runs=tmp_path, name="running", evaluate=formula)
    with pytest.raises(NasError):
        nas.search(tiny, trials=4, runs=tmp_path, name="running", evaluate=lambda *_: 5.0)
    study.attributes.search = SearchState(9, SearchStatus.RUNNING, this_worker())
    trial, _ = study.ask(ValidSampler(("random", 7), tiny, {}))
    study.report(trial, [0.25])
    return study


@pytest.fixture
def lengths(tmp_path: Path, tiny: SearchSpace) -> Study:
    """Trained with several schedule lengths: most trials are short."""
    space = tiny.with_changes(recipe=nas.Recipe(epochs=9))
    return nas.search(space, trials=8, runs=tmp_path, name="lengths", evaluate=timed)


def said(app: AppTest) -> str:
    """All words on the page and beside it."""
    elements = [*app.main, *app.sidebar]
    return "\n".join(str(getattr(element, "value", "")) for element in elements)


def unescaped(text: str) -> str:
    """Text as a person sees it that `messages.literal` has escaped."""
    return re.sub(r"\\([!-/:-@\[-`{-~])\u2060?", r"\1", text)


def figures(app: AppTest) -> dict[str, Any]:
    """The figures on the page by their keys, as plotly gets them."""
    return {str(element.key): json.loads(figure_json(element.proto)) for element in app.get("bidi_component")}


def figure_json(proto: Any) -> str:
    return str(json.loads(proto.json)["figure"])


@pytest.mark.parametrize("page", PAGES)
def test_an_empty_folder_says_how_to_begin(open_page: Open, page: str) -> None:
    app = open_page()
    assert app.subheader[0].value == "No study yet"
    assert app.code[0].value.startswith("nas search")


@pytest.mark.parametrize("page", PAGES)
def test_pages_of_a_small_study(open_page: Open, small: Study, page: str) -> None:
    app = open_page(page, compared="0,1", trial="2")
    assert "4 of 4 trainings" in app.sidebar.get("progress")[0].proto.text
    drawn = figures(app)
    expected = {
        "front": {"front", "beside", "beside-curve"},
        "trials": set(),
        "architecture": {"drawing", "curve", "cost", "confusion"},
        "design": {"design-front", "design-drawing"},
        "compare": {"compared-curves", "ratios", "drawn-0", "drawn-1"},
        "progress": {"hypervolume", "bands", "seconds"},
        "insights": {"importance", "effects", "heat", "parallel"},
        "export": set(),
    }
    assert set(drawn) == expected[page]
    assert all(figure["data"] for figure in drawn.values())


@pytest.mark.parametrize("page", PAGES)
def test_pages_of_a_running_study(open_page: Open, running: Study, page: str) -> None:
    app = open_page(page)
    assert "3 of 9 trainings" in app.sidebar.get("progress")[0].proto.text
    assert "training trial 4 (epoch 1)" in app.sidebar.caption[0].value
    if page == "front":
        traces = {trace["name"]: trace for trace in figures(app)["front"]["data"]}
        assert traces["training now"]["customdata"] == [4]
        assert traces["training now"]["text"][0].startswith(running.records()[4].name + " · 25.00 % after epoch 1")
        assert traces["failed"]["customdata"] == [3]
    if page == "progress":
        [workers] = [frame.value for frame in app.dataframe]
        assert workers[["trial", "epoch"]].to_numpy().tolist() == [[4, 1]]
        assert [metric.value for metric in app.metric[:2]] == ["3", "3 of 9"]
        assert "bad_accuracy" in said(app)


@pytest.mark.parametrize("page", PAGES)
def test_pages_of_a_study_of_one_trial(open_page: Open, tmp_path: Path, tiny: SearchSpace, page: str) -> None:
    nas.search(tiny, trials=1, runs=tmp_path, name="one", evaluate=formula)
    open_page(page)


@pytest.mark.parametrize("page", PAGES)
def test_where_all_trials_failed_the_pages_say_so_and_why(
    open_page: Open, tmp_path: Path, tiny: SearchSpace, page: str
) -> None:
    def evaluate(architecture: nas.Architecture) -> float:
        raise ValueError("no licence left")

    with pytest.raises(NasError):
        nas.search(tiny, trials=2, runs=tmp_path, name="s", evaluate=evaluate)
    app = open_page(page)
    if page in ("front", "compare", "insights", "export"):
        assert app.subheader[0].value == "All trials failed"
        assert "no licence left" in app.code[0].value


@pytest.mark.parametrize("page", PAGES)
def test_short_trainings_are_shown_as_such_and_count_for_what_they_cost(
    open_page: Open, lengths: Study, page: str
) -> None:
    short = next(record.trial for record in lengths.records() if record.state == "short")
    app = open_page(page, trial=str(short))
    assert not app.exception
    assert " of 8" in app.sidebar.get("progress")[0].proto.text
    if page == "front":
        names = [trace.get("name") for figure in figures(app).values() for trace in figure["data"]]
        assert "short training" in names
    if page == "export":
        assert app.selectbox[-1].value != short  # there are no weights of it


@pytest.mark.parametrize("page", PAGES)
def test_a_study_without_a_trial_and_one_in_its_first(
    open_page: Open, tmp_path: Path, tiny: SearchSpace, page: str
) -> None:
    study = Study.create("s", tmp_path, StudyConfig(tiny, {"source": "evaluate"}, 0))
    open_page(page)
    study.attributes.search = SearchState(9, SearchStatus.RUNNING, this_worker())
    study.ask(ValidSampler(("random", 7), tiny, {}))
    app = open_page(page)
    if page in ("front", "compare", "insights", "export"):
        assert app.subheader[0].value == "The first trial is being trained"


def test_what_the_url_says_is_chosen(open_page: Open, small: Study) -> None:
    app = open_page(trial="2")
    assert app.subheader[0].value == "Trial 2"
    assert open_page(budget="1").subheader[0].value == "Nothing is that small"
    assert open_page(budget="123456").select_slider[0].value == 123456


@pytest.mark.parametrize("page", PAGES)
def test_nonsense_in_the_url_is_as_if_it_were_not_there(
    open_page: Open, tmp_path: Path, tiny: SearchSpace, page: str
) -> None:
    nas.search(tiny, trials=3, runs=tmp_path, name="s", evaluate=formula)
    open_page(page, trial="999", compared="a,b,1,1,99", axis="no", budget="nan")
    open_page(page, trial="9" * 5000, compared="0,0", budget="-1")


@pytest.mark.parametrize("name", ["nosuch", "../s", "<b>x</b>", "x" * 300])
def test_a_study_that_is_not_there_is_said_to_be_missing(
    open_page: Open, tmp_path: Path, tiny: SearchSpace, name: str
) -> None:
    nas.search(tiny, trials=1, runs=tmp_path, name="s", evaluate=formula)
    app = open_page(study=name)
    assert app.subheader[0].value == "No such study"
    assert f"no study '{name[:100]}'" in app.text[0].value
    assert app.sidebar.selectbox[0].options == ["s"]
    app.sidebar.selectbox[0].select("s").run()
    assert app.metric[0].value == "1"


def test_a_damaged_study_is_a_calm_page(open_page: Open, small: Study) -> None:
    (small.folder / "journal.log").write_bytes(b"no journal\n" * 9)
    app = open_page()
    assert app.subheader[0].value == "The study cannot be read"
    (small.folder / "journal.log").unlink()
    assert "journal" in open_page().text[0].value


def test_a_damaged_confusion_matrix_spoils_nothing_else(open_page: Open, small: Study) -> None:
    small.confusion_file(0).write_bytes(b"\x93NUMPY nothing")
    app = open_page("architecture", trial="0")
    assert set(figures(app)) == {"drawing", "curve", "cost"}
    assert "is damaged" in said(app)


def test_the_confusion_matrix_is_that_of_the_trial(open_page: Open, small: Study) -> None:
    matrix = load_confusion(small.confusion_file(1))
    assert matrix is not None
    record = small.record(1)
    assert matrix.trace() / matrix.sum() == pytest.approx(record.accuracy)
    app = open_page("architecture", trial="1")
    frame = app.dataframe[-1].value
    assert frame["accuracy"].to_numpy() == pytest.approx(np.diag(matrix) / matrix.sum(axis=1))


def test_mistakes_are_shown_with_their_images_and_by_the_cell_of_the_matrix(open_page: Open, small: Study) -> None:
    predictions = predictions_of(small, small.record(1))
    wrong = predictions["label"] != predictions["predicted"]
    app = open_page("architecture", trial="1")
    assert f"{wrong.sum()} of {len(predictions)} validation images: taken for another class." in said(app)
    table = app.dataframe[0].value
    assert sorted(table["image"].astype(int)) == np.flatnonzero(wrong).tolist()
    assert table["its probability"].is_monotonic_decreasing
    assert len(app.get("image")) == min(24, wrong.sum())
    label, predicted = (int(predictions[wrong][0][field]) for field in ("label", "predicted"))
    app.selectbox(key="label").select(label).run()
    app.selectbox(key="predicted").select(predicted).run()
    cell = (predictions["label"] == label) & (predictions["predicted"] == predicted)
    assert sorted(app.dataframe[0].value["image"].astype(int)) == np.flatnonzero(cell).tolist()
    app.selectbox(key="predicted").select(label).run()
    assert "classified rightly" in said(app)


def test_mistakes_whose_predictions_or_images_are_gone_are_a_line(
    open_page: Open, small: Study, tiny: SearchSpace
) -> None:
    data = nas.load_data("digits", tiny.input)
    arrays = data.train.images, data.train.labels
    nas.search(tiny, arrays, trials=1, runs=small.folder.parent, name="arrays", device="cpu", epochs=1)
    words = unescaped(said(open_page("architecture", study="arrays", trial="0")))
    assert "Their pictures cannot be shown: data: the study was searched from Python" in words
    small.predictions_file(1).unlink()
    words = unescaped(said(open_page("architecture", study="small", trial="1")))
    assert "trial 1 of 'small': has no predictions" in words


def test_trials_are_filtered_by_what_is_typed_and_chosen(open_page: Open, running: Study) -> None:
    app = open_page("trials")
    assert app.dataframe[0].value["trial"].tolist() == [0, 1, 2, 3, 4]
    app.text_input[0].input("bad_acc").run()
    assert app.dataframe[0].value["trial"].tolist() == [3]
    app.text_input[0].input("").run()
    app.multiselect[0].select("front").run()
    assert app.dataframe[0].value["trial"].tolist() == sorted(record.trial for record in running.front())


@pytest.mark.slow
def test_filters_that_nobody_moved_hide_nothing_as_trials_come_and_studies_change(
    open_page: Open, tmp_path: Path, tiny: SearchSpace
) -> None:
    count = 0

    def rising(*_: object) -> float:
        nonlocal count
        count += 1
        return 0.4 + count / 200

    nas.search(tiny, trials=6, runs=tmp_path, name="s", evaluate=rising)
    app = open_page("trials")
    nas.search(tiny, trials=60, runs=tmp_path, name="s", evaluate=rising)
    app.run()
    assert len(app.dataframe[0].value) == 60
    accuracy = app.select_slider[0]
    accuracy.set_range(accuracy.value[0], 0.6).run()
    kept = app.dataframe[0].value["accuracy"]
    assert len(kept) < 60
    assert kept.max() == pytest.approx(app.select_slider[0].value[1])
    nas.search(tiny, trials=5, runs=tmp_path, name="other", evaluate=formula)
    app.run()
    app.sidebar.selectbox[0].select("other").run()
    assert len(app.dataframe[0].value) == 5


def test_a_measure_is_an_axis_whatever_its_values(open_page: Open, tmp_path: Path, tiny: SearchSpace) -> None:
    class Result:
        def __init__(self, accuracy: float, **measures: float) -> None:
            self.accuracy, self.measures = accuracy, measures

    results = iter([Result(0.5, zero=0.0, some=1.0), Result(0.6, zero=-2.0), Result(0.7, zero=0.0, some=float("nan"))])
    nas.search(tiny, trials=3, runs=tmp_path, name="s", evaluate=lambda *_: next(results))
    for axis in ("zero", "some"):
        assert open_page(axis=axis).selectbox[0].value == axis
    drawn = figures(open_page(axis="zero"))["front"]["layout"]["xaxis"]
    assert (drawn["title"]["text"], drawn["type"]) == ("zero", "linear")


def test_a_latency_that_only_the_front_has_is_an_axis(open_page: Open, tmp_path: Path, tiny: SearchSpace) -> None:
    study = nas.search(tiny, trials=5, runs=tmp_path, name="s", evaluate=formula)
    study.attributes.latencies = {study.front()[-1].trial: 2.5}
    app = open_page(axis="latency (ms)", budget="3")
    assert app.selectbox[0].value == "latency (ms)"
    assert "at 2.5 ms for one image" in said(app)
    assert open_page().selectbox[0].value == "flops"
    for page in PAGES:
        open_page(page, axis="latency (ms)")


def test_a_study_by_latency_is_shown_by_latency(
    open_page: Open, tmp_path: Path, tiny: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        latency_objective_module, "latency_on", lambda _: lambda architecture: cost(architecture).flops / 1e5
    )
    options = {"objectives": "accuracy,latency", "device": "cpu"}
    nas.search(tiny, trials=5, runs=tmp_path, name="s", evaluate=formula, **options)  # type: ignore[arg-type]
    app = open_page()
    assert app.selectbox[0].value == "latency (ms)"
    assert "axis" not in app.query_params
    assert open_page(axis="flops").selectbox[0].value == "flops"
    for page in PAGES:
        open_page(page)
    assert "log latency" in said(open_page("progress"))


def test_what_a_killed_search_left_behind_is_not_called_running(open_page: Open, running: Study) -> None:
    host = this_worker().rpartition(":")[0]
    killed = {"trials": 9, "state": "running", "worker": f"{host}:999999999"}
    running.optuna_study.set_user_attr("search", killed)
    app = open_page()
    assert "training now" not in [trace["name"] for trace in figures(app)["front"]["data"]]
    assert "perhaps killed" in app.sidebar.caption[0].value
    assert "1 interrupted" in said(open_page("progress"))


def test_a_budget_picks_the_best_trial_under_it(open_page: Open, small: Study) -> None:
    app = open_page()
    assert app.subheader[0].value == f"The pick: trial {small.front()[-1].trial}"
    slider = app.select_slider[0]
    low = small.front()[0]
    labels = list(slider.options)
    at = next(i for i, step in enumerate(labels) if step.endswith("FLOPs") and _amount(step) >= low.flops)
    slider.set_value(_steps(small)[at]).run()
    assert app.subheader[0].value.startswith("The pick: trial")
    assert app.query_params["budget"] == f"{_steps(small)[at]:g}"


def _steps(study: Study) -> list[float]:
    from nas.analysis.cost_metrics import round_steps

    flops = [record.flops for record in study.records()]
    return round_steps(min(flops), max(flops))


def _amount(text: str) -> float:
    from nas.units import parse_count

    return parse_count(text.removesuffix(" FLOPs"), "x")


@pytest.mark.slow
def test_an_export_is_what_the_command_writes(open_page: Open, small: Study) -> None:
    app = open_page("export", trial="1")
    assert app.main.code[-1].value.startswith("nas export small --trial 1 --runs ")
    _export_button(app).click().run()
    assert _export_button(app).disabled
    assert "Writing the files" in said(app)
    until(lambda: "loaded back; its logits differ" in said(app.run()))
    shutil.copytree(small.folder, small.folder.with_name("other"))  # the same numbers, but not the same trials
    app.run().sidebar.selectbox[0].select("other").run()
    assert "loaded back" not in said(app)
    app.sidebar.selectbox[0].select("small").run()
    small.weights_file(1).unlink()
    app = open_page("export", study="small", trial="1")
    assert _export_button(app).disabled
    assert "Nothing to export" in said(app)


def _export_button(app: AppTest) -> Button:
    return next(button for button in app.button if button.label == "Export")


def test_a_database_is_read_as_well(open_page: Open, tmp_path: Path, tiny: SearchSpace) -> None:
    url = f"sqlite:///{tmp_path}/trials.db"
    nas.search(tiny, trials=3, runs=tmp_path / "elsewhere", name="in-a-database", evaluate=formula, storage=url)
    app = open_page(storage=url)
    assert app.sidebar.selectbox[0].value == "in-a-database"
    assert app.metric[0].value == "3"


def test_it_neither_writes_nor_imports_torch(tmp_path: Path, tiny: SearchSpace) -> None:
    study = nas.search(tiny, trials=3, runs=tmp_path, name="s", evaluate=formula)
    before = {file: file.stat().st_mtime_ns for file in study.folder.rglob("*")}
    program = f"""
import sys
from streamlit.testing.v1 import AppTest
sys.path.insert(0, {str(DASHBOARD.parent)!r})
sys.argv = ["dashboard.py", {str(tmp_path)!r}]
app = AppTest.from_file({str(DASHBOARD)!r}, default_timeout=180).run()
for page in {PAGES}:
    app._page_hash = app.session_state["pages"][page]._script_hash
    app.run()
    assert not app.exception
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert {file: file.stat().st_mtime_ns for file in study.folder.rglob("*")} == before


def test_what_is_confirmed_is_shown_beside_the_scores(open_page: Open, small: Study) -> None:
    before = said(open_page())
    assert "Confirmed" not in before
    found = nas.confirm(small, top=2, seeds=2, test=True, device="cpu")
    best = max(found.members, key=lambda member: member.validation.mean)
    app = open_page()
    text = said(app)
    assert best.validation.text() in text  # the headline
    assert f"Trial {best.record.trial} is" in text or "the only trained network" in text
    assert "Its accuracy is the mean of its confirmation." in text
    assert found.optimism_text() in text  # type: ignore[operator]
    app = open_page("architecture", study="small", trial=str(best.record.trial))
    assert "Confirmed on 2 seeds of 1 epoch" in said(app)
    assert "on the test images" in said(app)
    export = open_page("export")
    assert f"--trial {best.record.trial} " in export.main.code[-1].value
    for page in PAGES:
        open_page(page)


@pytest.mark.slow
def test_what_was_made_of_a_study_is_shared_until_there_is_news(
    open_page: Open, tmp_path: Path, tiny: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    nas.search(tiny, trials=3, runs=tmp_path, name="s", evaluate=formula)
    monkeypatch.syspath_prepend(str(DASHBOARD.parent))
    import live

    made: list[int] = []

    def count(seen: live.Snapshot, factor: int) -> int:
        made.append(factor)
        return factor * len(seen.records)

    place = live.Place(str(tmp_path))
    seen = live.snapshot("s", place)
    assert (seen.shared(count, 1), seen.shared(count, 2), seen.shared(count, 1)) == (3, 6, 3)
    assert made == [1, 2]
    monkeypatch.setattr(sys.modules["live"], "SECONDS_BETWEEN_LOOKS", 0)  # as if it was long ago
    assert live.snapshot("s", place) is seen
    nas.search(tiny, trials=4, runs=tmp_path, name="s", evaluate=formula)
    assert live.snapshot("s", place).shared(count, 1) == 4
    latest = live.snapshot("s", place)
    for factor in range(2 * live.MOST_SHARED):
        latest.shared(count, factor)
    assert len(latest.made.values) == live.MOST_SHARED
    for trials in range(5, 6 + live.MOST_KEPT):
        nas.search(tiny, trials=trials, runs=tmp_path, name="s", evaluate=formula)
        live.snapshot("s", place)
    assert latest.shared(count, 3) == 12
    assert not latest.made.values  # and what is held by sessions that are left alone stays small


def test_a_search_that_was_killed_just_now_is_seen_though_nothing_was_written(
    open_page: Open, running: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "training trial 4" in said(open_page())
    monkeypatch.setattr(search_state_module, "is_alive", lambda _: False)
    assert "perhaps killed" in said(open_page())


@pytest.mark.slow
def test_the_images_of_all_folds_are_those_that_judge(open_page: Open, tmp_path: Path, tiny: SearchSpace) -> None:
    nas.search(tiny, "digits", trials=1, folds=3, max_images=90, runs=tmp_path, name="s", references=False)
    app = open_page("architecture")
    assert not app.exception
    assert "90 images in 3 folds, " in said(app)
    assert "of 90 validation images: taken for another class." in said(app)


@pytest.mark.slow
def test_labels_that_are_missed_are_shown_by_label(open_page: Open, tmp_path: Path) -> None:
    options: dict[str, Any] = {"trials": 1, "epochs": 1, "max_flops": "300k", "references": False, "device": "cpu"}
    study = nas.search(data=write_patches(tmp_path, 60), runs=tmp_path, name="s", keep="all", **options)
    app = open_page("architecture")
    assert "Which labels it finds" in said(app)
    wrong = label_mistakes(predictions_of(study, study.record(0)), study.config.classes)
    assert len(app.get("image")) == min(24, len(wrong))
    app.selectbox(key="label").set_value(0).run()
    assert not app.exception
    assert len(app.get("image")) == min(24, sum(one.label == study.config.classes[0] for one in wrong))
    assert not open_page("compare").exception


@pytest.mark.slow
def test_a_network_of_folds_is_exported_once_it_is_trained_on_all_images(
    open_page: Open, tmp_path: Path, tiny: SearchSpace
) -> None:
    study = nas.search(tiny, "digits", trials=1, folds=3, max_images=90, runs=tmp_path, name="s", references=False)
    app = open_page("export")
    assert "To be trained on all images first" in said(app)
    assert not [button for button in app.button if button.label == "Export"]
    assert app.main.code[0].value == f"nas train s:0 --all-images --runs {tmp_path}"
    retrain_trial(study, 0, all_images=True, device="cpu")
    app.run()
    assert [button.disabled for button in app.button if button.label == "Export"] == [False]


def test_a_search_that_ends_while_a_page_runs_is_live_to_all_of_that_page(
    open_page: Open, running: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(DASHBOARD.parent))
    import live

    seen = live.snapshot("running", live.Place(str(tmp_path)))
    assert seen.live
    monkeypatch.setattr(search_state_module, "is_alive", lambda _: False)
    assert seen.live  # else its buttons would be shown, but it would not be watched: it would run for ever
    assert not live.snapshot("running", live.Place(str(tmp_path))).live


@pytest.mark.parametrize("moment", ["as its records are read", "before its process is looked for"])
def test_a_search_that_ends_while_it_is_read_is_not_taken_for_killed(
    running: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    monkeypatch.syspath_prepend(str(DASHBOARD.parent))
    import live

    state = running.attributes.search
    assert state is not None
    process = subprocess.Popen(["sleep", "60"])
    running.attributes.search = state._replace(worker=worker_named(process.pid))
    records = Study.estimated_records

    def end() -> None:
        if process.returncode is None:
            running.attributes.search = state._replace(worker=worker_named(process.pid), state=SearchStatus.STOPPED)
            process.kill()
            process.wait()

    def ending_records(self: Study) -> list[TrialRecord]:
        end()
        return records(self)

    def ending_look(worker: str) -> bool | None:
        end()
        return is_alive(worker)

    if moment == "as its records are read":
        monkeypatch.setattr(Study, "estimated_records", ending_records)
    else:
        monkeypatch.setattr(search_state_module, "is_alive", ending_look)
    seen = live.snapshot("running", live.Place(str(tmp_path)))
    assert seen.search is not None
    assert seen.live or seen.search.state == SearchStatus.STOPPED
    seen = live.snapshot("running", live.Place(str(tmp_path)))
    assert seen.search is not None
    assert (seen.live, seen.search.state) == (False, SearchStatus.STOPPED)


@pytest.mark.parametrize(("address", "fields"), [("127.0.0.1", 1), ("0.0.0.0", 0)])
def test_visitors_from_elsewhere_name_no_folder_of_this_machine(
    open_page: Open, small: Study, monkeypatch: pytest.MonkeyPatch, address: str, fields: int
) -> None:
    import streamlit as st

    usual = st.get_option
    monkeypatch.setattr(st, "get_option", lambda name: address if name == "server.address" else usual(name))
    assert len(open_page("export").text_input) == fields


class Answer(NamedTuple):
    code: int
    websocket: bool


def ask(address: str, **headers: str) -> Answer:
    """What a request with these headers is answered, and whether a session can be opened with them."""
    host, port = address.removeprefix("http://").split(":")
    plain = http.client.HTTPConnection(host, int(port), timeout=20)
    plain.request("GET", "/", headers=headers)
    code = plain.getresponse().status
    plain.close()
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    plain.request("GET", "/_stcore/stream", headers={**upgrade, "Sec-WebSocket-Key": "a" * 22 + "==", **headers})
    opened = plain.getresponse().status == 101
    plain.close()
    return Answer(code, opened)


def listens_at(address: str) -> str:
    [found] = [c for c in serving_process(address).net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    assert found.laddr
    return str(found.laddr.ip)


def test_only_this_machine_and_only_its_own_pages_reach_it_whatever_streamlit_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMLIT_SERVER_ADDRESS", "0.0.0.0")
    monkeypatch.setenv("STREAMLIT_SERVER_ENABLE_CORS", "false")
    monkeypatch.setenv("STREAMLIT_SERVER_ENABLE_XSRF_PROTECTION", "false")
    with (tmp_path / "said").open("w") as file, dashboard(tmp_path, said=file) as address:
        assert listens_at(address) == "127.0.0.1"
        assert ask(address) == (200, True)
        assert ask(address, Origin=address) == (200, True)
        assert ask(address, Origin="http://elsewhere.example") == (403, False)
        assert ask(address, Origin="http://localhost:1") == (403, False)  # another program's page
        assert ask(address, Origin="null") == (403, False)
        elsewhere = "elsewhere.example:" + address.rpartition(":")[2]  # a name that was made to mean this machine
        assert ask(address, Host=elsewhere, Origin=f"http://{elsewhere}") == (400, False)
    assert (tmp_path / "said").read_text().startswith(f"The dashboard is at {address}; Ctrl-C ends it.\n")


def test_told_to_listen_elsewhere_it_says_what_that_means(tmp_path: Path) -> None:
    with (tmp_path / "said").open("w") as file, dashboard(tmp_path, "--host", "0.0.0.0", said=file) as address:
        assert listens_at(address) == "0.0.0.0"
        assert ask(address, Host="the-name-of-it:1") == (200, True)
    told = (tmp_path / "said").read_text()
    port = address.rpartition(":")[2]
    assert f"Whoever can reach port {port} of 0.0.0.0 can read these studies" in told
    assert f"ssh -N -L {port}:127.0.0.1:{port} USER@" in told


@pytest.mark.parametrize(
    ("host", "line"),
    [
        ("nosuch.invalid", "host='nosuch.invalid': there is no such address"),
        ("192.0.2.1", "host='192.0.2.1': is not one of this machine's addresses"),
    ],
)
def test_an_address_that_is_not_this_machine_s_is_refused(
    nas_command: Callable[..., Ran], host: str, line: str
) -> None:
    ran = nas_command("dashboard", "--host", host)
    assert ran.code == 2
    assert ran.err.startswith(f"nas: {line}")


def test_it_opens_a_browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    browser, opened = tmp_path / "browser", tmp_path / "opened"
    browser.write_text(f'#!/bin/sh\necho "$1" > {opened}.partial && mv {opened}.partial {opened}\n')
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", str(browser))
    monkeypatch.setenv("DISPLAY", ":0")
    port = free_port()
    command = [sys.executable, "-m", "nas", "dashboard", "--runs", str(tmp_path), "--port", str(port)]
    with serving(command, port, health="/_stcore/health") as address:
        end = time.monotonic() + 30
        while not opened.exists():
            assert time.monotonic() < end, "no browser was opened"
            time.sleep(0.05)
    assert opened.read_text() == f"{address}\n"
