"""The Design page: a network is changed, judged by the study's model, and queued for training."""

from pathlib import Path

import pytest

import nas
from nas import SearchSpace, Study
from nas.architectures.edits import edited
from nas.study.records import TrialState
from tests.app.test_pages import Open, figures, open_page, said
from tests.helpers import formula

pytest.importorskip("streamlit")

__all__ = ["open_page"]


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
    assert {metric.label for metric in app.metric} == {"expected accuracy", "FLOPs", "parameters", "activations"}
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
