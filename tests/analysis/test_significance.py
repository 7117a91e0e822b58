import numpy as np
import pytest

from nas import SearchSpace
from nas.analysis.significance import contenders, front_probability
from nas.study.records import TrialRecord, TrialState


def test_without_errors_a_network_is_on_the_front_or_it_is_not() -> None:
    accuracy, flops = [0.7, 0.9, 0.8, 0.95, 0.95], [10, 20, 30, 40, 50]
    assert front_probability(accuracy, flops, np.zeros(5)).tolist() == [1, 1, 0, 1, 0]
    assert front_probability([], [], []).tolist() == []


def test_of_equal_cost_only_the_best_is_on_the_front() -> None:
    assert front_probability([0.7, 0.9, 0.8], [10, 10, 10], np.zeros(3)).tolist() == [0, 1, 0]
    shares = front_probability([0.8, 0.8], [10, 10], [0.01, 0.01])
    assert shares.sum() == pytest.approx(1)
    assert shares[0] == pytest.approx(0.5, abs=0.03)


def test_two_networks_have_the_probability_of_the_normal_distribution() -> None:
    cheap, dear = front_probability([0.80, 0.82], [10, 20], [0.01, 0.01])
    assert cheap == 1  # nothing is cheaper
    assert dear == pytest.approx(0.921, abs=0.02)  # Φ(0.02 / (0.01 · √2))
    few = front_probability([0.80, 0.82], [10, 20], [0.01, 0.01], freedom=2)[1]
    assert few < dear  # what is estimated from few trainings is less sure


def test_the_order_does_not_matter_and_the_same_gives_the_same() -> None:
    accuracy, flops, error = np.array([0.8, 0.81, 0.83]), np.array([10, 20, 15]), np.array([0.01, 0.02, 0.01])
    forth = front_probability(accuracy, flops, error)
    back = front_probability(accuracy[::-1], flops[::-1], error[::-1])[::-1]
    assert forth == pytest.approx(back, abs=0.04)
    assert (front_probability(accuracy, flops, error) == forth).all()


@pytest.fixture
def records(tiny: SearchSpace) -> list[TrialRecord]:
    """Ever more FLOPs: on the front, beaten by a hair, beaten by far, on the front, stopped."""
    points = sorted(
        map(tiny.architecture, tiny.points()), key=lambda each: TrialRecord(0, TrialState.COMPLETE, each).flops
    )
    scores = [
        (0.80, TrialState.COMPLETE),
        (0.795, TrialState.COMPLETE),
        (0.5, TrialState.COMPLETE),
        (0.9, TrialState.COMPLETE),
        (None, TrialState.STOPPED),
    ]
    return [
        TrialRecord(number, state, points[20 * number], accuracy) for number, (accuracy, state) in enumerate(scores)
    ]


def test_contenders_are_the_front_and_what_chance_may_have_kept_from_it(records: list[TrialRecord]) -> None:
    assert {record.trial for record in contenders(records, 400)} == {0, 1, 3}
    assert {record.trial for record in contenders(records, 400_000)} == {0, 3}
    assert [record.trial for record in contenders(records, None)] == [3, 0]
    assert contenders([], 400) == []


def test_the_most_accurate_are_kept(records: list[TrialRecord]) -> None:
    assert [record.trial for record in contenders(records, 400)] == [3, 0, 1]
    assert [record.trial for record in contenders(records, 400, top=2)] == [3, 0]
    assert [record.trial for record in contenders(records, None, top=1)] == [3]
