"""Reports on a source of images: classes, sizes, colours, unreadable files, duplicates, leaks between splits.

Every image is decoded once, to a thumbnail. Two images are duplicates if their files are the same, and near duplicates
if their thumbnails hardly differ: the same photo saved or scaled again.
"""

import hashlib
import io
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from nas.architectures.architecture import Sides, sides_text
from nas.data.formats import HEIC_HELP, HEIC_SUFFIXES, image_formats
from nas.data.images import RARE, label_sets
from nas.data.inspection import SAME_SHAPE, suitable_sides
from nas.data.loading import (
    DECODED_AT_ONCE,
    MOST_PIXELS,
    is_grey,
    load_digits_images,
    names_of,
    on_white,
    upright_sides,
)
from nas.data.near_copies import THUMBNAIL, near_copies
from nas.data.sources import list_source
from nas.errors import visible
from nas.units import counted

__all__ = ["Copies", "DataReport", "report_on"]

SPLITS = ("train", "validation", "test")
OFTEN_OBLONG = 0.1
"""From this share of images that are not square on, what cropping loses is worth a word."""


class Copies(NamedTuple):
    """Images that are copies of each other: their names, each with its split and its classes as one text."""

    names: tuple[str, ...]
    splits: tuple[str, ...]
    classes: tuple[str, ...]
    exact: bool

    @property
    def is_leak(self) -> bool:
        """Whether they stand in more than one split of the source."""
        return len(set(self.splits)) > 1

    @property
    def is_contradictory(self) -> bool:
        """Whether they are in different classes."""
        return len(set(self.classes)) > 1


