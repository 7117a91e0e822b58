"""Defines `Evaluation`: what a network says of the validation images, gathered on their device in one pass."""

import copy
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas.training.batches import DeviceImages
from nas.training.data_parallel import ProcessGroup
from nas.training.metrics import MEAN_AVERAGE_PRECISION, OF_LOGITS, score, score_of_logits
from nas.training.objective import NO_CONFUSION, NO_PREDICTIONS, PREDICTION, label_prediction

__all__ = ["Evaluation"]


class Evaluation:
    """Gathers a pass over the validation images batch by batch, and scores it.

    Args:
        images: the validation images.
        classes: the number of classes.
        metric: one of `METRICS`; of images with several labels always the mean average precision.
        device: where the logits are.
        keeps_predictions: whether `predictions` is asked for.
    """

    def __init__(
        self, images: DeviceImages, classes: int, *, metric: str, device: torch.device, keeps_predictions: bool
    ) -> None:
        self._is_multi_label, self._labels = images.is_multi_label, images.labels
        self._keeps_predictions = keeps_predictions
        self._metric = MEAN_AVERAGE_PRECISION if images.is_multi_label else metric
        self._confusion = self._predicted = self._logits = torch.zeros(0, device=device)
        if not images.is_multi_label:
            self._confusion = torch.zeros(classes, classes, device=device, dtype=torch.long)
            self._predicted = torch.zeros(len(images) if keeps_predictions else 0, 4, device=device)
        if self._metric in OF_LOGITS:
            self._logits = torch.zeros(len(images), classes, device=device)

    @classmethod
    def pooled(cls, parts: Sequence["Evaluation"]) -> "Evaluation":
        """Returns one of the images of all parts, in their order, which different networks may have seen."""
        whole = copy.copy(parts[0])
        whole._labels = lambda: np.concatenate([part._labels() for part in parts])
        whole._confusion = torch.stack([part._confusion for part in parts]).sum(dim=0)
        whole._predicted, whole._logits = (
            torch.cat([getattr(part, name) for part in parts]) for name in ("_predicted", "_logits")
        )
        return whole

    def add(self, rows: slice, logits: Tensor, labels: Tensor) -> None:
        """Adds a batch of float32 logits (B, classes) for the images in `rows`."""
        if len(self._logits):
            self._logits[rows] = logits
        if self._is_multi_label:
            return
        found = logits.argmax(dim=1)
        self._confusion.view(-1).scatter_add_(0, labels * len(self._confusion) + found, torch.ones_like(labels))
        if len(self._predicted):
            both = torch.stack([labels, found], dim=1)
            self._predicted[rows] = torch.cat([both, logits.softmax(dim=1).gather(1, both.flip(1))], dim=1)

    def join(self, group: ProcessGroup) -> None:
        """Adds what the other processes of a group gathered."""
        for part in (self._confusion, self._predicted, self._logits):
            if part.numel():
                group.all_reduce_sum(part)

    def score(self) -> float:
        """Returns the metric, in [0, 1]."""
        if self._metric in OF_LOGITS:
            return score_of_logits(self._metric, np.nan_to_num(self._logits.cpu().numpy()), self._labels())
        return score(self._metric, self.confusion)

    @property
    def confusion(self) -> NDArray[np.int64]:
        """Counts (classes, classes) of images of class i (row) that were classified as j; empty if multi-label."""
        counts: NDArray[np.int64] = self._confusion.cpu().numpy()
        return counts if counts.size else NO_CONFUSION

    @property
    def predictions(self) -> NDArray[np.void]:
        """A `PREDICTION`, or `label_prediction`, for each image, in order; empty if they were not kept."""
        if self._is_multi_label and self._keeps_predictions:
            found = np.zeros(len(self._logits), dtype=label_prediction(self._logits.shape[1]))
            found["has"] = self._labels()
            found["probability"] = np.nan_to_num(self._logits.sigmoid().cpu().numpy())
            return found
        if not len(self._predicted):
            return NO_PREDICTIONS
        return np.rec.fromarrays(np.nan_to_num(self._predicted.cpu().numpy()).T, dtype=PREDICTION)
