import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score, log_loss

from nas import Recipe, SearchSpace, load_data
from nas.data.loading import DIGITS
from nas.study.config import StudyConfig
from nas.training.baselines import baseline_accuracies
from nas.training.metrics import (
    ACCURACY,
    BALANCED_ACCURACY,
    LOG_LOSS,
    MACRO_F1,
    METRIC_NOTES,
    METRICS,
    effective_images,
    score,
    score_of_logits,
)


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (labels, predicted), 1)
    return counts


@pytest.mark.parametrize("seed", range(5))
def test_metrics_are_those_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.choice(4, 300, p=[0.7, 0.2, 0.08, 0.02])
    predicted = np.where(rng.random(300) < 0.6, labels, rng.integers(0, 4, 300))
    counts = confusion(labels, predicted, 4)
    assert score(ACCURACY, counts) == np.mean(labels == predicted)
    assert score(BALANCED_ACCURACY, counts) == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert score(MACRO_F1, counts) == pytest.approx(f1_score(labels, predicted, average="macro"))


def test_who_names_the_majority_class_alone_is_at_chance() -> None:
    counts = np.array([[90, 0, 0], [9, 0, 0], [1, 0, 0]])
    assert score(ACCURACY, counts) == 0.9
    assert score(BALANCED_ACCURACY, counts) == pytest.approx(1 / 3)
    assert score(MACRO_F1, counts) == pytest.approx(2 * 90 / 190 / 3)


def test_classes_that_do_not_occur_do_not_count() -> None:
    counts = np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]])
    assert score(BALANCED_ACCURACY, counts) == pytest.approx((3 / 4 + 1) / 2)
    assert score(MACRO_F1, counts) == pytest.approx((6 / 7 + 8 / 9) / 2)
    assert set(METRIC_NOTES) == set(METRICS) - {ACCURACY}


def test_log_loss_is_the_geometric_mean_of_the_probabilities_of_the_right_classes() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(200, 5)) * 3, rng.integers(0, 5, 200)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert score_of_logits(LOG_LOSS, logits, labels) == pytest.approx(np.exp(-log_loss(labels, probabilities)))
    assert score_of_logits(LOG_LOSS, np.zeros((200, 5)), labels) == pytest.approx(1 / 5)
    assert score_of_logits(LOG_LOSS, 1e6 * np.eye(5)[labels], labels) == 1
    assert score_of_logits(LOG_LOSS, -1e6 * np.eye(5)[labels], labels) == 0


def test_baselines_are_judged_by_their_probabilities() -> None:
    found = baseline_accuracies(load_data("digits", DIGITS, max_images=600), metric=LOG_LOSS)
    assert found["label frequencies"] == pytest.approx(0.1, abs=0.002)
    assert len(found) == 2  # a support vector machine has no probabilities
    assert 0.5 < max(found.values()) < 1


def test_few_images_of_a_class_measure_a_mean_of_classes_as_few_images_would() -> None:
    assert effective_images([50, 50], 100) == 100
    counts, shares = [400, 40, 4], [0.8, 0.8, 0.8]
    rng = np.random.default_rng(0)
    drawn = np.mean([rng.binomial(n, p, 20_000) / n for n, p in zip(counts, shares, strict=True)], axis=0)
    assert drawn.var() == pytest.approx(0.8 * 0.2 / effective_images(counts, sum(counts)), rel=0.05)


def test_labels_of_the_same_images_measure_no_more_than_these_do(tiny: SearchSpace) -> None:
    space = tiny.with_changes(recipe=Recipe(metric="mean_average_precision"))
    described = {"source": "x", "multi_label": True, "validation_images": 300}
    assert StudyConfig(space, {**described, "validation_counts": [150] * 20}, 0).effective_images == 300
    assert StudyConfig(space, {**described, "validation_counts": [15] * 5}, 0).effective_images == 75
