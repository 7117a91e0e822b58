"""Trainings on images with any number of labels: the metric, the loss, the baselines, what such images exclude."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

import nas
from nas import Input, NasError, Recipe, SearchSpace, load_data
from nas.architectures.architecture import Architecture, Stage, StemConv
from nas.data.images import ImageData, Normalization, Split
from nas.training.baselines import FREQUENCIES, LOGISTIC, baseline_accuracies
from nas.training.batches import DeviceImages
from nas.training.distributed import train_together
from nas.training.losses import loss_function
from nas.training.metrics import MEAN_AVERAGE_PRECISION, average_precisions, score_of_logits
from nas.training.train import evaluate, on_device, train
from tests.helpers import patches

score = partial(score_of_logits, MEAN_AVERAGE_PRECISION)


@pytest.fixture(scope="module")
def data() -> ImageData:
    return load_data(patches(400), Input(3, 16))


@pytest.fixture(scope="module")
def network() -> Architecture:
    return Architecture(Input(3, 16), 3, (StemConv(8, 2),), (Stage(1, 16, 4, 16, 2),))


def test_average_precision_is_the_mean_of_the_precisions_at_each_image_of_the_class() -> None:
    logits = np.array([[3.0], [2.0], [1.0], [0.0]])
    assert score(logits, np.array([[1], [0], [1], [0]])) == pytest.approx((1 + 2 / 3) / 2)
    both = np.hstack([logits, -logits])
    assert average_precisions(both, np.array([[1, 0]] * 2 + [[0, 1]] * 2)) == {0: 1.0, 1: 1.0}
    assert score(both, np.array([[1, 0], [0, 0], [1, 0], [0, 0]])) == pytest.approx(5 / 6)  # no image has the second


def test_with_one_label_each_images_are_ranked_by_probability_not_by_logit() -> None:
    labels = np.array([0, 1])
    logits = np.array([[5.0, 4.0], [6.0, 9.0]])  # the second image's first logit is the larger, but not likely
    assert score(logits, labels) == 1
    assert score(logits, np.eye(2, dtype=int)[labels]) < 1


def test_the_loss_is_that_of_each_label_and_weights_count_the_images_that_have_it() -> None:
    labels = np.array([[1, 0], [1, 1], [1, 0], [1, 0]])
    split = Split(np.zeros((4, 2, 2, 1), np.uint8), labels)
    images = DeviceImages(split, Normalization((0.5,), (0.5,)), torch.device("cpu"))
    logits = torch.tensor([[0.0, 0.0], [2.0, -1.0], [0.0, 3.0], [-1.0, 0.0]])
    chances = logits.sigmoid().numpy()
    own = -np.where(labels, np.log(chances), np.log(1 - chances))
    plain, weighted = (
        loss_function(Recipe(class_weights=kind, label_smoothing=0), images, torch.device("cpu"))
        for kind in ("none", "balanced")
    )
    assert float(plain(logits, torch.tensor(labels))) == pytest.approx(own.sum() / 4, rel=1e-5)
    factors = np.where(labels, [5 / 8, 5 / 2], 1)  # in inverse proportion to 4 and 1, with a mean of 1 over these 5
    assert float(weighted(logits, torch.tensor(labels))) == pytest.approx((factors * own).sum() / 4, rel=1e-5)


def test_a_training_learns_which_labels_images_have(data: ImageData, network: Architecture) -> None:
    recipe = Recipe.from_dict({"epochs": 12}).for_images(len(data.train.labels), data.input, multi_label=True)
    assert (recipe.metric, recipe.label_smoothing) == (MEAN_AVERAGE_PRECISION, 0)
    result = train(network, on_device(data, recipe, "cpu"), recipe)
    assert result.accuracy > 0.9
    assert result.curve[0] < result.accuracy == result.curve[-1]
    assert result.confusion.size == 0
    assert len(result.predictions) == 64
    found = baseline_accuracies(data, metric=recipe.metric)
    assert found[FREQUENCIES] == pytest.approx(data.validation.labels.mean(), abs=1e-6)
    assert found[FREQUENCIES] < found[LOGISTIC] <= result.accuracy
    on_test = on_device(replace(data, validation=data.test), recipe, "cpu")
    assert evaluate(network, result.weights, on_test, recipe=recipe) > 0.85


def test_two_processes_judge_all_images(data: ImageData, network: Architecture) -> None:
    recipe = Recipe.from_dict({"epochs": 1}).for_images(len(data.train.labels), data.input, multi_label=True)
    result = train_together(network, data, recipe, processes=2, device="cpu")
    judged = evaluate(network, result.weights, on_device(data, recipe, "cpu"), recipe=recipe)
    assert result.accuracy == pytest.approx(judged, abs=1e-6)


def test_one_label_each_may_be_judged_so_too(digits: ImageData, tiny: SearchSpace) -> None:
    recipe = replace(tiny.recipe, metric=MEAN_AVERAGE_PRECISION)
    result = train(tiny.architecture(next(tiny.points())), on_device(digits, recipe, "cpu"), recipe)
    assert 0.1 < result.accuracy < 1
    assert result.confusion.sum() == len(digits.validation.labels)
    found = baseline_accuracies(digits, metric=MEAN_AVERAGE_PRECISION)
    assert 0.9 < found[LOGISTIC] <= 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metric": "accuracy"}, "recipe.metric=accuracy: is for images of one label each"),
        ({"metric": "macro_f1"}, "recipe.metric=macro_f1: is for images of one label each"),
        ({"sampling": "balanced"}, "recipe.sampling=balanced: is for images of one label each"),
    ],
)
def test_what_needs_one_label_is_refused_before_the_search(change: dict[str, Any], message: str, tmp_path: Any) -> None:
    with pytest.raises(NasError, match=message):
        nas.search(data=patches(100), trials=1, runs=tmp_path, recipe=change, max_flops="1M")
