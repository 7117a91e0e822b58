"""Classifiers on the pixels themselves, which cost seconds: what a network has to beat."""

import warnings
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.data.images import ImageData, Labels, Split, class_counts, folds_of
from nas.training.metrics import ACCURACY, LOG_LOSS, MEAN_AVERAGE_PRECISION, MEANS_OVER_IMAGES, score_of_logits

__all__ = ["FREQUENCIES", "LOGISTIC", "MAJORITY", "MOST_IMAGES", "SVM", "baseline_accuracies"]

MAJORITY, LOGISTIC, SVM = "majority class", "logistic regression", "support vector machine"
FREQUENCIES = "label frequencies"
MOST_IMAGES = 4000
"""Images of each split that are used at most, drawn at random."""
LARGEST_SIDE = 32
"""Larger images are averaged down to about this size."""
COMPONENTS = 64
"""Principal components that the support vector machine sees."""


def baseline_accuracies(images: ImageData, *, seed: int = 0, metric: str = ACCURACY) -> dict[str, float]:
    """Returns the validation accuracy, in [0, 1], of each baseline trained on the training images.

    These are the most frequent class, a logistic regression on standardised pixels, and a support vector machine with a
    Gaussian kernel on their principal components; none of them is tuned. Judged by a metric that gives all classes the
    same weight, the latter two are trained so. Where an image may have several labels, these are the labels'
    frequencies and a regression for each label; judged by the log loss, the frequencies and a regression.

    Of data with folds it is the mean over these.
    """
    if images.folds:
        of_folds = [baseline_accuracies(fold, seed=seed, metric=metric) for fold in folds_of(images)]
        return {name: fmean(found[name] for found in of_folds) for name in of_folds[0]}
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC
    from threadpoolctl import threadpool_limits

    rng = np.random.default_rng(seed)
    (x, y), (of_validation, labels) = (_pixels(split, rng) for split in (images.train, images.validation))
    weights = "balanced" if metric not in MEANS_OVER_IMAGES else None
    regression = LogisticRegression(C=0.01, max_iter=200, class_weight=weights)
    models = {LOGISTIC: make_pipeline(StandardScaler(), OneVsRestClassifier(regression) if y.ndim == 2 else regression)}
    if y.ndim == 1 and metric != LOG_LOSS:  # it gives no probabilities
        svm = SVC(C=10.0, class_weight=weights)
        models[SVM] = make_pipeline(PCA(min(COMPONENTS, *x.shape), random_state=seed), svm)
    classes = len(images.classes)
    frequencies = (np.array(class_counts(y, classes)) + 1) / (len(y) + classes)  # Laplace's: a sample may lack a class
    constant = score_of_logits(metric, np.tile(np.log(frequencies), (len(labels), 1)), labels)
    found = {FREQUENCIES if y.ndim == 2 or metric == LOG_LOSS else MAJORITY: constant}
    # One thread: beside a busy program, threads that wait for each other take tens of times as long as one alone.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a regression that has not converged is a baseline all the same
        for name, model in models.items():
            model.fit(x, y)
            if metric == LOG_LOSS:
                logits = np.tile(np.log(frequencies), (len(labels), 1))
                logits[:, model.classes_] = model.predict_log_proba(of_validation)
            elif metric == MEAN_AVERAGE_PRECISION:
                decisions = _decisions(model, of_validation)
                logits = np.full((len(labels), classes), decisions.min())
                logits[:, model.classes_] = decisions
            else:
                logits = np.eye(classes)[model.predict(of_validation)]
            found[name] = score_of_logits(metric, logits, labels)
    return found


def _decisions(model: Any, x: NDArray[np.float32]) -> NDArray[np.float64]:
    """Returns a fitted model's decision function, with a column for each class."""
    found: NDArray[np.float64] = model.decision_function(x)
    return np.stack([-found, found], axis=1) if found.ndim == 1 else found


def _pixels(split: Split, rng: np.random.Generator) -> tuple[NDArray[np.float32], Labels]:
    """Returns pixels in [0, 1], a row for each image, and the labels."""
    rows = np.sort(rng.permutation(len(split.labels))[:MOST_IMAGES])
    pixels = split.images[rows].astype(np.float32) / 255
    number, height, width, channels = pixels.shape
    step = -(-max(height, width) // LARGEST_SIDE)
    rows_left, columns_left = max(1, height // step), max(1, width // step)
    blocks = pixels[:, : rows_left * step, : columns_left * step].reshape(
        number, rows_left, -1, columns_left, step, channels
    )
    return blocks.mean(axis=(2, 4)).reshape(number, -1), split.labels[rows]
