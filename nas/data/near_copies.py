"""Finds near duplicates among thumbnails: the same photo saved, scaled or brightened again."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = ["THUMBNAIL", "near_copies"]

THUMBNAIL = 16
"""Height and width of thumbnails, in pixels."""
MOST_DIFFERENCE = 4.0
"""Mean absolute difference of two thumbnails, of 255, up to which images are near duplicates."""
FLAT = 6.0
"""Thumbnails whose grey levels deviate less than this from their mean show too little to be compared."""
MOST_FLIPPED = 6
"""Bits of 64 in which the hashes of near duplicates may differ."""
BYTES, LARGEST_BUCKET = 8, 100


def near_copies(thumbnails: NDArray[np.uint8]) -> list[list[int]]:
    """Returns groups of thumbnails (N, 16, 16) that hardly differ, by their indices; not those that show too little."""
    return _groups_of(_near(thumbnails), len(thumbnails))


def _near(thumbnails: NDArray[np.uint8]) -> Iterator[tuple[int, int]]:
    """Yields pairs of thumbnails (N, 16, 16) that hardly differ.

    Candidates have hashes that agree in two neighbouring bytes of eight, which those that differ in up to three bits
    must. The hash says where brightness rises from left to right in 8 × 8 cells ("difference hash", Krawetz 2013).
    """
    if len(thumbnails) < 2:
        return
    cells = thumbnails.reshape(-1, 8, 2, THUMBNAIL).mean(axis=2)
    left, right = cells[:, :, 0 : THUMBNAIL - 1 : 2], cells[:, :, 1:THUMBNAIL:2]
    hashes = np.packbits((right > left).reshape(len(cells), 64), axis=1)
    pixels = thumbnails.reshape(len(thumbnails), -1).astype(np.float32)
    shows = pixels.std(axis=1) >= FLAT
    known: set[tuple[int, int]] = set()
    for first in range(BYTES):
        for bucket in _buckets(hashes[:, [first, (first + 1) % BYTES]], np.flatnonzero(shows)):
            for pair in combinations(bucket[:LARGEST_BUCKET], 2):
                one, other = pair
                flipped = np.bitwise_count(hashes[one] ^ hashes[other]).sum()
                alike = flipped <= MOST_FLIPPED and np.abs(pixels[one] - pixels[other]).mean() <= MOST_DIFFERENCE
                if alike and pair not in known:
                    known.add(pair)
                    yield pair


def _buckets(keys: NDArray[np.uint8], rows: NDArray[np.intp]) -> Iterator[list[int]]:
    """Yields the rows, in ascending order, of each group of several that have the same two bytes as keys (N, 2)."""
    numbers = keys[rows].astype(np.int64) @ np.array([256, 1])
    order = np.argsort(numbers, kind="stable")
    ends = np.flatnonzero(np.diff(numbers[order], append=-1)) + 1
    for start, end in pairwise([0, *ends.tolist()]):
        if end - start > 1:
            yield rows[order[start:end]].tolist()


def _groups_of(pairs: Iterator[tuple[int, int]], number: int) -> list[list[int]]:
    """Returns the connected components of more than one member, of `number` members in all."""
    parent = list(range(number))

    def root(member: int) -> int:
        while parent[member] != member:
            parent[member] = parent[parent[member]]
            member = parent[member]
        return member

    for one, other in pairs:
        parent[root(other)] = root(one)
    sizes = Counter(map(root, range(number)))
    groups: dict[int, list[int]] = defaultdict(list)
    for member in range(number):
        if sizes[root(member)] > 1:
            groups[root(member)].append(member)
    return list(groups.values())
