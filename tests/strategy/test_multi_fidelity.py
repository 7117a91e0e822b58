import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas import NasError, SearchSpace, TrialRecord
from nas.strategy.multi_fidelity import front_ranks, promotion, schedule_lengths, usual_fidelities
from nas.strategy.stopping import StopRule
from nas.study.records import TrialState
from tests.analysis.test_selection import trial

POINTS = st.lists(st.tuples(st.integers(1, 8), st.integers(0, 8)), min_size=1, max_size=14)


def ranks(points: list[tuple[int, int]]) -> list[int]:
    found = front_ranks([flops for flops, _ in points], [value / 10 for _, value in points])
    return [int(rank) for rank in found]


def dominates(a: tuple[int, int], b: tuple[int, int]) -> bool:
    return a != b and a[0] <= b[0] and a[1] >= b[1]


def test_lengths_are_the_epochs_divided_by_powers_of_eta() -> None:
    assert schedule_lengths(27, 3, 3) == (3, 9, 27)
    assert schedule_lengths(20, 3, 3) == (2, 7, 20)
    assert schedule_lengths(10, 2, 4) == (2, 10)
    assert schedule_lengths(5, 1, 3) == (5,)
    assert schedule_lengths(27, None, 3) == (9, 27)
    assert schedule_lengths(9, None, 3) == (3, 9)
    assert schedule_lengths(8, None, 3) == (8,)
    assert usual_fidelities(14, eta=5) == 1  # 14 / 5 would be less than 3 epochs


@pytest.mark.parametrize(
    ("epochs", "fidelities", "eta", "message"),
    [
        (10, 4, 3, "fidelities=4: 10 epochs divided by eta=3 allow at most 3; nearest valid: 3"),
        (1, 2, 3, "fidelities=2: 1 epochs divided by eta=3 allow at most 1; nearest valid: 1"),
        (10, 0, 3, "fidelities=0: must be from 1"),
        (10, 2, 1, "eta=1: must be from 2"),
    ],
)
def test_lengths_that_cannot_be_are_refused(epochs: int, fidelities: int, eta: int, message: str) -> None:
    with pytest.raises(NasError, match=message):
        schedule_lengths(epochs, fidelities, eta)


@pytest.mark.parametrize(("epochs", "eta"), list(itertools.product(range(1, 40), (2, 3, 4))))
def test_the_most_that_is_said_to_be_allowed_is(epochs: int, eta: int) -> None:
    with pytest.raises(NasError) as refused:
        schedule_lengths(epochs, 10, eta)
    most = int(str(refused.value).rpartition(" ")[2])
    assert schedule_lengths(epochs, most, eta)[-1] == epochs
    with pytest.raises(NasError):
        schedule_lengths(epochs, most + 1, eta)


def test_the_extremes_of_a_front_come_first_then_what_is_farthest_from_them() -> None:
    flops = [1, np.e, np.e**2, np.e**3, np.e**4, np.e**4]
    assert front_ranks(flops, [0.0, 0.25, 0.5, 0.75, 1.0, 0.9]).tolist() == [1, 3, 2, 4, 0, 5]


@given(POINTS)
def test_a_newcomer_that_dominates_all_is_first(points: list[tuple[int, int]]) -> None:
    assert ranks([*points, (0 + 1, 9)])[-1] == 0


@given(POINTS)
def test_what_k_others_dominate_has_at_least_rank_k(points: list[tuple[int, int]]) -> None:
    for point, rank in zip(points, ranks(points), strict=True):
        assert rank >= sum(dominates(other, point) for other in points)


@given(POINTS, st.randoms())
def test_relabelling_changes_nothing(points: list[tuple[int, int]], random: object) -> None:
    order = list(range(len(points)))
    random.shuffle(order)  # type: ignore[attr-defined]
    whole = ranks(points)
    assert ranks([points[at] for at in order]) == [whole[at] for at in order]


LENGTHS = (1, 3, 9)


def short(space: SearchSpace, number: int, accuracy: float, *, length: int = 1, **params: int) -> TrialRecord:
    return replace(trial(space, number, accuracy, **params), state=TrialState.SHORT, length=length)


@pytest.fixture
def rung(tiny: SearchSpace) -> list[TrialRecord]:
    """Six short trainings of one width: more groups are cheaper, and here also more accurate but for the last."""
    grid = itertools.product((1, 2), (1, 2, 4))
    return [
        short(tiny, number, 0.5 + 0.05 * number, stage1_depth=depth, stage1_groups=groups)
        for number, (depth, groups) in enumerate(grid)
    ]


