from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import nas
from nas import SearchSpace
from nas.analysis.cost_metrics import cost_metrics_of
from nas.analysis.figures.curves import confusion_figure, curves_figure
from nas.analysis.figures.front import front_figure
from nas.analysis.figures.style import log_axis
from nas.analysis.front import front_numbers, thinned
from nas.study.precision import least_significant_difference, wilson_interval
from nas.study.records import TrialRecord, TrialState
from tests.analysis.test_selection import trial
from tests.helpers import formula

IMAGES = 20_000


@pytest.fixture
def records(tmp_path: Path, tiny: SearchSpace) -> list[TrialRecord]:
    return nas.search(tiny, trials=30, runs=tmp_path, name="s", evaluate=formula).records()


def test_numbers_part_the_complete_trials_by_how_they_stand_to_the_front(records: list[TrialRecord]) -> None:
    numbers = front_numbers(records, images=IMAGES)
    assert sorted(r.trial for r in [*numbers.front, *numbers.near, *numbers.beaten]) == list(range(30))
    assert numbers.near
    assert numbers.beaten
    assert numbers.knee is None or numbers.knee in numbers.front[1:-1]
    for group, within in ((numbers.near, True), (numbers.beaten, False)):
        for record in group:
            level = max(m.accuracy or 0 for m in numbers.front if m.flops <= record.flops)
            assert (level - (record.accuracy or 0) <= least_significant_difference(level, IMAGES)) == within
    assert numbers.intervals == [wilson_interval(member.accuracy or 0, IMAGES) for member in numbers.front]
    assert [cost for cost, _ in numbers.band] == [member.flops for member in numbers.front]


def test_without_a_number_of_images_nothing_is_said_about_chance(records: list[TrialRecord]) -> None:
    numbers = front_numbers(records)
    assert (numbers.near, numbers.intervals, numbers.band) == ([], [], [])


@pytest.mark.parametrize("key", ["flops", "params", "activations", "seconds"])
def test_the_front_is_that_of_the_axis(records: list[TrialRecord], key: str) -> None:
    axis = cost_metrics_of(records)[key]
    front = front_numbers(records, axis=axis).front
    points = [(record.accuracy or 0, axis.value(record) or 0) for record in records]
    for record in records:
        a, c = record.accuracy or 0, axis.value(record) or 0
        beaten = any((b >= a and d < c) or (b > a and d <= c) for b, d in points)
        assert (record in front) == (not beaten)


def test_the_figure_holds_every_trial_by_its_number(records: list[TrialRecord]) -> None:
    figure = front_figure(records, images=IMAGES)
    traces = {trace.name: trace for trace in figure.data}
    drawn = {
        number: (flops, accuracy)
        for name in ("beaten", "beaten, perhaps by chance", "front")
        for number, flops, accuracy in zip(traces[name].customdata, traces[name].x, traces[name].y, strict=True)
    }
    assert drawn == {record.trial: (record.flops, record.accuracy) for record in records}
    assert traces["front"].line.shape == "hv"
    assert figure.layout.xaxis.type == "log"
    assert "multiply–adds" in figure.layout.xaxis.title.text
    highs = np.array(traces["front"].y) + np.array(traces["front"].error_y.array)
    assert highs == pytest.approx([high for _, high in front_numbers(records, images=IMAGES).intervals])


def test_trials_without_an_accuracy_are_told_apart_below_all_others(tiny: SearchSpace) -> None:
    complete = [trial(tiny, 0, 0.5, stage1_groups=4), trial(tiny, 1, 0.7)]
    records = [
        *complete,
        replace(trial(tiny, 2, None), state=TrialState.FAILED, reason="out_of_memory"),
        replace(trial(tiny, 3, None), state=TrialState.STOPPED, curve=(0.2, 0.55)),
        replace(trial(tiny, 4, None), state=TrialState.RUNNING, curve=(0.6,)),
        replace(trial(tiny, 5, None), state=TrialState.RUNNING),
        replace(trial(tiny, 7, None), state=TrialState.RUNNING, curve=(0.1,)),
        replace(trial(tiny, 6, None), state=TrialState.FAILED, reason="interrupted"),
    ]
    traces = {trace.name: trace for trace in front_figure(records).data}
    assert list(traces["failed"].customdata) == [2]
    assert "out_of_memory" in traces["failed"].text[0]
    assert traces["failed"].y[0] < 0.5
    assert list(traces["stopped"].y) == [0.55]
    assert list(traces["training now"].customdata) == [4, 5, 7]
    assert traces["training now"].y[0] == 0.6
    assert 0.4 < traces["training now"].y[1] == traces["training now"].y[2] < 0.5  # at chance: on the floor


