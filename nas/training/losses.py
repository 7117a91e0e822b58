"""The loss of a training: cross-entropy, weighted by class if the recipe says so."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.training.batches import DeviceImages
from nas.training.class_balance import class_weights
from nas.training.recipe import Recipe

__all__ = ["Loss", "loss_function"]

Loss = Callable[[Tensor, Tensor], Tensor]
"""The mean loss of logits (B, classes) for labels (B,), or (B, classes) of 0 and 1."""


def loss_function(recipe: Recipe, images: DeviceImages, device: torch.device) -> Loss:
    """Returns the loss for some training images.

    Where an image may have any number of labels it is the binary cross-entropy of each label, summed over the labels as
    the cross-entropy is; weights are then those of the images that have a label, against the ones that do not.
    """
    weights = None
    if recipe.class_weights != "none":
        weights = torch.from_numpy(class_weights(recipe.class_weights, images.class_counts())).to(device)
    if images.is_multi_label:
        return partial(_of_each_label, weights=weights)
    if weights is not None:
        return partial(_weighted, weights=weights, smoothing=recipe.label_smoothing)
    return partial(F.cross_entropy, label_smoothing=recipe.label_smoothing)


def _weighted(logits: Tensor, labels: Tensor, *, weights: Tensor, smoothing: float) -> Tensor:
    """Computes what `F.cross_entropy` does, which waits for the GPU if labels have both weights and smoothing."""
    if labels.ndim == 2:  # mixed labels, for which it does not wait
        return F.cross_entropy(logits, labels, weight=weights, label_smoothing=smoothing)
    losses, of_image = -F.log_softmax(logits.float(), dim=1), weights[labels]
    of_label = (of_image * losses.gather(1, labels[:, None])[:, 0]).sum()
    of_all = (losses * weights).sum() / len(weights)
    return ((1 - smoothing) * of_label + smoothing * of_all) / of_image.sum()


def _of_each_label(logits: Tensor, labels: Tensor, *, weights: Tensor | None) -> Tensor:
    found = F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), pos_weight=weights, reduction="sum")
    return found / len(logits)
