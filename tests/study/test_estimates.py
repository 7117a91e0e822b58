from dataclasses import replace

import numpy as np
import pytest

from nas import SearchSpace, cost
from nas.study.estimates import FEWEST, estimates
from nas.study.records import TrialRecord, TrialState, front_of
from tests.helpers import formula

NOISE = 0.02


def searched(space: SearchSpace, *, count: int = 60, seed: int = 0) -> tuple[list[TrialRecord], np.ndarray]:
    """Trials of random architectures, every other one short and half as good, and their true accuracies."""
    rng = np.random.default_rng(seed)
    points = list(space.points())
    chosen = [space.architecture(points[index]) for index in rng.choice(len(points), count, replace=False)]
    short = np.arange(count) % 2 == 0
    truth = np.array([formula(each, lambda *_: None) for each in chosen]) * np.where(short, 0.5, 1)
    measured = np.clip(truth + rng.normal(0, NOISE, count), 0, 1)
    records = [
        TrialRecord(number, TrialState.SHORT if brief else TrialState.COMPLETE, architecture, float(accuracy), length=4)
        for number, (architecture, accuracy, brief) in enumerate(zip(chosen, measured, short, strict=True))
    ]
    full = space.recipe.epochs
    return [r if r.state == TrialState.SHORT else replace(r, length=full) for r in records], truth


def test_estimates_are_nearer_to_the_truth_than_what_was_measured_and_know_how_near(tiny: SearchSpace) -> None:
    space = tiny.with_changes(recipe=tiny.recipe.with_values(epochs=12))
    within, errors, measured = 0, list[float](), list[float]()
    for seed in range(5):
        records, truth = searched(space, seed=seed)
        found = estimates(records, space, 10_000)
        assert found.keys() == set(range(len(records)))
        errors += [found[number].accuracy - truth[number] for number in found]
        measured += [(record.accuracy or 0.0) - truth[record.trial] for record in records]
        within += sum(found[n].low <= truth[n] <= found[n].high for n in found)
    assert np.std(errors) < 0.75 * np.std(measured)
    assert 0.85 < within / len(errors) <= 1


def test_the_front_by_estimates_owes_less_to_luck(tiny: SearchSpace) -> None:
    space = tiny.with_changes(recipe=tiny.recipe.with_values(epochs=12))
    luck, left = list[float](), list[float]()
    for seed in range(8):
        records, truth = searched(space, seed=seed)
        luck += [(record.accuracy or 0.0) - truth[record.trial] for record in front_of(records)]
        found = estimates(records, space, 10_000)
        by_estimate = front_of([replace(record, estimate=found[record.trial]) for record in records])
        left += [record.quality - truth[record.trial] for record in by_estimate]
    assert np.mean(luck) > 0.5 * NOISE
    assert abs(np.mean(left)) < 0.5 * np.mean(luck)


def test_estimates_of_accuracies_that_vary_much_have_their_mean(tiny: SearchSpace) -> None:
    """Errors of 5 % times e^±0.7 are 6.3 % on average; by the mean of their logarithms they would be 5 %."""
    rng, points = np.random.default_rng(0), list(tiny.points())
    architectures = [tiny.architecture(points[index]) for index in rng.choice(len(points), 60, replace=False)]
    accuracies = 1 - 0.05 * np.exp(0.7 * rng.choice([-1, 1], len(architectures)))
    records = [
        TrialRecord(number, TrialState.COMPLETE, architecture, float(accuracy), length=tiny.recipe.epochs)
        for number, (architecture, accuracy) in enumerate(zip(architectures, accuracies, strict=True))
    ]
    found = estimates(records, tiny, 10_000)
    assert np.mean([estimate.accuracy for estimate in found.values()]) == pytest.approx(accuracies.mean(), abs=0.005)


def test_where_there_is_nothing_to_model_there_are_none(tiny: SearchSpace) -> None:
    records, _ = searched(tiny)
    assert estimates(records[: FEWEST - 1], tiny, 10_000) == {}
    assert estimates([], tiny, 10_000) == {}
    assert estimates(records, tiny, None) == {}
    assert estimates([replace(record, accuracy=0.1) for record in records], tiny, 10_000) == {}
    assert estimates([replace(record, seed=1) for record in records], tiny, 10_000) == {}
    failed = [replace(record, state=TrialState.FAILED, accuracy=None) for record in records[:20]]
    assert estimates(failed + records[20:], tiny, 10_000).keys() == set(range(20, len(records)))


def test_perfect_and_contradictory_accuracies_have_estimates_within_0_and_1(tiny: SearchSpace) -> None:
    records, _ = searched(tiny)
    extreme = [replace(record, accuracy=float(record.trial % 3 == 0)) for record in records]
    for each in estimates(extreme, tiny, 10_000).values():
        assert 0 <= each.low <= each.accuracy <= each.high <= 1


def test_what_a_record_says_of_its_accuracy(tiny: SearchSpace) -> None:
    records, _ = searched(tiny)
    measured = replace(records[1], accuracy=0.976)
    assert (measured.quality, measured.score_text()) == (0.976, "97.60 %")
    assert measured.interval(None) is None
    assert measured.standard_error(None) is None
    assert measured.least_difference(None) == 0
    found = replace(measured, estimate=estimates(records, tiny, 10_000)[1])
    assert found.estimate is not None
    assert found.quality == found.estimate.accuracy != 0.976
    assert found.score_text().endswith(" estimated, 97.60 % measured")
    assert found.interval(100) == (found.estimate.low, found.estimate.high)
    assert found.standard_error(100) == pytest.approx(found.estimate.error)
    assert found.to_dict()["estimate"]["accuracy"] == found.quality
    assert cost(found.architecture).flops == found.flops


def test_the_interval_contains_the_chance_of_the_validation_images_and_comparisons_do_not(tiny: SearchSpace) -> None:
    records, _ = searched(tiny)
    few, many = estimates(records, tiny, 100)[1], estimates(records, tiny, 1_000_000)[1]
    assert few.accuracy == many.accuracy
    assert few.error == many.error
    assert few.high - few.low > 1.5 * (many.high - many.low)
    assert many.high - many.low == pytest.approx(2 * 1.96 * many.error, rel=0.01)
