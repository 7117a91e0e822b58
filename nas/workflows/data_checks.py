"""Checks of the images at the start of a search: what would make its accuracies say less than they seem to."""

import warnings

import numpy as np

from nas.data.images import ImageData, count_leaks
from nas.errors import NasWarning
from nas.training.class_balance import warn_of_imbalance
from nas.training.recipe import Recipe

__all__ = ["warn_about_images"]


def warn_about_images(images: ImageData, recipe: Recipe) -> None:
    """Warns with a `NasWarning` of images in two splits, and of rare classes that nothing takes into account."""
    if leaks := count_leaks(images):
        judged = len(images.validation.labels) + len(images.test.labels)
        listed = f"; nas data {images.source} lists them" if images.source != "arrays" else ""
        warnings.warn(
            f"{images.source}: {leaks:,} of the {judged:,} validation and test images are copies of training images, "
            f"which flatters every network{listed}",
            NasWarning,
            stacklevel=2,
        )
    warn_of_imbalance(recipe, images.classes, np.bincount(images.train.labels).tolist())
