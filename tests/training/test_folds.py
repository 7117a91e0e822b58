"""Trainings of a network for each fold: what they report, what they keep, and how they are resumed."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import nas
from nas import NasError, SearchSpace, Study
from nas.architectures.architecture import Architecture, Input
from nas.cli.tables import headline
from nas.data.images import ImageData, folds_of
from nas.data.loading import load_data
from nas.errors import TrainingFailed
from nas.study.artifacts import predictions_of
from nas.study.images import images_of
from nas.training import checkpoint as checkpoint_module
from nas.training.baselines import baseline_accuracies
from nas.training.batches import DeviceData
from nas.training.metrics import ACCURACY, LOG_LOSS, METRICS
from nas.training.objective import TrainingResult
from nas.training.recipe import Recipe
from nas.training.train import evaluate, on_device, train
from nas.workflows.retrain import retrain_trial

EPOCHS = 4


class Interrupted(Exception):
    """Ends a training from its report."""


@pytest.fixture(scope="module")
def images() -> ImageData:
    return load_data("digits", Input(1, 8), max_images=240, folds=3)


@pytest.fixture
def network(tiny: SearchSpace) -> Architecture:
    return tiny.architecture(list(tiny.points())[-1])


@pytest.fixture
def recipe(tiny: SearchSpace) -> Recipe:
    return replace(tiny.recipe, epochs=EPOCHS)


@pytest.fixture
def folds(images: ImageData, recipe: Recipe) -> list[DeviceData]:
    return [on_device(fold, recipe, "cpu") for fold in folds_of(images)]


@pytest.fixture
def every_epoch_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_module, "SECONDS_BEFORE_FIRST", 0)
    monkeypatch.setattr(checkpoint_module, "SHARE_OF_TIME", 1e9)


def test_the_accuracy_is_that_of_all_images_each_by_the_network_that_has_not_seen_it(
    images: ImageData, folds: Sequence[DeviceData], recipe: Recipe, network: Architecture
) -> None:
    reported: list[tuple[int, float]] = []
    result = train(network, folds, recipe, report=lambda epoch, value: reported.append((epoch, value)))
    assert reported == list(enumerate(result.curve, start=1))
    assert len(result.curve) == EPOCHS
    assert np.array_equal(result.predictions["label"], images.judged.labels)
    right = result.predictions["label"] == result.predictions["predicted"]
    assert result.accuracy == result.curve[-1] == right.mean()
    assert result.accuracy == result.confusion.trace() / len(images.judged.labels)
    first = evaluate(network, result.weights, folds[0], recipe=recipe)
    assert first == right[: images.folds[0]].mean()  # the weights are those of the first fold's network


def test_a_folds_network_is_trained_as_by_itself(
    folds: Sequence[DeviceData], recipe: Recipe, network: Architecture
) -> None:
    together, alone = train(network, folds, recipe, seed=3), train(network, folds[0], recipe, seed=3)
    assert all(torch.equal(value, alone.weights[name]) for name, value in together.weights.items())


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_is_that_of_all_images(
    folds: Sequence[DeviceData], recipe: Recipe, network: Architecture, metric: str
) -> None:
    result = train(network, folds, replace(recipe, epochs=1, metric=metric))
    assert 0 < result.accuracy < 1
    if metric == LOG_LOSS:
        own = result.predictions["label_confidence"].astype(float)
        assert result.accuracy == pytest.approx(np.exp(np.log(own).mean()), rel=1e-4)


@pytest.mark.usefixtures("every_epoch_is_kept")
@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
def test_a_resumed_training_ends_as_if_never_interrupted(
    folds: Sequence[DeviceData],
    recipe: Recipe,
    network: Architecture,
    tmp_path: Path,
    optimizer: str,
) -> None:
    recipe = replace(recipe, optimizer=optimizer)
    file = tmp_path / "it.checkpoint"

    def until(last: int) -> Callable[[int, float], None]:
        def report(epoch: int, _: float) -> None:
            if epoch == last:
                raise Interrupted

        return report

    def result(last: int = EPOCHS + 1) -> TrainingResult:
        return train(network, folds, recipe, report=until(last), checkpoint=file)

    with pytest.raises(Interrupted):
        result(3)
    assert file.exists()
    resumed, whole = result(), train(network, folds, recipe)
    assert resumed.curve == whole.curve
    assert np.array_equal(resumed.predictions, whole.predictions)
    assert all(torch.equal(value, whole.weights[name]) for name, value in resumed.weights.items())


@pytest.mark.usefixtures("every_epoch_is_kept")
def test_a_checkpoint_of_one_network_is_not_one_of_folds(
    folds: Sequence[DeviceData], recipe: Recipe, network: Architecture, tmp_path: Path
) -> None:
    file = tmp_path / "it.checkpoint"
    train(network, folds[0], replace(recipe, epochs=2), checkpoint=file)
    assert file.exists()
    result = train(network, folds, recipe, checkpoint=file)
    assert result.curve == train(network, folds, recipe).curve


def test_a_loss_that_is_not_finite_in_one_fold_ends_the_training(
    folds: Sequence[DeviceData], recipe: Recipe, network: Architecture
) -> None:
    wild = replace(recipe, optimizer="sgd", learning_rate=1000.0, weight_decay=1000.0)
    with pytest.raises(TrainingFailed, match="the loss was not finite"):
        train(network, folds, wild)


def test_baselines_are_means_over_the_folds(images: ImageData) -> None:
    found = baseline_accuracies(images)
    of_folds = [baseline_accuracies(fold) for fold in folds_of(images)]
    assert found == {name: pytest.approx(np.mean([each[name] for each in of_folds])) for name in found}


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_from_a_search_to_files(tmp_path: Path, tiny: SearchSpace, workers: int) -> None:
    options = {"trials": 3, "runs": tmp_path, "max_images": 240, "workers": workers, "references": False}
    study = nas.search(tiny, "digits", name="s", folds=3, **options)  # type: ignore[arg-type]
    best = study.front()[-1]
    images = images_of(study.config)
    assert "239 images in 3 folds, " in headline(study)
    predictions = predictions_of(study, best)
    assert np.array_equal(predictions["label"], images.judged.labels)
    assert best.accuracy == (predictions["label"] == predictions["predicted"]).mean()
    assert study.config.validation_images == len(images.judged.labels) == 239
    assert study.config.space.recipe.metric == ACCURACY
    with pytest.raises(NasError, match=r"is that of 3 networks, one for each fold; train one on all"):
        nas.export(study, tmp_path / "out", trial=best.trial)
    assert len(nas.search(None, name="s", **{**options, "trials": 4}).records()) > 3  # type: ignore[arg-type]
    with pytest.raises(NasError, match=r"data\.folds is 3 there and 4 now"):
        nas.search(tiny, "digits", name="s", folds=4, **options)  # type: ignore[arg-type]
    retrain_trial(Study.open("s", tmp_path), best.trial, all_images=True)
    nas.export(study, tmp_path / "out", trial=best.trial, formats=["safetensors", "python"])
    assert (tmp_path / "out" / "model.py").exists()