def test_the_best_third_of_a_rung_goes_on_one_after_the_other(rung: list[TrialRecord]) -> None:
    records, gone = list(rung), []
    while due := promotion(records, LENGTHS, 3):
        record, length = due
        assert length == 3
        gone.append(record.trial)
        records.append(replace(record, trial=100 + len(gone), state=TrialState.RUNNING, length=length, accuracy=None))
    best = front_ranks([r.flops for r in rung], [r.accuracy or 0 for r in rung]).argsort()[:2]
    assert sorted(gone) == sorted(rung[at].trial for at in best)


def test_two_workers_that_report_at_once_promote_two_architectures(rung: list[TrialRecord]) -> None:
    first = promotion(rung, LENGTHS, 3)
    assert first is not None
    begun = replace(first[0], trial=50, state=TrialState.RUNNING, length=first[1], accuracy=None)
    second = promotion([*rung, begun], LENGTHS, 3)
    assert second is not None
    assert second[0].architecture != first[0].architecture


def test_what_failed_or_ended_at_the_next_length_is_not_promoted_again(rung: list[TrialRecord]) -> None:
    due = promotion(rung, LENGTHS, 3)
    assert due is not None
    for state, accuracy in ((TrialState.FAILED, None), (TrialState.STOPPED, None), (TrialState.SHORT, 0.6)):
        ended = replace(due[0], trial=50, state=state, length=3, accuracy=accuracy)
        again = promotion([*rung, ended], LENGTHS, 3)
        assert again is None or again[0].architecture != due[0].architecture or again[1] == 9


def test_longer_rungs_are_served_first_and_a_lone_one_goes_on(tiny: SearchSpace, rung: list[TrialRecord]) -> None:
    middle = short(tiny, 9, 0.7, length=3, stage1_mid=16)
    due = promotion([*rung, middle], LENGTHS, 3)
    assert due == (middle, 9)
    assert promotion([], LENGTHS, 3) is None
    assert promotion([replace(middle, state=TrialState.COMPLETE, length=9)], LENGTHS, 3) is None


def rule() -> StopRule:
    return StopRule(epochs=10, chance=0.1, images=1000)


def curves(space: SearchSpace, count: int = 12, *, final: float = 0.9) -> list[TrialRecord]:
    """Complete trials whose error halves, with a little spread, from the fifth epoch to the end."""
    made = []
    for number in range(count):
        spread = 0.002 * number
        curve = tuple(np.linspace(0.2, 1 - 2 * (1 - final), 5)) + tuple(np.linspace(0.82, final - spread, 5))
        made.append(replace(trial(space, number, curve[-1], stage1_groups=4), curve=curve))
    return made


def test_a_training_at_chance_is_stopped_when_half_of_it_is_over(tiny: SearchSpace) -> None:
    running = replace(trial(tiny, 5, None), state=TrialState.RUNNING)
    assert rule().reason(running, [0.1] * 4, []) is None
    assert rule().reason(running, [0.1] * 5, []) == "at_chance"
    assert rule().reason(running, [0.1, 0.1, 0.2, 0.1, 0.1], []) is None
    assert rule().reason(replace(running, length=9), [0.1] * 5, []) == "at_chance"
    assert rule().reason(replace(running, length=3), [0.1] * 2, []) is None  # too short to spare anything
    assert StopRule(10, 0.5, 4).reason(running, [0.6] * 5, []) is None  # four images prove nothing


def test_a_training_out_of_the_front_s_reach_is_stopped(tiny: SearchSpace) -> None:
    ended = curves(tiny)
    running = replace(trial(tiny, 50, None, stage1_depth=2), state=TrialState.RUNNING)
    hopeless, open_ended = [0.2, 0.3, 0.4, 0.45, 0.5, 0.5], [0.2, 0.4, 0.6, 0.7, 0.75, 0.76]
    assert rule().reason(running, hopeless, ended) == "out_of_reach"
    assert rule().reason(running, open_ended, ended) is None
    assert rule().reason(running, hopeless, ended[:9]) is None  # too few to know how curves spread
    assert rule().reason(replace(running, length=9), hopeless, ended) is None  # short ones are told by the model
    cheaper = replace(trial(tiny, 51, None, stage1_groups=4), state=TrialState.RUNNING)
    dear = [replace(r, architecture=running.architecture) for r in ended]
    assert rule().reason(cheaper, hopeless, dear) is None  # nothing as cheap is any better
    assert rule().reason(running, [*hopeless, 0.5, 0.5, 0.5, 0.5], ended) is None  # it is over anyway