@dataclass(frozen=True)
class DataReport:
    """What a source holds.

    Attributes:
        source: the source.
        classes: the class names.
        multi_label: whether an image may have any number of labels.
        images: the number of readable images.
        counts: the number of them of each class, by the source's splits.
        sides: the smallest, median and largest of the images' shorter sides, in pixels.
        grey: the share of grey images, in [0, 1].
        oblong: the share of images that are not square.
        suits: the height and width at which a search takes them.
        unreadable: names of the images that cannot be read.
        copies: groups of duplicates and near duplicates, the exact ones first.
        others: the number of files in the folders of classes that are taken for no images, by suffix.
        nested: the names of a class's subfolders, for classes of a folder all of whose images lie in some.
    """

    source: str
    classes: tuple[str, ...]
    multi_label: bool
    images: int
    counts: dict[str, tuple[int, ...]]
    sides: tuple[int, int, int]
    grey: float
    oblong: float
    suits: Sides
    unreadable: tuple[str, ...]
    copies: tuple[Copies, ...]
    others: dict[str, int]
    nested: dict[str, tuple[str, ...]]

    @property
    def imbalance(self) -> float:
        """How many times as many training images the most frequent class has as the rarest."""
        return max(self.counts["train"]) / max(1, min(self.counts["train"]))

    @property
    def leaks(self) -> list[Copies]:
        """Copies in more than one split of the source, which flatter every accuracy."""
        return [group for group in self.copies if group.is_leak]

    @property
    def contradictions(self) -> list[Copies]:
        """Copies in different classes."""
        return [group for group in self.copies if group.is_contradictory]

    def advice(self) -> list[str]:
        """Returns sentences on what is wrong with the images, and what to choose for a search."""
        found = [*self._obstacles()]
        if self.others:
            kinds = ", ".join(
                f"{number:,} {kind or 'without a suffix'}" for kind, number in sorted(self.others.items())
            )
            found.append(f"Left out, as files of other kinds: {kinds}. If these are photos, save them as JPEG or PNG.")
            if not HEIC_SUFFIXES.isdisjoint(self.others):
                found.append(f"{HEIC_HELP}.")
        if self.unreadable:
            named = names_of(self.unreadable)
            found.append(f"{len(self.unreadable):,} cannot be read: {named}. --skip-bad-images leaves them out.")
        if self.leaks:
            found.append(
                f"Copies stand in more than one split ({counted(len(self.leaks), 'group')}): networks are tested on "
                "images that they were trained on, which flatters them. Remove the copies."
            )
        elif self.copies and len(self.counts) == 1:
            extra = sum(len(group.names) - 1 for group in self.copies)
            found.append(
                f"There are copies of other images ({extra:,}). A random split would put copies of one image on both "
                "sides, which flatters every network. Remove the copies, or make the splits yourself: train/CLASS, "
                "test/CLASS."
            )
        if self.contradictions:
            found.append(
                f"Copies have different labels ({counted(len(self.contradictions), 'group')}): some of them are wrong."
            )
        if self.imbalance >= RARE:
            metric = "" if self.multi_label else "--metric balanced_accuracy "
            found.append(
                f"The most frequent class has {self.imbalance:.0f} times as many training images as the rarest: "
                f"{metric}--class-weights balanced gives all classes the same weight."
            )
        channels = "grey" if self.grey == 1 else "colour"
        is_square = self.suits[0] == self.suits[1]
        cut = "cropped to squares" if is_square else "in their own proportions"
        found.append(f"A search takes them in {channels} with {sides_text(self.suits)} pixels, {cut}.")
        if is_square and self.oblong >= OFTEN_OBLONG:
            found.append(
                f"{self.oblong:.0%} of them are not square: --resize letterbox keeps what cropping cuts off, in grey "
                "strips; --resize stretch keeps it too, but not the proportions."
            )
        return found

    def _obstacles(self) -> Iterator[str]:
        """Yields what keeps a search from using the images, or has it see other classes than were meant."""
        if len(self.classes) < 2:
            yield "A classifier needs at least 2 classes: the images of each in a folder of its own, CLASS/*.jpg."
        needed = len(SPLITS) - (len(self.counts) - 1)
        rare = [name for name, number in zip(self.classes, self.counts["train"], strict=True) if number < needed]
        if rare:
            yield (
                f"Too few images to search, as a class needs at least {needed}, one for each split that is still to be "
                f"made: {names_of(rare)}."
            )
        if self.nested:
            name, folders = next(iter(self.nested.items()))
            inner = f"{names_of(folders)} within it {'are' if len(folders) > 1 else 'is'}"
            yield (
                f"The classes are the outermost folders: '{name}' is a class, and {inner} not. If they should be, name "
                f"{Path(self.source) / name} instead, or put the images of each class into one folder."
            )

    def to_dict(self) -> dict[str, Any]:
        """Returns the form that `--json` prints."""
        return {
            **asdict(self),
            "copies": [
                {**group._asdict(), "leak": group.is_leak, "contradictory": group.is_contradictory}
                for group in self.copies
            ],
        }


class _Seen(NamedTuple):
    """One image: its name, split and class indices; None in place of `look` if it cannot be read."""

    name: str
    split: str
    labels: tuple[int, ...]
    look: "_Look | None"


class _Look(NamedTuple):
    digest: bytes
    sides: tuple[int, int]
    is_grey: bool
    thumbnail: NDArray[np.uint8]


