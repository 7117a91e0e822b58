"""Listings: the encoded images of a source by split, with their labels, before anything is decoded."""

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nas.data.images import Labels
from nas.errors import DataError, visible
from nas.validation import LARGEST, shown

__all__ = ["SPLIT_NAMES", "Encoded", "Listing", "class_names", "encoded_labels", "stamp"]

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
LONGEST_CLASS = 255


class Encoded(NamedTuple):
    """The undecoded images of one split: labels as in `Split`, and N pairs of a name and either bytes or a path.

    Where there is no readable image, the bytes are empty and the name ends with the reason. `groups` names the group of
    each image; None: they are not grouped.
    """

    labels: Labels
    images: Callable[[], Iterator[tuple[str, bytes | Path]]]
    groups: tuple[str, ...] | None = None


class Listing(NamedTuple):
    """The images of a source by split (train, validation, test).

    `version` changes with the source's content. `others` counts the files of a folder that are left out, by suffix.
    """

    classes: tuple[str, ...]
    splits: dict[str, Encoded]
    version: str
    others: Callable[[], Mapping[str, int]] = dict


def class_names(source: str, names: Sequence[str]) -> tuple[str, ...]:
    """Returns the class names in displayable form, each on one line and unique.

    Raises:
        DataError: there are too many classes, a name is too long, or two are equal.
    """
    if len(names) > LARGEST:
        raise DataError(f"{source}: has {len(names)} classes; at most {LARGEST} are allowed")
    fit = [visible(name) for name in names]
    if long := [name for name in fit if len(name) > LONGEST_CLASS]:
        raise DataError(f"{source}: class {shown(long[0])} has more than {LONGEST_CLASS} characters")
    if len(set(fit)) < len(fit):
        alike = next(name for position, name in enumerate(fit) if name in fit[:position])
        raise DataError(f"{source}: two classes are called {shown(alike)}")
    return tuple(fit)


def encoded_labels(sets: Sequence[Collection[int]], classes: int, *, multi_label: bool) -> Labels:
    """Returns labels as in `Split`.

    Args:
        sets: the class indices of each image; exactly one unless `multi_label`.
        classes: the number of classes.
        multi_label: whether an image may have any number of labels.
    """
    if not multi_label:
        return np.array([only for (only,) in sets], dtype=np.int64)
    found = np.zeros((len(sets), classes), dtype=np.int64)
    for row, labels in zip(found, sets, strict=True):
        row[list(labels)] = 1
    return found


def stamp(file: Path) -> str:
    """Returns a text that changes when a file does, even if its size and time are set back, and is its own.

    It is the same however the file's path is spelled.
    """
    status = file.stat() if file.is_file() else file.lstat()
    place = f"{_real(str(file.parent.absolute()))}{os.sep}{file.name}"
    return f"{place} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"


@lru_cache(maxsize=4096)
def _real(folder: str) -> str:
    """Returns a folder's path without links and dots: once for all of its files, as each part of it is looked up."""
    return os.path.realpath(folder)
