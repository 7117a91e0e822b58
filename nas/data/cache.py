"""Decoded images in the user's cache folder: written whole, mapped into memory, shared between processes."""

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

__all__ = ["CACHE_VERSION", "SHARED_SPLITS", "open_shared", "save_images", "save_shared"]

CACHE_VERSION = 1
SHARED_SPLITS = ("train", "validation", "test")


def save_shared(data: ImageData) -> Path:
    """Puts images where every process of this machine can map them: the folder that `open_shared` takes.

    The folder is the same for the same images. Those that are mapped from the cache already are not written again.

    Raises:
        DataError: the cache folder cannot be used.
    """
    splits = {name: getattr(data, name) for name in SHARED_SPLITS}
    maps = {name: str(file) for name, split in splits.items() if (file := _cached_map(split.images))}
    about = {
        "source": data.source,
        "classes": data.classes,
        "skipped": data.skipped,
        "fingerprint": data.fingerprint,
        "normalization": data.normalization,
        "maps": maps,
    }
    shapes = [split.images.shape for split in splits.values()]
    identity = json.dumps([CACHE_VERSION, "shared", about, shapes, digest(splits.values())])
    folder = cache_folder() / hashlib.sha256(identity.encode()).hexdigest()[:24]
    try:
        if not folder.is_dir():
            with _written_whole(folder) as partial:
                for name, split in splits.items():
                    np.save(partial / f"{name}.labels.npy", split.labels)
                    if name not in maps:
                        save_images(partial / f"{name}.images.npy", split.images)
                    elif isinstance(split.images, MappedImages):
                        np.save(partial / f"{name}.rows.npy", split.images.rows)
                (partial / "about.json").write_text(json.dumps(about))
    except OSError as error:
        raise DataError(f"{data.source}: {_unusable(folder, error)}") from None
    return folder


def open_shared(folder: Path) -> ImageData:
    """The images that `save_shared` put there, mapped into memory; nothing is measured again.

    Raises:
        DataError: they are not there any more, or not whole.
    """
    try:
        about = json.loads((folder / "about.json").read_text())
        train, validation, test = (_open_split(folder, name, about["maps"].get(name)) for name in SHARED_SPLITS)
        classes, skipped = tuple(about["classes"]), tuple(about["skipped"])
        data = ImageData(about["source"], classes, train, validation, test, skipped=skipped)
        normalization = Normalization(*(tuple(values) for values in about["normalization"]))
    except (OSError, ValueError, EOFError, LookupError, TypeError, AttributeError) as error:
        raise DataError(f"shared images: {_unusable(folder, error)}") from None
    vars(data).update(fingerprint=about["fingerprint"], normalization=normalization)  # as if asked for before
    return data


def _open_split(folder: Path, name: str, file: str | None) -> Split:
    """A split of a shared folder, its images mapped from this file of the cache if they are not in the folder."""
    images = np.load(file or folder / f"{name}.images.npy", mmap_mode="r")
    rows = folder / f"{name}.rows.npy"
    labels = np.load(folder / f"{name}.labels.npy")
    return Split(MappedImages(images, np.load(rows)) if rows.exists() else images, labels)


def _cached_map(images: Images | MappedImages) -> Path | None:
    """The file of the cache that the images, or the array that they are rows of, are all of; None if there is none."""
    array = images.array if isinstance(images, MappedImages) else images
    if not isinstance(array, np.memmap) or not isinstance(array.base, mmap.mmap):  # a part of a map has another base
        return None
    file = Path(str(array.filename)).resolve()
    return file if file.parent.parent == cache_folder().resolve() else None


def save_images(file: Path, images: Images | MappedImages) -> None:
    """As `np.save` writes an array, with little of it in memory.

    Not through a map of the file: on a full disk that is no error, but the end of the process.
    """
    with file.open("wb") as opened:
        _write_header(opened, images.shape)
        for part in chunks(images):
            opened.write(part.data)


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    """Of an array of bytes; it takes as much room for any number of rows."""
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})


def _unusable(folder: Path, error: Exception) -> str:
    reason = why(error) if isinstance(error, OSError) else error
    return f"the cache folder {folder} cannot be used ({reason}); set XDG_CACHE_HOME"


@contextmanager
def _written_whole(folder: Path) -> Iterator[Path]:
    """A folder to write into, which is renamed to this one once whole, so that a cache is never half-written."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        partial = Path(name) / "arrays"
        partial.mkdir()
        yield partial
        try:
            publish(partial, folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster, with the same content
                raise
