"""Checks of the images at the start of a search: what would make its accuracies say less than they seem to."""

import warnings

from nas.data.images import ImageData, class_counts, count_leaks
from nas.errors import NasWarning
from nas.training.class_balance import warn_of_imbalance
from nas.training.recipe import Recipe

__all__ = ["warn_about_images"]


def warn_about_images(images: ImageData, recipe: Recipe) -> None:
    """Warns with a `NasWarning` of images in two splits, and of rare classes that nothing takes into account."""
    if leaks := count_leaks(images):
        judged = len(images.validation.labels) + len(images.test.labels)
        copies = "are copies" if leaks > 1 else "is a copy"
        listed = f"; nas data {images.source} lists them" if images.source != "arrays" else ""
        warnings.warn(
            f"{images.source}: {leaks:,} of the {judged:,} validation and test images {copies} of training images, "
            f"which flatters every network{listed}",
            NasWarning,
            stacklevel=2,
        )
    if images.is_multi_label and (images.train.labels.sum(axis=1) == 1).all():
        warnings.warn(
            f"{images.source}: each image has exactly one of {len(images.classes)} labels, and is trained as one that "
            "may have any number of them; if they exclude each other, give each image a class instead",
            NasWarning,
            stacklevel=2,
        )
    if not images.is_multi_label:  # mean average precision gives all labels the same weight
        warn_of_imbalance(recipe, images.classes, class_counts(images.train.labels, len(images.classes)))
