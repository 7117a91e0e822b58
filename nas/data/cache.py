"""Caches decoded images in the user's cache folder: written atomically, memory-mapped, shared between processes."""

import hashlib
import json
import mmap
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from nas.data.images import (
    ImageData,
    Images,
    MappedImages,
    Normalization,
    Split,
    chunks,
    digest,
)
from nas.errors import DataError
from nas.system.files import cache_folder, publish, why

__all__ = [
    "CACHE_VERSION",
    "SHARED_SPLITS",
    "cache_unusable",
    "open_shared",
    "save_images",
    "save_shared",
    "write_header",
    "written_whole",
]

CACHE_VERSION = 3
SHARED_SPLITS = ("train", "validation", "test")


def save_shared(data: ImageData) -> Path:
    """Writes images where every local process can memory-map them, and returns the folder for `open_shared`.

    The same images give the same folder. Images already mapped from the cache are not written again.

    Raises:
        DataError: the cache folder cannot be used.
    """
    splits = {name: getattr(data, name) for name in SHARED_SPLITS}
    maps = {name: str(file) for name, split in splits.items() if (file := _cached_map(split.images))}
    about = {
        "source": data.source,
        "classes": data.classes,
        "skipped": data.skipped,
        "original_side": data.original_side,
        "validation_share": data.validation_share,
        "resize": data.resize,
        "folds": data.folds,
        "fingerprint": data.fingerprint,
        "normalization": data.normalization,
        "maps": maps,
    }
    shapes = [split.images.shape for split in splits.values()]
    identity = json.dumps([CACHE_VERSION, "shared", about, shapes, digest(splits.values())])
    folder = cache_folder() / hashlib.sha256(identity.encode()).hexdigest()[:24]
    try:
        if not folder.is_dir():
            with written_whole(folder) as partial:
                for name, split in splits.items():
                    np.save(partial / f"{name}.labels.npy", split.labels)
                    if name not in maps:
                        save_images(partial / f"{name}.images.npy", split.images)
                    elif isinstance(split.images, MappedImages):
                        np.save(partial / f"{name}.rows.npy", split.images.rows)
                (partial / "about.json").write_text(json.dumps(about))
    except OSError as error:
        raise DataError(f"{data.source}: {cache_unusable(folder, error)}") from None
    return folder


def open_shared(folder: Path) -> ImageData:
    """Returns the images that `save_shared` wrote, memory-mapped; fingerprint and normalization are not recomputed.

    Raises:
        DataError: the images are missing or incomplete.
    """
    try:
        about = json.loads((folder / "about.json").read_text())
        train, validation, test = (_open_split(folder, name, about["maps"].get(name)) for name in SHARED_SPLITS)
        classes, skipped = tuple(about["classes"]), tuple(about["skipped"])
        rest = skipped, about["original_side"], about["validation_share"], about["resize"], tuple(about["folds"])
        data = ImageData(about["source"], classes, train, validation, test, *rest)
        normalization = Normalization(*(tuple(values) for values in about["normalization"]))
    except (OSError, ValueError, EOFError, LookupError, TypeError, AttributeError) as error:
        raise DataError(f"shared images: {cache_unusable(folder, error)}") from None
    vars(data).update(fingerprint=about["fingerprint"], normalization=normalization)  # pre-fills the cached properties
    return data


def _open_split(folder: Path, name: str, file: str | None) -> Split:
    """Opens a split of a shared folder; `file` is the cache file of its images if they are not in the folder."""
    images = np.load(file or folder / f"{name}.images.npy", mmap_mode="r")
    rows = folder / f"{name}.rows.npy"
    labels = np.load(folder / f"{name}.labels.npy")
    return Split(MappedImages(images, np.load(rows)) if rows.exists() else images, labels)


def _cached_map(images: Images | MappedImages) -> Path | None:
    """Returns the cache file that is mapped in full by the images or by the array they are rows of, or None."""
    array = images.array if isinstance(images, MappedImages) else images
    if not isinstance(array, np.memmap) or not isinstance(array.base, mmap.mmap):  # a slice of a map has another base
        return None
    file = Path(str(array.filename)).resolve()
    return file if file.parent.parent == cache_folder().resolve() else None


def save_images(file: Path, images: Images | MappedImages) -> None:
    """Writes images as `np.save` does, but with only a few MiB of them in memory.

    Writing through a memory map would, on a full disk, kill the process instead of raising an error.
    """
    with file.open("wb") as opened:
        write_header(opened, images.shape)
        for part in chunks(images):
            opened.write(part.data)


def write_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    """Writes the `.npy` header of a uint8 array; its length does not depend on the number of rows."""
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})


def cache_unusable(folder: Path, error: Exception) -> str:
    """Returns the message for a cache folder that cannot be read or written."""
    reason = why(error) if isinstance(error, OSError) else error
    return f"the cache folder {folder} cannot be used ({reason}); set XDG_CACHE_HOME"


@contextmanager
def written_whole(folder: Path) -> Iterator[Path]:
    """Yields a temporary folder that is renamed to `folder` on success, so that no cache is half-written."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        partial = Path(name) / "arrays"
        partial.mkdir()
        yield partial
        try:
            publish(partial, folder)
        except OSError:
            if not folder.is_dir():  # else another process wrote the same content first
                raise
