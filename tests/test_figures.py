from pathlib import Path

import nas
from nas import SearchSpace
from nas.figures import front_figure, front_numbers
from tests.conftest import formula


def test_numbers_part_the_complete_trials(tmp_path: Path, tiny: SearchSpace) -> None:
    study = nas.search(tiny, trials=20, runs=tmp_path, name="s", evaluate=formula)
    numbers = front_numbers(study.records())
    assert numbers.front == study.front()
    assert len(numbers.front) + len(numbers.beaten) == 20
    assert numbers.knee is None or numbers.knee in numbers.front[1:-1]


def test_the_figure_holds_every_trial_by_its_number(tmp_path: Path, tiny: SearchSpace) -> None:
    study = nas.search(tiny, trials=20, runs=tmp_path, name="s", evaluate=formula)
    figure = front_figure(study.records())
    traces = {trace.name: trace for trace in figure.data}
    assert list(traces) == ["beaten", "front", "knee"]
    drawn = {
        trial: (flops, accuracy)
        for name in ("beaten", "front")
        for trial, flops, accuracy in zip(traces[name].customdata, traces[name].x, traces[name].y, strict=True)
    }
    assert drawn == {record.trial: (record.flops, record.accuracy) for record in study.records()}
    assert traces["front"].line.shape == "hv"
    assert figure.layout.xaxis.type == "log"
    assert "multiply–adds" in figure.layout.xaxis.title.text


def test_a_study_without_trials_is_an_empty_figure() -> None:
    assert all(not len(trace.x) for trace in front_figure([]).data)
