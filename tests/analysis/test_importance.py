import numpy as np
import pytest

from nas import SearchSpace, cost
from nas.analysis import importance
from nas.analysis.figures import importance as figures
from nas.study.records import TrialRecord, TrialState


@pytest.fixture
def sample(tiny: SearchSpace) -> importance.Sample:
    """Two hundred trials whose accuracy is a cubic of log FLOPs, plus two points where the first stage has 4 groups."""
    rng = np.random.default_rng(0)
    records = []
    for number in range(200):
        architecture = tiny.architecture(tiny.sample(rng))
        x = np.log(cost(architecture).flops) - 10
        bonus = 0.02 if architecture.stages[0].groups == 4 else 0.0
        records.append(
            TrialRecord(number, TrialState.COMPLETE, architecture, float(0.5 + 0.15 * x - 0.01 * x**3 + bonus))
        )
    return importance.sample_of(records, tiny)


def test_what_matters_at_equal_flops_is_found_where_size_hides_it(sample: importance.Sample) -> None:
    at_all = {item.choice: item.share for item in importance.importances(sample, equal_flops=False)}
    equal = {item.choice: item.share for item in importance.importances(sample, equal_flops=True)}
    assert max(equal, key=lambda choice: equal[choice]) == "stage1.groups"
    assert equal["stage1.groups"] > 0.7
    assert at_all["stage1.groups"] < 0.3 < max(at_all.values())
    for item in importance.importances(sample, equal_flops=True):
        assert item.low <= item.share + 0.1
        assert 0 <= item.low <= item.high <= 1


def test_effects_are_points_at_equal_flops(sample: importance.Sample) -> None:
    found = {effect.value: effect for effect in importance.effects(sample, "stage1.groups")}
    assert sum(effect.trials for effect in found.values()) == 200
    gap = found[4].mean - np.average(
        [found[value].mean for value in (1, 2, 3)], weights=[found[value].trials for value in (1, 2, 3)]
    )
    assert gap == pytest.approx(0.02, abs=0.003)
    assert all(effect.error < 0.005 for effect in found.values())


def test_variance_explained_is_omega_squared() -> None:
    """By hand: three values with means 1, 2, 6 of three trials each; SSB 42, SSW 6, MSW 1, SST 48."""
    values = np.repeat([1, 2, 3], 3)
    target = np.array([0.0, 1, 2, 1, 2, 3, 5, 6, 7])
    assert importance.variance_explained(values, target) == pytest.approx((42 - 2 * 1) / (48 + 1))


def test_a_choice_that_does_nothing_explains_nothing_on_average() -> None:
    rng = np.random.default_rng(0)
    shares = [importance.variance_explained(rng.integers(6, size=40), rng.normal(size=40)) for _ in range(300)]
    assert np.mean(shares) < 0.05
    assert np.median(shares) == 0
    assert importance.variance_explained(np.zeros(5, dtype=int), np.arange(5.0)) == 0
    assert importance.variance_explained(np.arange(5), np.arange(5.0)) == 0
    assert importance.variance_explained(np.repeat([1, 2], 5), np.ones(10)) == 0


def test_error_distributions_leave_out_what_is_rare(sample: importance.Sample) -> None:
    found = importance.error_distributions(sample, "stage1.groups")
    assert set(found) == {1, 2, 3, 4}
    assert sum(len(errors) for errors in found.values()) == 200
    few = importance.Sample({"c": np.array([1] * 5 + [2] * 4)}, np.linspace(0, 1, 9), np.zeros(9), np.zeros(9))
    assert {value: errors.tolist() for value, errors in importance.error_distributions(few, "c").items()} == {
        1: [0.5, 0.625, 0.75, 0.875, 1.0]
    }


def test_figures_show_the_numbers(sample: importance.Sample, tiny: SearchSpace) -> None:
    bars = {bar.name: dict(zip(bar.y, bar.x, strict=True)) for bar in figures.importance_figure(sample).data}
    equal = {item.choice: item.share for item in importance.importances(sample, equal_flops=True)}
    assert bars["at equal FLOPs"]["stage 1 groups"] == equal["stage1.groups"]
    lines = {line.name: line for line in figures.effects_figure(sample, "groups").data}
    assert list(lines["stage 1"].x) == ["1", "2", "3", "4"]
    first, second = figures.heat_map_figure(sample, tiny, equal_flops=False).data
    groups, mids = sample.choices["stage1.groups"], sample.choices["stage1.mid"]
    assert first.z[0][0] == pytest.approx(100 * sample.accuracy[(groups == 1) & (mids == 8)].mean())
    assert first.z[2][0] is None  # three groups of eight channels cannot be
    assert list(second.y) == ["1", "4", "8", "16"]
    [parallel] = figures.parallel_figure(sample).data
    assert len(parallel.dimensions) == len(tiny.parameters) + 2
    steps = figures.error_distribution_figure(sample, "stage1.groups").data
    assert all(line.y[-1] == 1 for line in steps)


def test_where_all_are_alike_nothing_explains_anything(tiny: SearchSpace) -> None:
    rng = np.random.default_rng(0)
    records = [TrialRecord(n, TrialState.COMPLETE, tiny.architecture(tiny.sample(rng)), 0.5) for n in range(45)]
    sample = importance.sample_of(records, tiny)
    assert not sample.at_equal_flops.any()
    for equal_flops in (True, False):
        assert all(item.share == item.high == 0 for item in importance.importances(sample, equal_flops=equal_flops))


def test_few_trials_are_no_trouble(tiny: SearchSpace) -> None:
    architecture = tiny.architecture(next(tiny.points()))
    for count in (1, 2, 3):
        few = importance.sample_of([TrialRecord(n, TrialState.COMPLETE, architecture, 0.5) for n in range(count)], tiny)
        assert all(item.share == 0 for item in importance.importances(few, equal_flops=True))
        figures.parallel_figure(few)
        figures.effects_figure(few, "groups")
        figures.heat_map_figure(few, tiny, equal_flops=True)
