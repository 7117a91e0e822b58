"""The Design page: a network is changed, judged by the study's model, and queued for training."""

from pathlib import Path

import pytest

import nas
from nas import SearchSpace, Study
from nas.architectures.edits import edited
from nas.spaces.references import FAMILIES
from nas.study.records import TrialState
from tests.app.test_pages import Open, figures, lengths, open_page, said, unescaped
from tests.helpers import formula

pytest.importorskip("streamlit")
from streamlit.testing.v1 import AppTest

__all__ = ["lengths", "open_page"]


@pytest.fixture
def study(tmp_path: Path, tiny: SearchSpace) -> Study:
    return nas.search(tiny, "digits", trials=12, name="s", runs=tmp_path, evaluate=formula, references=False)


def start(study: Study) -> nas.TrialRecord:
    """A trial with mid 16 in its first stage, so that 1, 2 and 4 groups divide it and 3 does not."""
    return next(record for record in study.records() if record.architecture.stages[0].mid == 16)


def test_a_fork_is_the_trial_until_it_is_changed(open_page: Open, study: Study) -> None:
    record = start(study)
    app = open_page("design", trial=str(record.trial))
    assert app.subheader[0].value == record.name
    costs = {"FLOPs", "parameters", "activations", "peak memory"}
    assert {metric.label for metric in app.metric} == {"expected accuracy", *costs}
    assert f"It was trained as trial {record.trial}" in said(app)
    groups = app.selectbox(key="design stage1.groups")
    assert groups.options == ["1", "2", "4"]  # what does not divide the width cannot be chosen
    names = {trace["name"] for trace in figures(app)["design-front"]["data"]}
    assert {"front", "the design, as expected", "one step away"} <= names
    assert set(figures(app)) == {"design-front", "design-drawing"}


def test_a_change_is_in_the_address_and_the_groups_follow_the_width(open_page: Open, study: Study) -> None:
    record = start(study)
    app = open_page("design", trial=str(record.trial), design="stage1.groups=4")
    app.selectbox(key="design stage1.mid").set_value(12).run()
    assert "stage1.mid=12" in app.query_params["design"]
    assert f"--like {record.trial}" in app.code[0].value
    app.selectbox(key="design stage1.groups").set_value(3).run()
    assert "stage1.groups=3" in app.query_params["design"]
    app.selectbox(key="design stage1.mid").set_value(16).run()  # not divisible by 3: the next lower divisor
    assert app.selectbox(key="design stage1.groups").value == 2


def test_a_value_outside_the_space_has_costs_alone(open_page: Open, study: Study) -> None:
    app = open_page("design", trial=str(start(study).trial), design="stage1.depth=7")
    assert app.metric[0].value == "–"
    assert "Outside the study's space" in said(app)
    queue = next(button for button in app.button if button.label == "Queue for training")
    assert queue.disabled


def press(app: AppTest, label: str) -> AppTest:
    next(button for button in app.button if button.label == label).click().run()
    assert not app.exception
    return app


def test_stages_are_added_and_removed_and_each_step_is_undone(open_page: Open, study: Study) -> None:
    record = start(study)
    app = open_page("design", trial=str(record.trial))
    assert next(button for button in app.button if button.label == "Undo").disabled
    stages = len(record.architecture.stages)
    press(app, "Add a stage")
    assert app.query_params["design"] == f"stages={stages + 1}"
    assert "Outside the study's space" in said(app)
    added = f"design stage{stages + 1}.groups"
    other = next(
        int(groups) for groups in app.selectbox(key=added).options if int(groups) != app.selectbox(key=added).value
    )
    app.selectbox(key=added).set_value(other).run()
    after = app.query_params["design"]
    assert after == f"stages={stages + 1},stage{stages + 1}.groups={other}"
    app.selectbox(key="design stage1.depth").set_value(3 - record.architecture.stages[0].depth).run()
    assert f"stages={stages + 1},stage1.depth=" in app.query_params["design"]
    press(app, "Undo")
    assert app.query_params["design"] == after
    press(press(app, "Undo"), "Undo")
    assert "design" not in app.query_params
    assert app.subheader[0].value == record.name
    press(press(app, "Remove the last"), "Start again")
    assert app.subheader[0].value == record.name
    press(app, "Undo")
    assert app.query_params["design"] == f"stages={stages - 1}"