def report_on(source: str) -> DataReport:
    """Looks at every image of a source.

    Args:
        source: `digits`, or a source of image files as in `nas.load_data`.

    Raises:
        DataError: the source cannot be used.
        MissingExtra: the extra `data`, which parquet and tar files and hub names need, is not installed.
    """
    classes, multi_label, seen, others = _digits() if source == "digits" else _files(source)
    good = [(one, one.look) for one in seen if one.look is not None]
    there = {one.split for one in seen}
    counts = {split: [0] * len(classes) for split in SPLITS if split in there}
    for one, _ in good:
        for label in one.labels:
            counts[one.split][label] += 1
    sides = sorted(min(look.sides) for _, look in good) or [0]
    return DataReport(
        source=source,
        classes=classes,
        multi_label=multi_label,
        images=len(good),
        counts={split: tuple(found) for split, found in counts.items()},
        sides=(sides[0], sides[len(sides) // 2], sides[-1]),
        grey=sum(look.is_grey for _, look in good) / max(1, len(good)),
        oblong=sum(max(look.sides) > SAME_SHAPE * min(look.sides) for _, look in good) / max(1, len(good)),
        suits=suitable_sides([look.sides for _, look in good] or [(1, 1)]),
        unreadable=tuple(one.name for one in seen if one.look is None),
        copies=tuple(_copies([one for one, _ in good], [look for _, look in good], classes)),
        others=others,
        nested=_nested(source, classes, seen),
    )


def _files(source: str) -> tuple[tuple[str, ...], bool, list[_Seen], dict[str, int]]:
    listing = list_source(source)
    seen = []
    with ThreadPoolExecutor() as pool:  # decoders release the GIL
        for split, encoded in listing.splits.items():
            images, labels = encoded.images(), iter(label_sets(encoded.labels))
            while batch := list(islice(images, DECODED_AT_ONCE)):
                looks = pool.map(_look, (content for _, content in batch))
                seen += [
                    _Seen(visible(name), split, own, look)
                    for (name, _), own, look in zip(batch, islice(labels, len(batch)), looks, strict=True)
                ]
    return listing.classes, listing.splits["train"].labels.ndim == 2, seen, dict(listing.others())


def _digits() -> tuple[tuple[str, ...], bool, list[_Seen], dict[str, int]]:
    raw = load_digits_images()
    seen = [
        _Seen(f"image {number}", "train", labels, _Look(_sha(image.tobytes()), (8, 8), True, _thumbnail(image)))
        for number, (image, labels) in enumerate(zip(raw.train.images[:], label_sets(raw.train.labels), strict=True))
    ]
    return raw.classes, False, seen, {}


def _nested(source: str, classes: Sequence[str], seen: Sequence[_Seen]) -> dict[str, tuple[str, ...]]:
    """Returns the subfolders of each class of an image folder whose images all lie in some."""
    folders: dict[str, set[str]] = {name: set() for name in classes}
    if not seen or not (Path(source) / seen[0].name).is_file():  # names of others are no paths
        return {}
    for one in seen:
        parts = Path(one.name).parts
        if len(one.labels) != 1 or classes[one.labels[0]] not in parts[:-1]:
            return {}
        name = classes[one.labels[0]]
        below = parts[parts.index(name) + 1 : -1]
        folders[name].add(below[0] if below else "")
    return {name: tuple(sorted(found)) for name, found in folders.items() if found and "" not in found}


def _thumbnail(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(image[..., 0]).resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX))


def _look(content: bytes | Path) -> _Look | None:
    """Returns what an image is like; None if it cannot be read."""
    try:
        read = content if isinstance(content, bytes) else content.read_bytes()
        with Image.open(io.BytesIO(read), formats=image_formats()) as opened:
            sides = upright_sides(opened)
            if sides[0] * sides[1] > MOST_PIXELS:
                return None
            opened.draft(None, (4 * THUMBNAIL, 4 * THUMBNAIL))
            whole = on_white(ImageOps.exif_transpose(opened))
            small = whole.convert("L").resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
            return _Look(_sha(read), sides, is_grey(whole), np.asarray(small))
    except Exception:  # on damaged files decoders raise more than their own errors
        return None


def _sha(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def _copies(seen: Sequence[_Seen], looks: Sequence[_Look], classes: Sequence[str]) -> Iterator[Copies]:
    """Yields groups of duplicates, then groups of near duplicates."""
    same: dict[bytes, list[int]] = defaultdict(list)
    for index, look in enumerate(looks):
        same[look.digest].append(index)
    groups = [(group, True) for group in same.values() if len(group) > 1]
    firsts = [group[0] for group in same.values()]
    alike = near_copies(np.array([looks[index].thumbnail for index in firsts]))
    groups += [([firsts[place] for place in group], False) for group in alike]
    for group, exact in groups:
        yield Copies(
            tuple(seen[index].name for index in group),
            tuple(seen[index].split for index in group),
            tuple(", ".join(classes[label] for label in seen[index].labels) or "no label" for index in group),
            exact,
        )
