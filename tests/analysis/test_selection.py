from dataclasses import replace
from pathlib import Path

import pytest

from nas import NasError, SearchSpace
from nas.analysis.cost_metrics import FLOPS, PARAMS, cost_metrics_of, round_steps
from nas.analysis.requirements import Limit
from nas.analysis.selection import nearest_miss, pick, references
from nas.study.records import TrialRecord, TrialState, front_of, knee_of


def trial(space: SearchSpace, number: int, accuracy: float | None, **params: int) -> TrialRecord:
    point = {name: values[0] for name, values in space.parameters.items()} | {
        name.replace("_", "."): value for name, value in params.items()
    }
    return TrialRecord(
        number, TrialState.COMPLETE if accuracy is not None else TrialState.FAILED, space.architecture(point), accuracy
    )


@pytest.fixture
def records(tiny: SearchSpace) -> list[TrialRecord]:
    """Four trials with more and more FLOPs, the third beaten by the second; and one that failed."""
    return [
        trial(tiny, 0, 0.90, stage1_groups=4),
        trial(tiny, 1, 0.95, stage1_groups=1),
        trial(tiny, 2, 0.94, stage1_mid=12, stage1_groups=1),
        trial(tiny, 3, 0.99, stage1_mid=16, stage1_groups=1, stage2_mid=32),
        trial(tiny, 4, None, stage1_depth=2),
    ]


def within(budget: float) -> list[Limit]:
    return [Limit("max_flops", FLOPS, budget)]


def test_the_pick_is_the_most_accurate_within_the_limits(records: list[TrialRecord]) -> None:
    for budget, number in ((records[3].flops, 3), (records[3].flops - 1, 1), (records[1].flops - 1, 0)):
        chosen = pick(records, FLOPS, within(budget))
        assert chosen is not None
        assert chosen.record.trial == number
    every = pick(records, FLOPS)
    assert every is not None
    assert every.record.trial == 3
    assert pick(records, FLOPS, within(records[0].flops - 1)) is None
    assert pick([], FLOPS) is None


def test_all_limits_are_kept(records: list[TrialRecord]) -> None:
    few = Limit("max_params", PARAMS, records[1].params - 1)
    chosen = pick(records, FLOPS, [*within(records[3].flops), few])
    assert chosen is not None
    assert all(record.params > few.most for record in records if (record.accuracy or 0) > (chosen.record.accuracy or 0))
    latency = Limit(
        "max_latency", cost_metrics_of([replace(records[0], measures={"latency (ms)": 1.0})])["latency (ms)"], 2.0
    )
    assert pick(records, FLOPS, [latency]) is None  # what was not measured does not keep a limit


def test_with_a_least_accuracy_it_is_the_cheapest_that_reaches_it(records: list[TrialRecord]) -> None:
    for least, number in ((0.0, 0), (0.9, 0), (0.91, 1), (0.95, 1), (0.951, 3)):
        chosen = pick(records, FLOPS, min_accuracy=least)
        assert chosen is not None
        assert chosen.record.trial == number
    assert pick(records, FLOPS, min_accuracy=0.995) is None
    assert pick(records, FLOPS, within(records[1].flops), min_accuracy=0.96) is None


def test_at_the_knee_more_buys_little(records: list[TrialRecord]) -> None:
    chosen = pick(records, FLOPS, at_knee=True)
    knee = knee_of(front_of(records))
    assert chosen is not None
    assert knee is not None
    assert chosen.record == knee
    assert "the knee of the front" in chosen.reasons(FLOPS, [], lambda _: 0.0)[0]


def test_it_says_why_and_what_else_could_be_had(records: list[TrialRecord]) -> None:
    limits = within(records[2].flops)
    chosen = pick(records, FLOPS, limits)
    assert chosen is not None
    assert (chosen.within, chosen.cheaper, chosen.dearer) == (3, records[0], records[3])
    why, less, more = chosen.reasons(FLOPS, limits, lambda _: 0.06)
    assert "Trial 1 is the most accurate of the 3 trained networks with at most" in why
    assert "95.00 %" in why
    share = 100 * records[0].flops / records[1].flops
    assert "trial 0, 5.00 points less accurate, a difference that may be chance, for" in less
    assert less.endswith(f" for {share:.0f} % of the FLOPs.")
    assert "trial 3, 4.00 points more accurate" in more
    assert "chance" not in chosen.reasons(FLOPS, [], lambda _: 0.01)[1]
    only = pick(records, FLOPS, within(records[0].flops))
    assert only is not None
    assert only.reasons(FLOPS, [], lambda _: 0.0)[0].startswith("Trial 0 is the only trained network")
    short = only._replace(record=replace(only.record, state=TrialState.SHORT, length=3))
    assert short.reasons(FLOPS, [], lambda _: 0.0)[1] == "It was trained for 3 epochs only: that is a short training."


def test_where_nothing_will_do_the_nearest_is_named_with_what_it_misses(records: list[TrialRecord]) -> None:
    small = nearest_miss(records, within(records[0].flops / 2))
    assert "nearest is trial 0, which misses max_flops (it has" in small
    both = nearest_miss(records, within(records[1].flops), min_accuracy=0.96)
    assert "nearest is trial 1, which misses min_accuracy (it has 95.00 %)" in both
    assert "max_flops=" in both
    assert "min_accuracy=0.96" in both
    high = nearest_miss(records, [], min_accuracy=0.999)
    assert "nearest is trial 3" in high
    with pytest.raises(NasError, match="no trained network"):
        nearest_miss(records[4:], [])


def test_references_are_the_best_of_their_shape(tiny: SearchSpace) -> None:
    dense = [
        trial(tiny, n, a, stage1_groups=1, stage2_groups=1, stage1_mid=m) for n, a, m in ((0, 0.8, 8), (1, 0.9, 16))
    ]
    doubling = trial(tiny, 2, 0.7, stage1_mid=16, stage1_groups=4, stage2_mid=32, stage2_groups=4)
    other = trial(tiny, 3, 0.99, stage1_mid=16, stage1_groups=4, stage2_mid=16, stage2_groups=4)
    assert references([*dense, doubling, other]) == {"ResNet-like": dense[1], "ResNeXt-like": doubling}
    assert references([other]) == {}


def test_axes_are_the_four_costs_and_what_was_measured(records: list[TrialRecord], tmp_path: Path) -> None:
    timed = [replace(records[0], seconds=2.0, measures={"latency (ms)": 3.25}), *records[1:]]
    axes = cost_metrics_of(timed)
    assert list(axes) == ["flops", "params", "activations", "seconds", "latency (ms)"]
    assert [axis.value(timed[0]) for axis in axes.values()] == [
        records[0].flops,
        records[0].params,
        records[0].cost.activations,
        2.0,
        3.25,
    ]
    assert axes["latency (ms)"].value(timed[1]) is None
    assert axes["flops"].text(12_400_000) == "12.4 M FLOPs"
    assert axes["seconds"].text(185) == "3m 05s of training"


@pytest.mark.parametrize(("least", "most"), [(1, 1), (135_000, 811_000), (0.003, 7.0), (99, 101), (1e9, 1.01e9)])
def test_budgets_are_round_and_hold_both_ends(least: float, most: float) -> None:
    steps = round_steps(least, most)
    assert steps[0] <= least
    assert steps[-1] >= most
    assert steps == sorted(set(steps))
    assert len(steps) % 10 == 0
