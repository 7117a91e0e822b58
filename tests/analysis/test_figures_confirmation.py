import pytest

from nas import SearchSpace
from nas.analysis.confirmation import Confirmation, Repetitions, confirmations
from nas.analysis.cost_metrics import FLOPS, cost_metrics_of
from nas.analysis.figures.confirmation import add_confirmed
from nas.analysis.figures.front import front_figure
from nas.study.records import TrialRecord, TrialState


@pytest.fixture
def searched(tiny: SearchSpace) -> list[TrialRecord]:
    cheap, dear = list(map(tiny.architecture, tiny.points()))[0:20:19]
    return [TrialRecord(4, TrialState.COMPLETE, cheap, 0.9), TrialRecord(7, TrialState.COMPLETE, dear, 0.95)]


@pytest.fixture
def members(searched: list[TrialRecord]) -> list[Confirmation]:
    seeds = [(0, 0.88, 1), (0, 0.86, 2), (1, 0.85, 1), (1, 0.86, 2)]
    repeated = [
        TrialRecord(n, TrialState.COMPLETE, searched[at].architecture, value, seed=seed)
        for n, (at, value, seed) in enumerate(seeds)
    ]
    return confirmations(searched, [Repetitions(10, repeated)], full=10)


def test_means_are_drawn_with_their_spread_beside_the_scores(
    searched: list[TrialRecord], members: list[Confirmation]
) -> None:
    figure = front_figure(searched)
    add_confirmed(figure, members)
    falls, points = figure.data[-2:]
    assert list(points.x) == [record.flops for record in searched]
    assert list(points.y) == pytest.approx([0.87, 0.855])
    assert list(points.error_y.array) == pytest.approx([0.0141, 0.0071], abs=1e-4)
    assert list(points.customdata) == [4, 7]  # what a click opens is the search's trial
    assert list(points.marker.symbol) == ["diamond", "diamond-open"]
    assert "87.00 ± 1.41 % over 2 seeds" in points.text[0]
    assert list(falls.y) == pytest.approx([0.9, 0.87, None, 0.95, 0.855, None])


def test_on_an_axis_that_no_trial_has_nothing_is_added(
    searched: list[TrialRecord], members: list[Confirmation]
) -> None:
    from dataclasses import replace

    measured = [replace(searched[0], measures={"latency (ms)": 1.0}), searched[1]]
    axis = cost_metrics_of(measured)["latency (ms)"]
    figure = front_figure(searched)
    before = len(figure.data)
    add_confirmed(figure, members, axis=axis)
    assert len(figure.data) == before
    add_confirmed(figure, [], axis=FLOPS)
    assert len(figure.data) == before
