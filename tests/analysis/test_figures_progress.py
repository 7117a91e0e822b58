from dataclasses import replace
from itertools import pairwise

import pytest

from nas import SearchSpace
from nas.analysis.convergence import bands, history, seconds_left
from nas.analysis.figures.progress import bands_figure, hypervolume_figure, seconds_figure
from nas.study.records import TrialRecord, TrialState
from nas.study.search_state import SearchState, SearchStatus
from nas.system.processes import this_worker
from tests.analysis.test_selection import trial


@pytest.fixture
def records(tiny: SearchSpace) -> list[TrialRecord]:
    """Ended in another order than they began, as with several workers; the third failed."""
    made = [
        trial(tiny, 0, 0.6, stage1_groups=4),
        trial(tiny, 1, 0.8, stage1_mid=16, stage1_groups=1, stage2_mid=32, stage2_groups=1),
        trial(tiny, 2, None, stage1_depth=2),
        trial(tiny, 3, 0.7, stage1_groups=2),
    ]
    ended = (30.0, 10.0, 20.0, 40.0)
    return [replace(r, ended=end, seconds=2.0, curve=(0.1, 0.2)) for r, end in zip(made, ended, strict=True)]


def test_history_goes_in_the_order_trials_ended(records: list[TrialRecord], tiny: SearchSpace) -> None:
    past = history(records, tiny)
    assert [record.trial for record in past.records] == [1, 2, 0, 3]
    assert past.trials == [1, 2, 3, 4]
    assert past.epochs == [2, 2, 4, 6]  # nor does it cost anything
    assert past.seconds == [2.0, 4.0, 6.0, 8.0]
    assert past.hypervolume[0] == past.hypervolume[1]  # a failed trial adds nothing
    assert all(before <= after for before, after in pairwise(past.hypervolume))
    assert 0 < past.hypervolume[-1] < 1


def test_the_hypervolume_s_box_is_the_space_s(tiny: SearchSpace) -> None:
    least = min((tiny.architecture(point) for point in tiny.points()), key=lambda a: trial_flops(tiny, a))
    perfect = TrialRecord(0, TrialState.COMPLETE, least, 1.0, 1.0, ended=1.0)
    assert history([perfect], tiny).hypervolume == pytest.approx([1.0])


def trial_flops(space: SearchSpace, architecture: object) -> int:
    from nas import Architecture, cost

    assert isinstance(architecture, Architecture)
    return cost(architecture).flops


def test_bands_part_the_range_of_flops_and_keep_the_best_so_far(records: list[TrialRecord], tiny: SearchSpace) -> None:
    found = bands(history(records, tiny))
    assert [(band.trials, band.best) for band in found] == [([3, 4], [0.6, 0.7]), ([1], [0.8])]
    assert found[0].least == pytest.approx(records[0].flops)
    assert found[-1].most == pytest.approx(records[1].flops)
    assert bands(history([], tiny)) == []


def test_time_left_is_the_median_trial_times_what_is_missing(records: list[TrialRecord]) -> None:
    state = SearchState(10, SearchStatus.RUNNING, this_worker())
    assert seconds_left(records, state, 2) == 7 * 2.0
    two = [replace(records[0], trial=n, state=TrialState.RUNNING, accuracy=None, worker=f"w{n}") for n in (8, 9)]
    assert seconds_left([*records, *two], state, 2) == 7 * 2.0 / 2
    assert seconds_left(records, state._replace(state=SearchStatus.COMPLETE), 2) is None
    assert seconds_left([], state, 2) is None
    assert seconds_left(records, None, 2) is None


@pytest.mark.parametrize("against", ["epochs", "seconds", "trials"])
def test_figures_show_the_numbers(records: list[TrialRecord], tiny: SearchSpace, against: str) -> None:
    past = history(records, tiny)
    [line] = hypervolume_figure(past, against).data
    assert list(line.x) == [getattr(past, against)[index] for index in (0, 2, 3)]  # where it rises, and its end
    assert list(line.y) == [past.hypervolume[index] for index in (0, 2, 3)]
    assert [trace.y[-1] for trace in bands_figure(past).data] == [0.7, 0.8]
    [points] = seconds_figure(past).data
    assert list(points.customdata) == [1, 0, 3]
