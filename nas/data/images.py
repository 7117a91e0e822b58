"""Defines `ImageData`: images and labels as NumPy arrays, in splits for training, validation and test."""

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nas.architectures.architecture import Input
from nas.data.resizing import CROP
from nas.errors import DataError
from nas.validation import LARGEST

__all__ = [
    "RARE",
    "ImageData",
    "Images",
    "Labels",
    "MappedImages",
    "Normalization",
    "RawImages",
    "Split",
    "arrays_as_images",
    "check_input",
    "chunks",
    "class_counts",
    "count_leaks",
    "digest",
    "folds_of",
    "label_sets",
    "refuse_one_class",
    "train_on_all",
]

RARE = 10
"""A class that is this many times rarer than another is worth a word."""
CHUNK_BYTES = 2**22

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class MappedImages:
    """Selected rows of a memory-mapped array, (N, size, size, channels) uint8, read on access.

    Indexing with a slice, indices or a mask returns an array in memory.
    """

    array: Images
    rows: NDArray[np.intp]

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, size, size, channels)."""
        return (len(self.rows), *self.array.shape[1:])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: slice | NDArray[Any]) -> Images:
        return self.array[self.rows[rows]]


class Split(NamedTuple):
    """Images (N, size, size, channels) uint8 and int64 labels.

    Labels are (N,) in [0, classes), or (N, classes) of 0 and 1 where an image may have any number of them.
    """

    images: Images | MappedImages
    labels: Labels


class Normalization(NamedTuple):
    """Per-channel mean and standard deviation of images whose values are scaled to [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


class RawImages(NamedTuple):
    """The images of a source before splitting; `validation` and `test` are None unless the source has them.

    `skipped` names the images that could not be read; `original_side` is the median of the shorter sides of the others,
    in pixels, before they were scaled. `groups` names for each split the group of each image, if images were grouped.
    `resize` says how they were made to fit.
    """

    source: str
    classes: tuple[str, ...]
    train: Split
    validation: Split | None = None
    test: Split | None = None
    skipped: tuple[str, ...] = ()
    original_side: int | None = None
    groups: Mapping[str, Sequence[str]] | None = None
    resize: str = CROP


@dataclass(frozen=True)
class ImageData:
    """The three splits of a data set. A search reads `train` and `validation`; `test` is for the winners, once.

    `validation_share` is the share of each class that was held out for validation; None: the source has a validation
    set of its own. `resize` says how images were made to fit (`nas.data.resizing`).

    `folds` are the sizes of the folds of a cross-validation, in which each image but those of the test set is held out
    once (`folds_of`). `validation` is the first fold then, and `train` has the others one after the other.
    """

    source: str
    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    skipped: tuple[str, ...] = ()
    original_side: int | None = None
    validation_share: float | None = None
    resize: str = CROP
    folds: tuple[int, ...] = ()

    @property
    def judged(self) -> Split:
        """The images that a trial's accuracy is measured on: those for validation, or of all folds in their order."""
        return _joined(self.validation, self.train) if self.folds else self.validation

    @property
    def is_multi_label(self) -> bool:
        """Whether an image may have any number of labels, none included, instead of exactly one."""
        return self.train.labels.ndim == 2

    @property
    def input(self) -> Input:
        """The channels and size of every image."""
        _, height, width, channels = self.train.images.shape
        return Input(channels, height, width)

    @cached_property
    def normalization(self) -> Normalization:
        """Per-channel statistics of the training images only, computed exactly from a histogram of the 256 values.

        Integers are used up to the last division, as float sums differ in their last digits between processors.
        """
        channels = self.train.images.shape[-1]
        counts = np.zeros((channels, 256), dtype=np.int64)
        for part in chunks(self.train.images):
            counts += [np.bincount(part[..., channel].ravel(), minlength=256) for channel in range(channels)]
        means, stds = [], []
        for occurrences in counts.tolist():
            pixels = sum(occurrences)
            total = sum(value * often for value, often in enumerate(occurrences))
            squares = sum(value**2 * often for value, often in enumerate(occurrences))
            means.append(total / (255 * pixels))
            stds.append(math.sqrt(max((pixels * squares - total**2) / (255 * pixels) ** 2, 1e-6)))
        return Normalization(tuple(means), tuple(stds))

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that change with any pixel or label that a search reads, and with the splits."""
        return digest((self.train, self.validation))[:16]

    def describe(self) -> dict[str, Any]:
        """Returns the description that a study stores, and compares when it is resumed."""
        judged = self.judged
        return {
            "source": self.source,
            "classes": list(self.classes),
            "train_images": len(self.train.labels),
            "validation_images": len(judged.labels),
            "skipped_images": len(self.skipped),
            "fingerprint": self.fingerprint,
            "validation_share": self.validation_share,
            "validation_counts": class_counts(judged.labels, len(self.classes)),
            **({"multi_label": True} if self.is_multi_label else {}),
            **({"original_side": self.original_side} if self.original_side else {}),
            **({"resize": self.resize} if self.resize != CROP else {}),
            **({"folds": len(self.folds)} if self.folds else {}),
        }


def refuse_one_class(source: object, classes: Sequence[str]) -> None:
    """Refuses images of a single class.

    Raises:
        DataError: there are fewer than two.
    """
    if len(classes) < 2:
        raise DataError(f"{source}: has {len(classes)} class; a classifier needs at least 2")


def class_counts(labels: Labels, classes: int) -> list[int]:
    """Returns the number of images that have each label; their sum is that of the images if each has one."""
    counts = labels.sum(axis=0) if labels.ndim == 2 else np.bincount(labels, minlength=classes)
    found: list[int] = counts.tolist()
    return found


def label_sets(labels: Labels) -> list[tuple[int, ...]]:
    """Returns the labels of each image, in ascending order."""
    if labels.ndim == 1:
        return [(label,) for label in labels.tolist()]
    return [tuple(np.flatnonzero(row).tolist()) for row in labels]


def chunks(images: Images | MappedImages) -> Iterator[Images]:
    """Yields the images in order, a few MiB at a time, so that a pass over a memory map needs little memory."""
    step = max(1, CHUNK_BYTES // math.prod(images.shape[1:]))
    for start in range(0, len(images), step):
        yield np.ascontiguousarray(images[start : start + step])


def count_leaks(data: ImageData) -> int:
    """Returns the number of images for validation and test whose pixels are those of one that is trained on for them.

    Of data with folds, an image is for validation in its own, and trained on for the others.
    """
    folds_with: dict[bytes, set[int]] = {}
    judged = list(_digests(data.judged.images))
    fold_of = np.repeat(np.arange(len(data.folds)), data.folds).tolist() if data.folds else [0] * len(judged)
    trained_on = (
        zip(judged, fold_of, strict=True) if data.folds else ((each, -1) for each in _digests(data.train.images))
    )
    for image, fold in trained_on:
        folds_with.setdefault(image, set()).add(fold)
    leaked = sum(bool(folds_with.get(image, set()) - {fold}) for image, fold in zip(judged, fold_of, strict=True))
    return leaked + sum(image in folds_with for image in _digests(data.test.images))


def _digests(images: Images | MappedImages) -> Iterator[bytes]:
    return (hashlib.blake2b(image, digest_size=16).digest() for part in chunks(images) for image in part)


def digest(splits: Iterable[Split]) -> str:
    """Returns the hexadecimal SHA-256 of every pixel and label, in order."""
    sha = hashlib.sha256()
    for split in splits:
        for part in chunks(split.images):
            sha.update(part.data)
        sha.update(np.ascontiguousarray(split.labels).data)
    return sha.hexdigest()


def train_on_all(data: ImageData) -> ImageData:
    """Returns the data with the validation images among those to train on, and the test images in their place.

    For the training of a network that was chosen: the validation images have served their purpose.
    """
    return replace(data, train=_joined(data.train, data.validation), validation=data.test, folds=())


def folds_of(data: ImageData) -> list[ImageData]:
    """Returns the data of each fold: its images for validation, those of the other folds to train on."""
    images, labels = data.judged
    ends = np.cumsum(data.folds)
    parts = []
    for start, end in zip(ends - data.folds, ends, strict=True):
        held, rest = np.arange(start, end), np.concatenate([np.arange(start), np.arange(end, len(labels))])
        train, validation = (Split(_rows_of(images, rows), labels[rows]) for rows in (rest, held))
        parts.append(replace(data, train=train, validation=validation, folds=()))
    return parts


def _rows_of(images: Images | MappedImages, rows: NDArray[np.intp]) -> MappedImages:
    """Returns rows of images, which are copied only when they are read."""
    if isinstance(images, MappedImages):
        return MappedImages(images.array, images.rows[rows])
    return MappedImages(images, rows)


def _joined(one: Split, other: Split) -> Split:
    labels = np.concatenate([one.labels, other.labels])
    first, second = one.images, other.images
    if isinstance(first, MappedImages) and isinstance(second, MappedImages) and first.array is second.array:
        return Split(MappedImages(first.array, np.concatenate([first.rows, second.rows])), labels)
    return Split(np.concatenate([first[:], second[:]]), labels)


def arrays_as_images(images: Any, labels: Any) -> RawImages:
    """Wraps a pair of arrays as a source: images (N, H, W, C) uint8, labels as in `Split`.

    Raises:
        DataError: shapes, types or label values differ from these.
    """
    try:
        images = images if isinstance(images, np.memmap) else np.asarray(images)  # asarray would drop the memmap type
        labels = np.asarray(labels)
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError(f"data: must be a pair of arrays: {error}") from None
    if images.ndim != 4 or not all(images.shape[1:]) or images.dtype != np.uint8:
        raise DataError(
            f"images: must be uint8 of shape (N, height, width, channels); got {images.dtype} of shape {images.shape}"
        )
    if labels.ndim not in (1, 2) or len(labels) != len(images) or labels.dtype.kind not in "iub":
        raise DataError(
            f"labels: must be whole numbers of shape ({len(images)},), or 0 and 1 of shape ({len(images)}, classes); "
            f"got {labels.dtype} of shape {labels.shape}"
        )
    if labels.ndim == 2:
        if (labels.size and labels.max() > 1) or labels.min(initial=0) < 0:
            raise DataError(f"labels: of shape {labels.shape} must be 0 or 1; got {labels.min()} to {labels.max()}")
        return RawImages("arrays", tuple(map(str, range(labels.shape[1]))), Split(images, labels.astype(np.int64)))
    if len(labels) and labels.min() < 0:
        raise DataError(f"labels: must count from 0; the smallest is {labels.min()}")
    if len(labels) and labels.max() >= LARGEST:
        raise DataError(f"labels: must be below {LARGEST}; the largest is {labels.max()}")
    classes = tuple(str(label) for label in range(int(labels.max()) + 1 if len(labels) else 0))
    return RawImages("arrays", classes, Split(images, labels.astype(np.int64)))


def check_input(data: ImageData, wanted: Input) -> None:
    """Rejects data whose images do not match the input of the search space.

    Raises:
        DataError: the channels or the size differ; the message names the field.
    """
    have = data.input
    if have.channels != wanted.channels:
        raise DataError(
            f"{data.source}: its images have channels {have.channels}, but the space's input.channels is "
            f"{wanted.channels}"
        )
    if have.sides != wanted.sides:
        raise DataError(f"{data.source}: its images have size {have}, but the space's input is {wanted} pixels")
