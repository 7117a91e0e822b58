"""Knowledge distillation: a network also learns what more accurate ones say of its training images.

Hinton et al., arXiv:1503.02531. The teachers see every image cropped and changed as the student sees it (Beyer et al.,
arXiv:2106.05237), so that they say something else of it in each epoch.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.architectures.network import build_network
from nas.architectures.weights import load_weights, put_into
from nas.training.objective import Teacher

__all__ = ["Teachers"]

TEMPERATURE = 3.0
"""Divides all logits: the higher, the more the classes count that a teacher thinks unlikely."""
SHARE = 0.9
"""The teachers' part of the loss; the rest is the labels'. Both were chosen on images of CIFAR-10."""


class Teachers(nn.Module):
    """Trained networks, whose mean prediction is learned from.

    Args:
        teachers: the networks, all with the same input and classes.
        device: where they compute.
        multi_label: an image may have any number of labels.

    Raises:
        WeightsError: a file of weights is missing, damaged, or of another network.
    """

    def __init__(self, teachers: Sequence[Teacher], device: torch.device, *, multi_label: bool) -> None:
        super().__init__()
        networks = []
        for architecture, weights in teachers:
            network = build_network(architecture).requires_grad_(False)
            put_into(network, load_weights(weights), of=architecture.name)
            networks.append(network.to(device, memory_format=torch.channels_last))  # type: ignore[call-overload]
        self._networks = nn.ModuleList(networks)
        self._multi_label = multi_label
        self.train(False)

    def train(self, mode: bool = True) -> "Teachers":
        """Stays in evaluation mode, whatever the module that holds it is put into."""
        super().train(False)
        return self

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Returns the softened mean probabilities (B, classes) of images (B, C, height, width)."""
        softened = torch.stack([each(images) for each in self._networks]).float() / TEMPERATURE
        return (softened.sigmoid() if self._multi_label else softened.softmax(dim=2)).mean(dim=0)

    def loss(self, of_labels: Tensor, logits: Tensor, images: Tensor) -> Tensor:
        """Returns the loss of a student's logits (B, classes), of which `of_labels` is that of the labels.

        The square of the temperature keeps the gradients of the teachers' part as large as without one.
        """
        softened, taught = logits / TEMPERATURE, self(images)
        if self._multi_label:
            of_teachers = F.binary_cross_entropy_with_logits(softened, taught, reduction="sum") / len(logits)
        else:
            of_teachers = F.cross_entropy(softened, taught)
        return (1 - SHARE) * of_labels + SHARE * TEMPERATURE**2 * of_teachers
