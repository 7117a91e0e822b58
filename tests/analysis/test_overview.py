from pathlib import Path

import pytest

import nas
from nas import SearchSpace
from nas.analysis.figures.fronts import fronts_figure, sketch_figure
from nas.analysis.overview import overview, status_text
from nas.study.search_state import Request, SearchState, SearchStatus
from nas.system.processes import this_worker
from tests.helpers import formula


def test_a_study_in_a_few_numbers(tmp_path: Path, tiny: SearchSpace) -> None:
    study = nas.search(tiny, trials=5, name="s", runs=tmp_path, evaluate=formula)
    found = overview(study)
    front = study.front()
    assert found.front == tuple((record.flops, record.quality) for record in front)
    assert (found.best, found.trainings, found.budget, found.status) == (front[-1].quality, 5, 5, "complete")
    assert found.to_dict()["best"] == front[-1].quality


@pytest.mark.parametrize(
    ("request_", "words"),
    [(None, "searching"), (Request.PAUSE, "paused"), (Request.STOP, "stopping"), (Request.STOP_NOW, "stopping")],
)
def test_the_status_of_a_running_search(request_: Request | None, words: str) -> None:
    assert status_text(SearchState(9, SearchStatus.RUNNING, this_worker(), request=request_)) == words


def test_the_status_of_a_search_that_ended() -> None:
    killed = this_worker().rpartition(":")[0] + ":999999999"
    assert status_text(SearchState(9, SearchStatus.RUNNING, killed)) == "killed"
    assert all(status_text(SearchState(9, why, killed)) for why in SearchStatus)
    assert status_text(None) == "not begun"


def test_fronts_are_drawn_by_name_and_a_study_without_networks_is_empty() -> None:
    fronts = {"a<b>": [(10, 0.5), (20, 0.6)], "c": [(15, 0.7)], "none": []}
    figure = fronts_figure(fronts)
    assert [trace.name for trace in figure.data] == ["a&lt;b&gt;", "c", "none"]
    assert list(figure.data[0].x) == [10, 20]
    assert list(sketch_figure(fronts["c"]).data[0].y) == [0.7]
    assert not sketch_figure([]).data