def test_the_design_of_another_study_cannot_be_had_back(open_page: Open, study: Study, tmp_path: Path) -> None:
    nas.search(study.config.space, trials=1, runs=tmp_path, name="other", evaluate=formula)
    app = press(open_page("design", study="s"), "Add a stage")
    assert not next(button for button in app.button if button.label == "Undo").disabled
    app.selectbox(key="study").set_value("other").run()
    assert not app.exception
    assert next(button for button in app.button if button.label == "Undo").disabled


def test_a_network_of_a_short_training_may_be_trained_in_full(open_page: Open, lengths: Study) -> None:
    full = [record.architecture for record in lengths.records() if record.state == TrialState.COMPLETE]
    short = next(record for record in lengths.records() if record.architecture not in full)
    app = open_page("design", study="lengths", trial=str(short.trial))
    assert f"It was trained for {short.short_epochs} epochs only as trial {short.trial}" in said(app)
    press(app, "Queue for training")
    assert [each.length for each in lengths.records() if each.state == TrialState.WAITING] == [9]
    app = open_page("architecture", study="lengths", trial=str(short.trial))
    assert f"A short training, of {short.short_epochs} of 9 epochs." in said(app)


def test_a_known_shape_and_the_median_are_starts(open_page: Open, tmp_path: Path) -> None:
    space = nas.load_space("digits")
    nas.search(space, "digits", trials=4, name="s", runs=tmp_path, evaluate=formula, references=False)
    app = open_page("design", trial="0")
    shape = app.selectbox(key="shape")
    assert {name.split(",")[0] for name in shape.options} == {*FAMILIES, "the space's median"}
    name = next(name for name in shape.options if name.startswith("ResNet-like"))
    shape.set_value(name).run()
    press(app, "Take it")
    groups = [box.value for box in app.selectbox if str(box.key).endswith(".groups")]
    assert groups == [1] * len(space.stages)
    assert "design" in app.query_params


def test_a_file_is_a_start_if_it_is_for_such_images(open_page: Open, study: Study) -> None:
    app = open_page("design", trial=str(start(study).trial))
    other = nas.Architecture(tiny_input := study.config.space.input, 4, (nas.StemConv(6),), (nas.Stage(1, 8, 4, 20),))
    app.file_uploader[0].upload("mine.yaml", other.to_yaml().encode(), "application/yaml").run()
    press(app, "Take the file's")
    assert app.subheader[0].value == other.name
    larger = nas.Architecture(nas.Input(3, tiny_input.size), 4, other.stem, other.stages)
    for content, words in ((larger.to_yaml(), "the study's images are"), ("stem: 3", "architecture.yaml: ")):
        app.file_uploader[0].upload("mine.yaml", content.encode(), "application/yaml").run()
        press(app, "Take the file's")
        assert words in unescaped(app.warning[0].value)
        assert app.subheader[0].value == other.name


def test_what_cannot_be_is_said_and_changes_nothing(open_page: Open, study: Study) -> None:
    app = open_page("design", trial=str(start(study).trial))
    before = app.subheader[0].value
    broken = open_page("design", trial=str(start(study).trial), design="stage9.mid=8,nonsense")
    assert broken.subheader[0].value == before
    assert "design" not in broken.query_params


def test_a_design_is_queued(open_page: Open, study: Study, tiny: SearchSpace) -> None:
    known = {record.architecture.key for record in study.records()}
    record, depth = next(
        (record, depth)
        for record in study.records()
        for depth in (1, 2)
        if edited(record.architecture, [f"stage1.depth={depth}"]).key not in known
    )
    app = open_page("design", trial=str(record.trial), design=f"stage1.depth={depth}")
    next(button for button in app.button if button.label == "Queue for training").click().run()
    assert "Queued: " in app.success[0].value
    waiting = [each for each in Study.open("s", study.folder.parent).records() if each.state == TrialState.WAITING]
    assert [each.architecture.stages[0].depth for each in waiting] == [depth]
