"""Looks at a source before it is loaded: the shape of its images, and how many there are."""

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nas.architectures.architecture import Input, Sides
from nas.data.images import (
    Images,
    Labels,
    MappedImages,
    RawImages,
    Split,
    arrays_as_images,
    label_sets,
    refuse_one_class,
)
from nas.data.listing import Encoded
from nas.data.loading import Original, load_digits_images, look_at, thumbnail
from nas.data.sources import list_source
from nas.errors import DataError, visible
from nas.validation import shown

__all__ = ["SourceShape", "example_images", "image_names", "inspect_source", "suitable_sides"]

LOOKED_AT = 200
"""Number of training images that are decoded, evenly over the source."""
LARGEST_SIDE = 128
"""The shorter side to which larger images are scaled down unless a space asks for another one."""
SAME_SHAPE = 1.05
"""Largest ratio of proportions that count as the same."""
MOST_OBLONG = 4.0
"""Images that are more oblong are taken as squares."""


class SourceShape(NamedTuple):
    """The images of a source: the input they suit, their classes, and the number of training images before splits.

    With `multi_label` an image may have any number of labels, one for each class.
    """

    input: Input
    classes: int
    images: int
    multi_label: bool = False


def inspect_source(source: Any) -> SourceShape:
    """Returns the shape of a source's images, from a sample of them.

    For height and width see `suitable_sides`; the input is grey if all sampled images are.

    Args:
        source: as in `nas.load_data`.

    Raises:
        DataError: the source cannot be used, or none of its sampled images can be read.
    """
    if isinstance(source, tuple | list) and len(source) == 2:
        return _of_arrays(arrays_as_images(*source))
    if not isinstance(source, str | Path):
        raise DataError(f"data={shown(source)}: must be a name, a path, or a pair of images and labels")
    if str(source) == "digits":
        return _of_arrays(load_digits_images())
    listing = list_source(str(source))
    refuse_one_class(source, listing.classes)
    train = listing.splits["train"]
    looked = [found for found in _sampled(train) if found is not None]
    if not looked:
        raise DataError(f"{source}: none of its images can be read")
    channels = 1 if all(found.is_grey for found in looked) else 3
    shape = Input(channels, *suitable_sides([found.sides for found in looked]))
    return SourceShape(shape, len(listing.classes), len(train.labels), train.labels.ndim == 2)


def suitable_sides(sides: Sequence[Sides]) -> Sides:
    """Returns the height and width at which images of different sides are taken.

    Images that all have the same proportions keep them, within `MOST_OBLONG`; others are taken as squares. The shorter
    side is the median of the images', at most `LARGEST_SIDE`.
    """
    heights, widths = np.array(sides, dtype=float).T
    shorter = min(int(np.median(np.minimum(heights, widths))), LARGEST_SIDE)
    ratios = widths / heights
    ratio = float(np.median(ratios))
    alike = ratios.max() <= SAME_SHAPE * ratios.min()
    if not alike or not SAME_SHAPE < max(ratio, 1 / ratio) <= MOST_OBLONG:
        return shorter, shorter
    return (shorter, round(shorter * ratio)) if ratio > 1 else (round(shorter / ratio), shorter)


def example_images(source: str, *, size: int, most: int, each: int = 1) -> dict[str, list[Images]]:
    """Returns the first training images of each class, or of `most` classes evenly over all of them.

    Images that cannot be read, and photos too large to decode beside others, are left out, and classes without others.

    Args:
        source: `digits`, or a source of image files as in `nas.load_data`.
        size: side of the square images (size, size, channels).
        most: greatest number of classes.
        each: greatest number of images of a class. One that has several labels stands for one of them.

    Raises:
        DataError: the source cannot be used.
    """
    if source == "digits":
        raw = load_digits_images()
        images = raw.train.images[:]
        chosen = _first_of_classes(raw.train.labels, most, each)
        return {raw.classes[label]: [images[at] for at in places] for label, places in chosen.items()}
    listing = list_source(source)
    train = listing.splits["train"]
    chosen = _first_of_classes(train.labels, most, each)
    label_at = {at: label for label, places in chosen.items() for at in places}
    found: dict[str, list[Images]] = {listing.classes[label]: [] for label in chosen}
    for at, (_, content) in enumerate(islice(train.images(), max(label_at) + 1)):
        if at in label_at and (image := thumbnail(content, size)) is not None:
            found[listing.classes[label_at[at]]].append(image)
    return {name: images for name, images in found.items() if images}


def image_names(split: Split, source: str) -> list[str] | None:
    """Returns the name of each image of a split of `nas.load_data`, such as its path in the folder.

    The source is listed again, as only pixels are cached. None: the images are not those of files.

    Raises:
        DataError: the source cannot be used.
    """
    images = split.images
    array, rows = (images.array, images.rows) if isinstance(images, MappedImages) else (images, np.arange(len(images)))
    if not isinstance(array, np.memmap) or array.filename is None:
        return None
    cached = Path(array.filename)
    skipped = set(json.loads(cached.with_name("about.json").read_text())["skipped"])
    listed = list_source(source).splits[cached.name.partition(".")[0]].images()
    names = [name for name in (visible(name) for name, _ in listed) if name not in skipped]
    return [names[row] for row in rows.tolist()] if len(names) == len(array) else None


def _first_of_classes(labels: Labels, most: int, each: int) -> dict[int, list[int]]:
    """Returns the first `each` images of each class, or of `most` classes evenly over all, in the order of classes."""
    places: dict[int, list[int]] = {}
    for image, classes in enumerate(label_sets(labels)):
        lacking = next((label for label in classes if len(places.get(label, ())) < each), None)
        if lacking is not None:
            places.setdefault(lacking, []).append(image)
    known = sorted(places)
    chosen = np.unique(np.linspace(0, len(known) - 1, min(most, len(known))).round().astype(int))
    return {known[at]: places[known[at]] for at in chosen}


def _of_arrays(raw: RawImages) -> SourceShape:
    _, height, width, channels = raw.train.images.shape
    labels = raw.train.labels
    return SourceShape(Input(channels, height, width), len(raw.classes), len(labels), labels.ndim == 2)


def _sampled(encoded: Encoded) -> Iterator[Original | None]:
    """Looks at some images, evenly over the split."""
    step = max(1, -(-len(encoded.labels) // LOOKED_AT))
    return (look_at(content) for _, content in islice(encoded.images(), step // 2, None, step))
