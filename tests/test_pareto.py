import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.pareto import front, knee

POINTS = st.lists(st.tuples(st.integers(0, 8), st.integers(1, 8)), max_size=30)


@given(POINTS)
def test_front_is_what_no_other_point_beats(points: list[tuple[int, int]]) -> None:
    def beaten(accuracy: int, flops: int) -> bool:
        return any((a >= accuracy and f < flops) or (a > accuracy and f <= flops) for a, f in points)

    found = front([a for a, _ in points], [f for _, f in points]).tolist()
    expected = [index for index, point in enumerate(points) if not beaten(*point)]
    assert sorted(found) == expected
    assert [points[index][1] for index in found] == sorted(points[index][1] for index in expected)


def test_front_of_nothing_is_empty() -> None:
    assert len(front([], [])) == 0


def test_knee_is_where_accuracy_stops_growing_fast() -> None:
    assert knee([0.5, 0.9, 0.92, 0.93], [1e6, 1e7, 1e8, 1e9]) == 1


@pytest.mark.parametrize("accuracy", [[0.5], [0.5, 0.9], [0.5, 0.7, 0.9], [0.5, 0.6, 0.9]])
def test_no_knee_where_nothing_lies_above_the_chord(accuracy: list[float]) -> None:
    assert knee(accuracy, np.logspace(6, 8, len(accuracy))) is None
