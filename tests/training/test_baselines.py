from typing import Any

import numpy as np
import pytest

import nas
from nas import SearchSpace
from nas.analysis.doubts import baseline_sentences, undertrained_sentence
from nas.data.images import ImageData, Split
from nas.training.baselines import FREQUENCIES, LOGISTIC, MAJORITY, SVM, baseline_accuracies
from nas.training.metrics import LOG_LOSS, MEAN_AVERAGE_PRECISION


def test_on_the_digits_each_is_as_good_as_it_should_be(digits: ImageData) -> None:
    found = baseline_accuracies(digits)
    assert found[MAJORITY] < 0.15
    assert 0.85 < found[LOGISTIC] < found[SVM] <= 1


@pytest.mark.parametrize(("size", "channels", "number"), [(8, 1, 42), (96, 3, 12)])
def test_any_images_will_do(size: int, channels: int, number: int) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(number) % 3
    images = rng.integers(0, 50, (number, size, size, channels)) + 80 * labels[:, None, None, None]
    split = Split(images.astype(np.uint8), labels.astype(np.int64))
    found = baseline_accuracies(ImageData("x", ("a", "b", "c"), split, split, split))
    assert found[MAJORITY] == pytest.approx(1 / 3)
    assert found[SVM] == 1


def test_a_front_below_a_baseline_and_a_short_training_are_said(
    tiny: SearchSpace, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = nas.search(tiny, "digits", trials=2, runs=tmp_path, name="s", device="cpu", epochs=1)
    known, warning = baseline_sentences(study, study.front())
    assert known.startswith("On the same images, without a network: ")
    assert "logistic regression 9" in known
    monkeypatch.setattr("nas.analysis.doubts.MOST_IMAGES", 100)
    assert baseline_sentences(study, study.front())[0].startswith("On 100 of the same images, without a network: ")
    assert warning.startswith("No network of the front beats the support vector machine")
    short = undertrained_sentence(study)
    assert short is not None
    assert "A training takes only 17 steps, 1 epoch of 17 batches" in short
    study.attributes.baselines = {MAJORITY: 0.01}
    assert len(baseline_sentences(study, study.front())) == 1


@pytest.mark.parametrize("metric", [LOG_LOSS, MEAN_AVERAGE_PRECISION])
def test_a_class_of_which_none_is_drawn_to_train_on_has_its_column(
    metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.training.baselines.MOST_IMAGES", 60)
    labels = np.repeat([0, 1, 2], [1, 300, 300])
    pixels = (80 * labels[:, None, None, None] + np.arange(601)[:, None, None, None] % 20).astype(np.uint8)
    split = Split(np.broadcast_to(pixels, (601, 8, 8, 1)), labels)
    found = baseline_accuracies(ImageData("x", ("a", "b", "c"), split, split, split), metric=metric)
    least = 0.8 if metric == LOG_LOSS else 0.6  # the average precision of the class without images is nearly 0
    assert found[LOGISTIC] > least > found[FREQUENCIES if metric == LOG_LOSS else MAJORITY] > 0
