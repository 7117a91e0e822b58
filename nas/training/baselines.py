"""Classifiers on the pixels themselves, which cost seconds: what a network has to beat."""

import warnings

import numpy as np
from numpy.typing import NDArray

from nas.data.images import ImageData, Split
from nas.training.metrics import ACCURACY, score

__all__ = ["LOGISTIC", "MAJORITY", "SVM", "baseline_accuracies"]

MAJORITY, LOGISTIC, SVM = "majority class", "logistic regression", "support vector machine"
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
    same weight, the latter two are trained so.
    """
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import confusion_matrix
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    rng = np.random.default_rng(seed)
    (x, y), (of_validation, labels) = (_pixels(split, rng) for split in (images.train, images.validation))
    weights = "balanced" if metric != ACCURACY else None
    components = min(COMPONENTS, *x.shape)
    models = {
        LOGISTIC: make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=200, class_weight=weights)),
        SVM: make_pipeline(PCA(components, random_state=seed), SVC(C=10.0, class_weight=weights)),
    }

    def judged(predicted: NDArray[np.int64]) -> float:
        return score(metric, confusion_matrix(labels, predicted, labels=range(len(images.classes))))

    found = {MAJORITY: judged(np.full_like(labels, np.bincount(y).argmax()))}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a regression that has not converged is a baseline all the same
        for name, model in models.items():
            found[name] = judged(model.fit(x, y).predict(of_validation))
    return found


def _pixels(split: Split, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
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
