"""Standard errors of metrics: those that nas states beside those of a bootstrap of the validation images.

    python -m benchmarks.intervals

nas states the standard error of a share of `StudyConfig.effective_images` images, whatever the metric. For accuracy and
balanced accuracy that is their theory; for the others it is an approximation, which this measures. Logistic regression
on images of Fashion-MNIST is judged on others by each metric, and on 400 resamples of those with replacement, whose
standard deviation is the bootstrap's (Efron, Annals of Statistics 7, 1979). Shown is the one divided by the other, for
classes that differ 1-, 20- and 50-fold: once with regularisation, and once with hardly any, which makes it far too
sure. With several labels, an image is two images side by side.
"""

import argparse
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier

from benchmarks.recipes import fashion_mnist
from nas.study.precision import standard_error
from nas.training.metrics import MEAN_AVERAGE_PRECISION, MEANS_OVER_IMAGES, METRICS, effective_images, score_of_logits

CLASSES = 10
SIZES = {1: 100, 20: 400, 50: 1000}
"""The images of the most frequent class, by how many times more it has than the rarest."""
RESAMPLES = 400
STRENGTHS = {"regularised": 0.01, "far too sure": 1000.0}
"""The inverse of the regularisation of the logistic regression."""
SEVERAL = f"{MEAN_AVERAGE_PRECISION}, several labels"

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]


def drawn(differing: int, rng: np.random.Generator) -> Iterator[tuple[Floats, Labels]]:
    """Yields the training and the validation images (N, pixels), in [0, 1], and their labels (N,)."""
    images, labels = fashion_mnist("train")
    counts = [round(SIZES[differing] / differing ** (k / (CLASSES - 1))) for k in range(CLASSES)]
    rows = [rng.permutation(np.flatnonzero(labels == k)) for k in range(CLASSES)]
    for parts in (
        [of[: 2 * count] for of, count in zip(rows, counts, strict=True)],
        [of[2 * count : 3 * count] for of, count in zip(rows, counts, strict=True)],
    ):
        chosen = rng.permutation(np.concatenate(parts))
        yield images[chosen].reshape(len(chosen), -1).astype(np.float32) / 255, labels[chosen].astype(np.int64)


def in_pairs(images: Floats, labels: Labels) -> tuple[Floats, Labels]:
    """Returns images of two each, (N // 2, 2 * pixels), and their labels (N // 2, classes) of 0 and 1."""
    first, second = slice(0, len(labels) // 2 * 2, 2), slice(1, None, 2)
    named = (labels[first, None] == np.arange(CLASSES)) | (labels[second, None] == np.arange(CLASSES))
    return np.hstack([images[first], images[second]]), named.astype(np.int64)


def ratio(metric: str, logits: Floats, labels: Labels, rng: np.random.Generator) -> float:
    """Returns the standard error that nas states of a metric as a multiple of the bootstrap's."""
    value = score_of_logits(metric, logits, labels)
    counts = labels.sum(axis=0) if labels.ndim == 2 else np.bincount(labels, minlength=CLASSES)
    images = len(labels) if metric in MEANS_OVER_IMAGES else effective_images(counts.tolist(), len(labels))
    samples = (rng.integers(0, len(labels), len(labels)) for _ in range(RESAMPLES))
    bootstrap = np.std([score_of_logits(metric, logits[rows], labels[rows]) for rows in samples], ddof=1)
    return standard_error(value, images) / float(bootstrap)


def ratios(strength: float) -> dict[str, list[float]]:
    """Returns the ratio for each metric, by how much the classes differ."""
    rng = np.random.default_rng(0)
    model = LogisticRegression(C=strength, max_iter=1000)
    found: dict[str, list[float]] = {metric: [] for metric in (*METRICS, SEVERAL)}
    for differing in SIZES:
        training, judging = drawn(differing, rng)
        logits = model.fit(*training).decision_function(judging[0])
        for metric in METRICS:
            found[metric].append(ratio(metric, logits, judging[1], rng))
        pairs, labels = in_pairs(*judging)
        logits = OneVsRestClassifier(model).fit(*in_pairs(*training)).decision_function(pairs)
        found[SEVERAL].append(ratio(MEAN_AVERAGE_PRECISION, logits, labels, rng))
    return found


def main() -> None:
    """Prints the table."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    found = {words: ratios(strength) for words, strength in STRENGTHS.items()}
    print(f"| metric | {' | '.join(found)} |\n|---|---|---|")
    for metric in (*METRICS, SEVERAL):
        cells = (", ".join(f"{each:.2f}" for each in of[metric]) for of in found.values())
        print(f"| {metric} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