def test_what_is_selected_and_the_budget_are_marked(records: list[TrialRecord]) -> None:
    figure = front_figure(records, selected=[3, 7], budget=1e5)
    assert list(next(trace for trace in figure.data if trace.name == "selected").customdata) == [3, 7]
    assert figure.layout.shapes[0].x0 == 1e5


def test_of_many_trials_on_one_spot_the_first_is_drawn(tiny: SearchSpace) -> None:
    rng = np.random.default_rng(0)
    architectures = [tiny.architecture(tiny.sample(rng)) for _ in range(40)]
    many = [
        TrialRecord(number, TrialState.COMPLETE, architectures[number % 40], float(rng.integers(500)) / 500)
        for number in range(20_000)
    ]
    assert thinned(many[:1000]) == many[:1000]
    drawn = thinned(many)
    assert 500 < len(drawn) < 5000
    spots = np.array([(np.log(record.flops), record.accuracy) for record in drawn])
    width = np.ptp([np.log(record.flops) for record in many]) / 160
    for record in many[::7]:  # whatever is not drawn has one that is drawn in its place, no more than a cell away
        far = abs(spots - (np.log(record.flops), record.accuracy))
        assert ((far[:, 0] <= width) & (far[:, 1] <= 0.01)).any()
    assert len(front_figure(many).data[0].x) < 5000


def test_no_trials_are_an_empty_figure() -> None:
    assert not front_figure([]).data


def test_curves_are_the_accuracies_after_each_epoch(tiny: SearchSpace) -> None:
    records = [replace(trial(tiny, n, 0.75), curve=(0.25, 0.5, 0.75)) for n in (4, 9)]
    first, second = curves_figure(records, images=IMAGES).data
    assert (first.name, second.name) == ("trial 4", "trial 9")
    assert (list(first.x), list(first.y)) == ([1, 2, 3], [0.25, 0.5, 0.75])
    assert first.error_y.array[-1] == pytest.approx(wilson_interval(0.75, IMAGES)[1] - 0.75)
    assert list(first.error_y.array[:-1]) == [0, 0]
    assert curves_figure([replace(records[0], curve=())]).data[0].x == ()


def test_the_confusion_figure_shows_shares_and_escapes_names() -> None:
    [heat] = confusion_figure(np.array([[8, 2], [0, 5]]), ["<b>cat</b>", "dog & co"]).data
    assert heat.z.tolist() == [[0.8, 0.2], [0.0, 1.0]]
    assert heat.autocolorscale
    assert list(heat.text[0]) == ["8", "2"]
    figure = confusion_figure(np.array([[8, 2], [0, 5]]), ["<b>cat</b>", "dog & co"])
    assert figure.layout.xaxis.ticktext == ("&lt;b&gt;cat&lt;/b&gt;", "dog &amp; co")
    assert confusion_figure(np.eye(200, dtype=int), list(map(str, range(200)))).layout.xaxis.ticktext is None


def test_short_trainings_wait_in_the_legend_and_squeeze_nothing(tiny: SearchSpace) -> None:
    whole = trial(tiny, 0, 0.9, stage1_groups=4)
    failed = trial(tiny, 2, None, stage1_depth=2)
    short = replace(trial(tiny, 1, 0.3, stage1_groups=2), state=TrialState.SHORT, length=3)
    traces = {trace.name: trace for trace in front_figure([whole, short, failed]).data}
    assert traces["short training"].visible == "legendonly"
    assert "after 3 epochs" in traces["short training"].text[0]
    assert traces["failed"].y[0] > 0.8  # the floor lies below the full trainings, not below the short ones
    assert front_numbers([whole, short]).front == [whole]


def test_an_axis_of_less_than_a_decade_is_labelled_as_plotly_finds_best() -> None:
    assert log_axis([20_000, 300_000, 0]) == {"type": "log", "dtick": "D2"}
    assert log_axis([300_000, 500_000]) == log_axis([]) == {"type": "log"}
