import itertools
from dataclasses import replace

import pytest

from nas import SearchSpace, TrialRecord
from nas.analysis.rank_correlation import Proxy, proxies
from nas.study.records import TrialState
from tests.analysis.test_selection import trial


def records(space: SearchSpace, accuracies: list[float], *, length: int) -> list[TrialRecord]:
    """Complete trials of growing accuracy, and short ones of the same architectures with the given ones."""
    grid = list(itertools.product((1, 2), (8, 12, 16), (1, 4)))
    both = []
    for number, (accuracy, (depth, mid, groups)) in enumerate(zip(accuracies, grid, strict=False)):
        record = trial(space, number, 0.5 + number / 100, stage1_depth=depth, stage1_mid=mid, stage1_groups=groups)
        both += [record, replace(record, trial=100 + number, state=TrialState.SHORT, length=length, accuracy=accuracy)]
    return both


def test_tau_is_that_of_the_promotions(tiny: SearchSpace) -> None:
    assert proxies(records(tiny, [0.1, 0.2, 0.3, 0.4], length=3)) == [Proxy(3, 4, 4, 1.0)]
    [crossed] = proxies(records(tiny, [0.1, 0.3, 0.2, 0.4], length=3))
    assert crossed.tau == pytest.approx(2 / 3)  # one of six pairs is the wrong way round
    assert proxies(records(tiny, [0.1, 0.2], length=3)) == [Proxy(3, 2, 2, None)]
    assert proxies(records(tiny, [0.2, 0.2, 0.2], length=3))[0].tau is None
    assert proxies([record for record in records(tiny, [0.1, 0.2], length=3) if record.state != TrialState.SHORT]) == []


def test_a_length_that_ranks_the_wrong_way_misleads_once_there_are_pairs_enough(tiny: SearchSpace) -> None:
    [many] = proxies(records(tiny, [0.9 - n / 100 for n in range(8)], length=1))
    assert many.tau == pytest.approx(-1)
    assert many.misleads
    [few] = proxies(records(tiny, [0.9 - n / 100 for n in range(7)], length=1))
    assert not few.misleads
    [good] = proxies(records(tiny, [n / 100 for n in range(8)], length=1))
    assert not good.misleads
