from dataclasses import replace

import pytest

from nas import SearchSpace
from nas.analysis.comparison import comparison_rows, difference, verdict
from nas.analysis.figures.costs import ratio_figure
from nas.study.records import TrialRecord
from tests.analysis.test_selection import trial


@pytest.fixture
def pair(tiny: SearchSpace) -> list[TrialRecord]:
    first = trial(tiny, 3, 0.90, stage1_groups=4)
    second = trial(tiny, 5, 0.92, stage1_groups=1, stage2_mid=32)
    return [replace(first, seconds=2.0), replace(second, seconds=3.0, measures={"latency (ms)": 3.25})]


def test_rows_hold_what_each_trial_gave_and_is(pair: list[TrialRecord]) -> None:
    rows = {row.name: row for row in comparison_rows(pair, images=1000)}
    assert rows["validation accuracy"].values == ("90.00 %", "92.00 %")
    assert rows["95 % interval"].values == ("88.0 to 91.7 %", "90.2 to 93.5 %")
    assert rows["stage 1 groups"].values == ("4", "1")
    assert rows["latency (ms)"].values == ("–", "3.25")
    assert rows["training time"].values == ("2.0s", "3.0s")
    assert [name for name, row in rows.items() if not row.differs] == [
        "state",
        "stem",
        "stage 1 depth",
        "stage 1 mid",
        "stage 1 out",
        "stage 1 stride",
        "stage 2 depth",
        "stage 2 groups",
        "stage 2 out",
        "stage 2 stride",
    ]


def test_two_trials_differ_in_these_fields(pair: list[TrialRecord]) -> None:
    assert difference(pair[0], pair[1]) == ["stage 1 groups: 4 → 1", "stage 2 mid: 8 → 32"]
    assert difference(pair[0], pair[0]) == []


def test_the_verdict_weighs_gain_against_cost_and_chance(pair: list[TrialRecord]) -> None:
    times = f"{pair[1].flops / pair[0].flops:.2f}× the FLOPs"
    assert verdict(pair[0], pair[1], 100_000).startswith(
        f"Trial 5 is 2.00 points more accurate than trial 3, with {times}"
    )
    assert "chance" not in verdict(pair[0], pair[1], 100_000)
    assert "may be chance" in verdict(pair[0], pair[1], 200)
    assert "as accurate as" in verdict(pair[0], pair[0])
    assert "no more can be said" in verdict(pair[0], replace(pair[1], accuracy=None))


def test_ratios_are_to_the_first_trial(pair: list[TrialRecord]) -> None:
    [bars] = ratio_figure(pair).data
    ratios = dict(zip(bars.x, bars.y, strict=True))
    assert ratios == pytest.approx(
        {
            "FLOPs": pair[1].flops / pair[0].flops,
            "parameters": pair[1].params / pair[0].params,
            "activations": pair[1].cost.activations / pair[0].cost.activations,
            "training time": 1.5,
            "error": 0.8,
        }
    )
