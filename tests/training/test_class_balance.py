import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import nas
from nas import NasError, Recipe, SearchSpace
from nas.data.images import ImageData, Normalization, Split
from nas.errors import NasWarning
from nas.training.batches import DeviceImages
from nas.training.class_balance import class_weights, warn_of_imbalance
from nas.training.losses import loss_function
from nas.training.train import on_device, train
from tests.helpers import Ran


def rare(data: ImageData, share: float = 0.1) -> ImageData:
    """The data with a small share of the training images of the last five classes."""

    def thinned(split: Split) -> Split:
        rows = [
            row
            for label in range(10)
            for members in [np.flatnonzero(split.labels == label)]
            for row in (members if label < 5 else members[: max(2, int(share * len(members)))])
        ]
        return Split(split.images[np.sort(rows)], split.labels[np.sort(rows)])

    return replace(data, train=thinned(data.train))


@pytest.mark.parametrize("kind", ["balanced", "effective"])
def test_weights_have_a_mean_of_1_over_the_images_and_favour_the_rare(kind: str) -> None:
    counts = np.array([1000, 100, 10])
    weights = class_weights(kind, counts.tolist())
    assert (weights * counts).sum() / counts.sum() == pytest.approx(1, rel=1e-6)
    assert (np.diff(weights) > 0).all()
    assert class_weights(kind, [7, 7]) == pytest.approx([1, 1])


def test_effective_numbers_weigh_less_than_counts() -> None:
    counts = [10_000, 10]
    balanced, effective = (class_weights(kind, counts) for kind in ("balanced", "effective"))
    assert balanced[1] / balanced[0] == pytest.approx(1000)
    # (1 - β^10000) / (1 - β^10) with β = .999, as in the paper
    assert effective[1] / effective[0] == pytest.approx((1 - 0.999**10_000) / (1 - 0.999**10), rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_weighted_losses_are_those_of_torch(smoothing: float) -> None:
    torch.manual_seed(0)
    labels = torch.tensor([0, 1, 2, 2, 0])
    images = DeviceImages(
        Split(np.zeros((5, 2, 2, 1), np.uint8), labels.numpy()), Normalization((0.5,), (0.5,)), torch.device("cpu")
    )
    ours = loss_function(Recipe(class_weights="balanced", label_smoothing=smoothing), images, torch.device("cpu"))
    weights = torch.from_numpy(class_weights("balanced", [2, 1, 2]))
    for target in (labels, F.one_hot(labels, 3).float().lerp(torch.full((5, 3), 1 / 3), 0.4)):
        found = []
        for loss in (ours, partial(F.cross_entropy, weight=weights, label_smoothing=smoothing)):
            logits = torch.arange(15.0).reshape(5, 3).sin().requires_grad_()
            value = loss(logits, target)
            value.backward()  # type: ignore[no-untyped-call]
            assert logits.grad is not None
            found.append(torch.cat([value.detach()[None], logits.grad.flatten()]))
        torch.testing.assert_close(found[0], found[1])


def test_balanced_sampling_draws_all_classes_equally_often() -> None:
    labels = np.repeat([0, 1, 2], [900, 90, 10])
    images = DeviceImages(
        Split(np.zeros((1000, 2, 2, 1), np.uint8), labels), Normalization((0.5,), (0.5,)), torch.device("cpu")
    )
    generator = torch.Generator().manual_seed(0)
    drawn = torch.cat([torch.cat(list(images.shuffled(100, generator, balanced=True))) for _ in range(5)])
    assert len(drawn) == 5000
    assert np.bincount(labels[drawn.numpy()]) / 5000 == pytest.approx([1 / 3] * 3, abs=0.03)
    usual = torch.cat(list(images.shuffled(100, generator)))
    assert sorted(usual.tolist()) == list(range(1000))


@pytest.mark.parametrize("changes", [{"class_weights": "balanced"}, {"sampling": "balanced"}])
def test_rare_classes_are_recognised_more_often(digits: ImageData, tiny: SearchSpace, changes: dict[str, Any]) -> None:
    data = rare(digits)
    recipe = Recipe(epochs=6, metric="balanced_accuracy")
    architecture = tiny.architecture(tiny.sample(np.random.default_rng(0)))
    values = []
    for each in (recipe, recipe.with_values(**changes)):
        result = train(architecture, on_device(data, each, "cpu"), each)
        assert result.accuracy == pytest.approx((result.confusion.diagonal() / result.confusion.sum(axis=1)).mean())
        values.append(result.accuracy)
    assert values[1] > values[0]


def test_a_search_by_balanced_accuracy_counts_its_images_by_class(tmp_path: Path, tiny: SearchSpace) -> None:
    data = nas.load_data("digits", tiny.input)
    thin = rare(ImageData("x", data.classes, data.train, data.validation, data.test))
    arrays = thin.train.images, thin.train.labels
    options: dict[str, Any] = {"trials": 1, "runs": tmp_path, "device": "cpu", "epochs": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        study = nas.search(tiny, arrays, name="b", recipe={"metric": "balanced_accuracy"}, **options)
    counts = study.config.data["validation_counts"]
    assert sum(counts) == study.config.validation_images
    assert study.config.effective_images is not None
    assert study.config.effective_images < sum(counts)
    assert study.attributes.baselines["majority class"] == pytest.approx(0.1)
    confusion = np.load(study.confusion_file(0))
    assert study.records()[0].accuracy == pytest.approx((confusion.diagonal() / confusion.sum(axis=1)).mean())
    with pytest.warns(NasWarning, match="training images and .*--metric balanced_accuracy"):
        nas.search(tiny, arrays, name="a", **options)
    with pytest.raises(NasError, match=r"space.recipe.metric is balanced_accuracy there and accuracy now"):
        nas.search(tiny, arrays, name="b", **options)
    with pytest.raises(NasError, match=r"recipe.metric='f2': must be one of accuracy, balanced_accuracy, macro_f1"):
        nas.search(tiny, arrays, name="c", recipe={"metric": "f2"}, **options)
    with pytest.raises(NasError, match=r"recipe: .*metrik"):
        nas.search(tiny, arrays, name="c", recipe={"metrik": "accuracy"}, **options)


def test_imbalance_is_said_where_nothing_was_done_about_it() -> None:
    def warned(recipe: Recipe, counts: list[int]) -> bool:
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            warn_of_imbalance(recipe, ("cat", "dog"), counts)
        return bool(found)

    assert warned(Recipe(), [100, 10])
    assert not warned(Recipe(), [100, 11])
    assert not warned(Recipe(metric="macro_f1"), [100, 1])
    assert not warned(Recipe(class_weights="effective"), [100, 1])
    assert not warned(Recipe(sampling="balanced"), [100, 1])


def test_a_command_searches_by_another_metric_and_says_so(nas_command: Any, tmp_path: Path) -> None:
    options = ("--trials", "1", "--epochs", "1", "--device", "cpu", "--runs", str(tmp_path), "--study", "s")
    ran: Ran = nas_command("search", *options, "--metric", "balanced_accuracy", "--class-weights", "effective")
    assert "Accuracy is balanced here: the mean of the classes' own accuracies." in " ".join(ran.out.split())
    study = nas.Study.open("s", tmp_path)
    recipe = study.config.space.recipe
    assert (recipe.metric, recipe.class_weights, recipe.sampling) == ("balanced_accuracy", "effective", "all")
    ran = nas_command("search", *options, "--trials", "2")  # goes on by the study's own
    assert ran.code == 0
