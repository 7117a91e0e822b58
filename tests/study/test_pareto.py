import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.study.pareto import front, hypervolume_history, knee

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


def area(points: list[tuple[float, float]], chance: float, least: float, most: float) -> float:
    """The dominated share of the box, by adding up small columns: slow, and another way than the code's."""
    edges = np.linspace(np.log(least), np.log(most), 4001)
    middles = (edges[1:] + edges[:-1]) / 2
    best = np.full(len(middles), chance)
    for accuracy, flops in points:
        best = np.where(np.log(flops) <= middles, np.maximum(best, accuracy), best)
    return float((best - chance).mean() / (1 - chance))


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 12)), max_size=25))
def test_hypervolume_is_the_dominated_area_after_each_point(points: list[tuple[int, int]]) -> None:
    scaled = [(accuracy / 20, 1e6 * 2**flops) for accuracy, flops in points]
    box = {"chance": 0.1, "least_flops": 1e6, "most_flops": 1e6 * 2**11}
    found = hypervolume_history([a for a, _ in scaled], [f for _, f in scaled], **box)
    assert len(found) == len(points)
    assert (np.diff(found, prepend=0) >= -1e-12).all()
    for count in {1, len(points) // 2, len(points)} - {0}:
        if count <= len(points):
            assert found[count - 1] == pytest.approx(area(scaled[:count], 0.1, 1e6, 1e6 * 2**11), abs=2e-3)


def test_hypervolume_of_a_perfect_smallest_network_is_the_whole_box() -> None:
    assert hypervolume_history([1.0], [1e6], chance=0.1, least_flops=1e6, most_flops=1e9).tolist() == [1.0]
    assert hypervolume_history([0.1, 0.9], [1e6, 1e9], chance=0.1, least_flops=1e6, most_flops=1e9).tolist() == [0, 0]
