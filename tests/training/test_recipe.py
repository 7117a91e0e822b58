from dataclasses import replace

import pytest

from nas import Input, NasError, Recipe
from nas.training.recipe import AUTO, FEWEST_EPOCHS, MOST_EPOCHS, STEPS

GREY, COLOUR = Input(1, 28), Input(3, 32)


def test_auto_is_kept_until_the_data_is_there() -> None:
    recipe = Recipe.from_dict({"batch_size": AUTO, "epochs": 7, "flip": True})
    assert {name for name, value in recipe.to_dict().items() if value == AUTO} == {
        "metric",
        "optimizer",
        "batch_size",
        "learning_rate",
        "crop_padding",
        "random_augment",
    }
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    settled = recipe.for_images(2000, GREY)
    assert (settled.batch_size, settled.epochs, settled.flip, settled.auto) == (32, 7, True, frozenset())
    assert AUTO not in settled.to_dict().values()


@pytest.mark.parametrize("number", [30, 256, 800, 3_000, 19_999, 48_000, 1_000_000])
def test_every_training_has_enough_steps_as_far_as_epochs_are_bounded(number: int) -> None:
    recipe = Recipe.from_dict({}).for_images(number, COLOUR)
    steps = recipe.epochs * (number // min(recipe.batch_size, number))
    assert steps >= STEPS or recipe.epochs == MOST_EPOCHS
    assert FEWEST_EPOCHS <= recipe.epochs <= MOST_EPOCHS
    assert steps - number // recipe.batch_size <= STEPS or recipe.epochs == FEWEST_EPOCHS


def test_the_rate_follows_the_batch_and_what_is_given_stays() -> None:
    small, large = (Recipe.from_dict({}).for_images(number, COLOUR) for number in (2000, 100_000))
    assert large.batch_size == 2 * small.batch_size
    assert large.learning_rate == pytest.approx(2**0.5 * small.learning_rate, abs=1e-4)
    given = Recipe.from_dict({"batch_size": 128}).for_images(2000, COLOUR)
    assert given.batch_size == 128
    assert given.learning_rate == pytest.approx(2 * small.learning_rate)
    assert Recipe.from_dict({}).with_values(epochs=3).for_images(1000, COLOUR).epochs == 3


@pytest.mark.parametrize(("number", "size"), [(30, 8), (499, 8), (500, 16), (1_000, 16), (1_024, 32), (20_000, 64)])
def test_few_images_are_trained_on_in_small_batches(number: int, size: int) -> None:
    assert Recipe.from_dict({}).for_images(number, COLOUR).batch_size == size


def test_grey_images_are_never_mirrored_by_default() -> None:
    grey, colour = (Recipe.from_dict({}).for_images(1000, shape) for shape in (GREY, COLOUR))
    assert (grey.flip, grey.crop_padding) == (False, 0)
    assert (colour.flip, colour.crop_padding) == (True, 2)


def test_few_images_that_are_seen_often_are_changed_at_random() -> None:
    few = Recipe.from_dict({}).for_images(1000, COLOUR)
    assert (few.epochs >= 60, few.random_augment) == (True, 1.0)
    assert Recipe.from_dict({}).for_images(1000, GREY).random_augment == 1
    assert Recipe.from_dict({}).for_images(1000, Input(3, 8)).random_augment == 0
    assert Recipe.from_dict({}).for_images(4000, COLOUR).random_augment == 0
    assert Recipe.from_dict({"epochs": 20}).for_images(1000, COLOUR).random_augment == 0
    assert Recipe.from_dict({"random_augment": 0}).for_images(1000, COLOUR).random_augment == 0


def test_what_is_replaced_in_python_stays() -> None:
    recipe = replace(Recipe.from_dict({}), epochs=3, learning_rate=0.5)
    assert recipe.auto.isdisjoint({"epochs", "learning_rate"})
    settled = recipe.for_images(2000, COLOUR)
    assert (settled.epochs, settled.learning_rate, settled.batch_size) == (3, 0.5, 32)
    assert Recipe.from_dict({}).with_values(epochs=Recipe().epochs).for_images(1000, COLOUR).epochs == Recipe().epochs


def test_muon_is_for_images_that_are_not_tiny() -> None:
    tiny, grey = (Recipe.from_dict({}).for_images(1000, shape) for shape in (Input(1, 8), GREY))
    assert (tiny.optimizer, grey.optimizer) == ("adamw", "muon")


def test_what_the_data_does_not_settle_cannot_be_auto() -> None:
    with pytest.raises(NasError, match="weight_decay"):
        Recipe.from_dict({"weight_decay": AUTO})
    with pytest.raises(NasError, match="auto"):
        Recipe.from_dict({"auto": ["epochs"]})
