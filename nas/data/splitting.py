"""Splits images into training, validation and test: stratified by class, and never through a group of images.

An image with several labels counts as one of its rarest, so that rare labels are shared out first, as in iterative
stratification (Sechidis et al., ECML PKDD 2011).

A group is a set of images that belong together, such as those of one patient or one camera: a network that is judged on
images of a patient whom it has seen in training looks better than it is.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.data.images import ImageData, Images, Labels, MappedImages, RawImages, Split, class_counts, refuse_one_class
from nas.errors import DataError, InvalidValue
from nas.validation import integer, real, shown

__all__ = ["HELD_OUT", "MOST_FOLDS", "MOST_VALIDATION", "split_images"]

HELD_OUT = 0.2
"""The share of each class held out for the test set if the source has none, and again for validation."""
MOST_VALIDATION = 5000
"""By default no more images are held out for validation.

At 90 % accuracy their standard error is 0.4 points, about what two seeds of one network differ by: with still more
images it is no longer they that hide which network is better, and each of them is worth more as a training image.
"""
MOST_PARTS = 10
"""Groups are held out as some of at most this many equal parts; for a smaller share, as one smaller part."""
MOST_FOLDS = 20

Rows = NDArray[np.intp]


def split_images(
    raw: RawImages,
    *,
    seed: int,
    max_images: int | None = None,
    validation: float | None = None,
    folds: int | None = None,
) -> ImageData:
    """Creates the splits that the source lacks, stratified by class and reproducible by `seed`.

    Splits of a memory map are `MappedImages`, which read nothing into memory.

    Args:
        raw: the images of a source. If they are grouped, a group is held out as a whole, and the shares of the classes
            are only about as asked.
        seed: seeds the random splits.
        max_images: approximate limit on training plus validation images, kept stratified; the test set stays whole.
        validation: what to hold out for validation if the source has no validation set: below 1 the share of each
            class, else the approximate number of images. None: a fifth, at most `MOST_VALIDATION` images.
        folds: the number of folds for a cross-validation, in place of one validation set.

    Raises:
        DataError: fewer than two classes, an empty class, too few images or groups to split, or a group that stands in
            two splits of the source.
        InvalidValue: `max_images`, `validation` or `folds` is out of range, or the last two are both given.
    """
    _check_folds(raw, folds, validation)
    _check_classes(raw)
    if raw.groups is not None:
        _check_groups(raw.source, raw.groups)
    if max_images is not None:
        integer(max_images, "max_images", maximum=10**12)
    rng = np.random.default_rng(seed)
    rows, test, held_out = np.arange(len(raw.train.labels)), raw.test, raw.validation
    if test is None:
        rows, held = _hold_out(raw, rows, rng)
        test = _take(raw.train, held)
    if max_images is not None:
        part = min(1.0, max_images / (len(rows) + (len(held_out.labels) if held_out else 0)))
        rows = rows[_part(_strata(raw.train.labels[rows]), part, rng)]
        held_out = _take(held_out, _part(_strata(held_out.labels), part, rng)) if held_out else None
    share = None
    if folds is not None:
        parts = _folds(raw, rows, rng, folds)
        train, held_out = _take(raw.train, np.concatenate(parts[1:])), _take(raw.train, parts[0])
        sizes = tuple(map(len, parts))
        rest = raw.skipped, raw.original_side, 1 / folds, raw.resize, sizes
        return ImageData(raw.source, raw.classes, train, held_out, test, *rest)
    if held_out is None:
        share = _validation_share(validation, len(rows))
        rows, held = _hold_out(raw, rows, rng, share)
        held_out = _take(raw.train, held)
    train = raw.train if len(rows) == len(raw.train.labels) else _take(raw.train, rows)
    if max_images is not None and 0 in (left := class_counts(train.labels, len(raw.classes))):
        raise DataError(f"max_images={max_images}: leaves no training image of '{raw.classes[left.index(0)]}'")
    return ImageData(raw.source, raw.classes, train, held_out, test, raw.skipped, raw.original_side, share, raw.resize)


def _check_classes(raw: RawImages) -> None:
    if len(raw.train.labels) == 0:
        raise DataError(f"{raw.source}: holds no images")
    refuse_one_class(raw.source, raw.classes)
    if len(raw.train.labels) < len(raw.classes):
        raise DataError(f"{raw.source}: has fewer images ({len(raw.train.labels)}) than classes ({len(raw.classes)})")
    columns = (len(raw.classes),) if raw.train.labels.ndim == 2 else ()
    for part, split in (("training", raw.train), ("validation", raw.validation), ("test", raw.test)):
        if split is None:
            continue
        if split.labels.shape[1:] != columns:
            raise DataError(f"{raw.source}: its splits have labels of different shapes; each needs the same columns")
        counts = class_counts(split.labels, len(raw.classes))
        if len(counts) > len(raw.classes):
            raise DataError(
                f"{raw.source}: a {part} label is {len(counts) - 1}, but there are {len(raw.classes)} classes"
            )
        if 0 in counts:
            raise DataError(f"{raw.source}: class '{raw.classes[counts.index(0)]}' has no {part} images")


def _check_groups(source: str, groups: Mapping[str, Sequence[str]]) -> None:
    for one, other in combinations(groups, 2):
        if shared := sorted(set(groups[one]) & set(groups[other])):
            more = f" (and {len(shared) - 1} more)" if len(shared) > 1 else ""
            raise DataError(
                f"{source}: the group {shown(shared[0])}{more} has images in {one} and in {other}; "
                "move them into one of the two, or leave out --group-by"
            )


def _validation_share(asked: float | None, images: int) -> float:
    """Returns the share of some images to hold out for validation: as asked, a share or a number, or by default."""
    if asked is None:
        return min(HELD_OUT, MOST_VALIDATION / images)
    asked = real(asked, "validation", minimum=1e-6, maximum=max(images - 1, 1))
    if asked >= 1 and (asked == 1 or asked != round(asked)):
        raise InvalidValue(f"validation={asked:g}: must be a share below 1, or a whole number of images from 2 on")
    return asked if asked < 1 else asked / images


def _check_folds(raw: RawImages, folds: int | None, validation: float | None) -> None:
    if folds is None:
        return
    integer(folds, "folds", minimum=2, maximum=MOST_FOLDS)
    if validation is not None:
        raise InvalidValue(f"folds={folds}: each image is held out once; leave validation={validation:g} out")
    if raw.validation is not None:
        raise DataError(f"folds={folds}: {raw.source} has a validation set of its own; leave this out")


def _folds(raw: RawImages, rows: Rows, rng: np.random.Generator, folds: int) -> list[Rows]:
    """Divides training images into folds of about equal size, with about the same share of each class in each."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    labels = raw.train.labels[rows]
    groups = np.array(raw.groups["train"])[rows] if raw.groups is not None else None
    counts, unit = class_counts(labels, len(raw.classes)), "images"
    if groups is not None:
        has = labels.T == 1 if labels.ndim == 2 else labels == np.arange(len(raw.classes))[:, None]
        counts, unit = [len(np.unique(groups[images])) for images in has], "groups"
    fewest = int(np.argmin(counts))
    if counts[fewest] < folds:
        raise InvalidValue(
            f"folds={folds}: class '{raw.classes[fewest]}' has {counts[fewest]} {unit} to train on and validate with, "
            "and each fold needs one"
        )
    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    splitter, strata = kind(folds, shuffle=True, random_state=int(rng.integers(2**31))), _strata(labels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that some set of labels has fewer images than there are folds
        found = [rows[held] for _, held in splitter.split(strata, strata, groups)]
    for held in found:
        if 0 in (left := class_counts(raw.train.labels[np.setdiff1d(rows, held)], len(raw.classes))):
            name = raw.classes[left.index(0)]
            raise DataError(f"folds={folds}: all {unit} of class '{name}' are in one fold; fewer folds, or more {unit}")
    return found


def _hold_out(raw: RawImages, rows: Rows, rng: np.random.Generator, share: float = HELD_OUT) -> tuple[Rows, Rows]:
    """Holds out a share of every class of some training images; returns the rows of the rest, and those held out."""
    if raw.groups is not None:
        return _hold_out_groups(raw, rows, rng, share)
    if raw.train.labels.ndim == 2:
        return _hold_out_of_strata(raw, rows, rng, share)
    rest, held = [], []
    for label, members in enumerate(_members(raw.train.labels[rows], rng)):
        count = max(1, round(share * len(members)))
        if count >= len(members) and len(members) > 1:
            raise InvalidValue(
                f"validation: with {share:.3g} of each class held out, none of the {len(members)} images of class "
                f"'{raw.classes[label]}' would be left to train on"
            )
        if count >= len(members):
            raise DataError(
                f"{raw.source}: class '{raw.classes[label]}' has too few images to split; "
                f"at least {_splits_to_make(raw)} are needed, one for each of training, validation and test"
            )
        held.append(members[:count])
        rest.append(members[count:])
    return rows[np.sort(np.concatenate(rest))], rows[np.sort(np.concatenate(held))]


def _hold_out_of_strata(raw: RawImages, rows: Rows, rng: np.random.Generator, share: float) -> tuple[Rows, Rows]:
    """Holds out a share of the images with several labels, such that every label is on both sides."""
    labels = raw.train.labels[rows]
    members = _members(_strata(labels), rng)
    counts = [min(max(1, round(share * len(part))), len(part) - 1) if len(part) else 0 for part in members]
    held = np.sort(np.concatenate([part[:count] for part, count in zip(members, counts, strict=True)]))
    rest = np.setdiff1d(np.arange(len(rows)), held)
    for part in (rest, held):
        if 0 in (found := class_counts(labels[part], len(raw.classes))):
            raise DataError(
                f"{raw.source}: label '{raw.classes[found.index(0)]}' has too few images to split; a label needs some "
                "for each of training, validation and test"
            )
    return rows[rest], rows[held]


def _hold_out_groups(raw: RawImages, rows: Rows, rng: np.random.Generator, share: float) -> tuple[Rows, Rows]:
    """Holds out whole groups, about as many images as asked, such that every class has images on both sides."""
    assert raw.groups is not None
    labels, groups = raw.train.labels[rows], np.array(raw.groups["train"])[rows]
    seed, (held_folds, folds) = int(rng.integers(2**31)), _as_folds(share)
    while folds >= 2:
        for held in _runs_of_folds(_strata(labels), groups, folds=folds, number=held_folds, seed=seed):
            rest = np.setdiff1d(np.arange(len(rows)), held)
            if all(0 not in class_counts(labels[part], len(raw.classes)) for part in (rest, held)):
                return rows[rest], rows[held]
        held_folds, folds = max(1, held_folds // 2), folds // 2  # so few images were asked for that classes are missing
    has = labels.T == 1 if labels.ndim == 2 else labels == np.arange(len(raw.classes))[:, None]
    counts = [len(np.unique(groups[images])) for images in has]
    fewest = int(np.argmin(counts))
    raise DataError(
        f"{raw.source}: its groups cannot be split such that each class is on both sides; class "
        f"'{raw.classes[fewest]}' has images of {counts[fewest]} group{'s' * (counts[fewest] != 1)}, and at least "
        f"{_splits_to_make(raw)} are needed, one for each of training, validation and test"
    )


def _as_folds(share: float) -> tuple[int, int]:
    """Returns how many of how many folds are about this share."""
    if share < 1 / MOST_PARTS:
        return 1, round(1 / share)
    held, folds = Fraction(share).limit_denominator(MOST_PARTS).as_integer_ratio()
    return (held, folds) if folds > 1 else (MOST_PARTS - 1, MOST_PARTS)


def _runs_of_folds(strata: Labels, groups: NDArray[Any], *, folds: int, number: int, seed: int) -> Iterator[Rows]:
    """Yields the images of each `number` consecutive folds; none if there are fewer images of a class than folds."""
    from sklearn.model_selection import StratifiedGroupKFold

    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a class has fewer images than there are folds
        try:
            parts = [held for _, held in splitter.split(strata, strata, groups)]
        except ValueError:
            return
    for first in range(folds):
        yield np.sort(np.concatenate([parts[(first + each) % folds] for each in range(number)]))


def _splits_to_make(raw: RawImages) -> int:
    return 3 - (raw.test is not None) - (raw.validation is not None)


def _strata(labels: Labels) -> Labels:
    """Returns the class of each image; of one with several labels the rarest, and a further one if it has none."""
    if labels.ndim == 1:
        return labels
    counts = np.where(labels > 0, labels.sum(axis=0), len(labels) + 1)
    strata: Labels = np.where(labels.any(axis=1), counts.argmin(axis=1), labels.shape[1]).astype(np.int64)
    return strata


def _part(labels: Labels, share: float, rng: np.random.Generator) -> Rows:
    """Returns about this share of every class, at least two images if it has two."""
    return np.sort(np.concatenate([part[: max(2, round(share * len(part)))] for part in _members(labels, rng)]))


def _members(labels: Labels, rng: np.random.Generator) -> list[Rows]:
    """Returns the indices of each class in random order."""
    return [rng.permutation(np.flatnonzero(labels == label)) for label in range(int(labels.max()) + 1)]


def _take(split: Split, rows: Rows) -> Split:
    images: Images | MappedImages = split.images
    if isinstance(images, MappedImages):
        return Split(MappedImages(images.array, images.rows[rows]), split.labels[rows])
    return Split(MappedImages(images, rows) if isinstance(images, np.memmap) else images[rows], split.labels[rows])
