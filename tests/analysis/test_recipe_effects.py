import math

import pytest

from nas.analysis.recipe_effects import kept_effects, recipe_effects

BASE = {("a", 1): 0.80, ("a", 2): 0.82, ("b", 1): 0.60, ("b", 2): 0.61}


def shifted(*by: float) -> dict[tuple[str, int], float]:
    return {pair: accuracy + difference for (pair, accuracy), difference in zip(BASE.items(), by, strict=True)}


def test_an_effect_is_the_mean_of_paired_differences() -> None:
    (effect,) = recipe_effects(BASE, {("flip", True): shifted(0.05, 0.05, 0.01, 0.01)}, images=1000)
    assert effect.mean == pytest.approx(0.03)
    assert effect.pairs == 4
    assert effect.margin == 1 / 1000  # seeds agree to the last image, which counts for one
    assert effect.helps


def test_the_margin_is_student_s_of_the_spread_between_seeds() -> None:
    """Differences of ±0.02 around each network's mean: a variance of 4·0.02²/2, and t = 4.303 for 2 degrees."""
    (effect,) = recipe_effects(BASE, {("flip", True): shifted(0.05, 0.01, 0.03, -0.01)}, images=1000)
    assert effect.mean == pytest.approx(0.02)
    assert effect.margin == pytest.approx(4.303 * math.sqrt(2 * 0.02**2) / 2, rel=1e-3)
    assert not effect.helps


def test_the_spread_is_pooled_over_changes() -> None:
    changed = {
        ("flip", True): shifted(0.06, 0.02, 0.03, -0.01),
        ("crop_padding", 2): shifted(0.04, 0.04, 0.04, 0.04),
        ("learning_rate", 0.02): shifted(-0.04, -0.04, -0.04, -0.04),
    }
    effects = recipe_effects(BASE, changed, images=1000)
    assert [effect.field for effect in effects] == ["crop_padding", "flip", "learning_rate"]
    assert len({effect.margin for effect in effects}) == 1
    assert effects[0].margin == pytest.approx(2.447 * math.sqrt(4 * 0.02**2 / 6) / 2, rel=1e-3)
    # Alone, the flips would be within their margin.
    assert [effect.change for effect in kept_effects(effects)] == ["crop_padding: 2", "flip: true"]


def test_of_two_values_of_a_field_the_better_one_is_chosen() -> None:
    changed = {("learning_rate", 0.005): shifted(*[0.02] * 4), ("learning_rate", 0.02): shifted(*[0.03] * 4)}
    kept = kept_effects(recipe_effects(BASE, changed, images=1000))
    assert [effect.change for effect in kept] == ["learning_rate: 0.02"]


def test_trainings_without_a_counterpart_do_not_count() -> None:
    changed = {("flip", True): {("a", 1): 0.9, ("c", 1): 0.1}, ("crop_padding", 2): {}}
    (effect,) = recipe_effects(BASE, changed, images=1000)
    assert (effect.field, effect.pairs) == ("flip", 1)
    assert effect.mean == pytest.approx(0.1)
    assert effect.margin == math.inf  # one pair tells nothing of chance
    assert not effect.helps
