"""Lists images that are stored as arrays: IDX files, as MNIST and its kin have them, and NumPy's `.npz`."""

import gzip
import hashlib
import io
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nas.data.images import Images
from nas.data.listing import SPLIT_NAMES, Encoded, Listing, stamp
from nas.errors import DataError

__all__ = ["idx_files", "list_idx", "list_npz"]

IDX_IMAGES, IDX_LABELS = "images-idx3-ubyte", "labels-idx1-ubyte"
IDX_SPLITS = {**SPLIT_NAMES, "t10k": "test"}
UNSIGNED_BYTES = 8
NPZ_NAMES = {
    "train": (("x_train", "y_train"), ("train_images", "train_labels"), ("images", "labels"), ("x", "y")),
    "validation": (("x_val", "y_val"), ("val_images", "val_labels")),
    "test": (("x_test", "y_test"), ("test_images", "test_labels")),
}
"""Names of the images and labels of each split in an `.npz` file: those of Keras, of MedMNIST, and plain ones."""


def idx_files(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Returns the image and label files of each split in a folder, such as `train-images-idx3-ubyte.gz`."""
    found = {}
    for images in sorted(folder.glob(f"*{IDX_IMAGES}*")):
        split = IDX_SPLITS.get(images.name.partition("-")[0].lower())
        labels = images.with_name(images.name.replace(IDX_IMAGES, IDX_LABELS))
        if split is not None and labels.is_file():
            found[split] = (images, labels)
    return found


def list_idx(source: str, files: dict[str, tuple[Path, Path]]) -> Listing:
    """Lists the images of IDX files; the classes are numbers.

    Raises:
        DataError: a file is damaged, or there is none for training.
    """
    arrays = {split: (_idx(source, images), _idx(source, labels)) for split, (images, labels) in files.items()}
    return _listing(source, arrays, [path for pair in files.values() for path in pair])


def list_npz(source: str, path: Path) -> Listing:
    """Lists the images of an `.npz` file with arrays such as `x_train` and `y_train`; the classes are numbers.

    Raises:
        DataError: the file is damaged, or has no such arrays.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {}
            for split, names in NPZ_NAMES.items():
                pair = next((pair for pair in names if all(name in file.files for name in pair)), None)
                if pair is not None:
                    arrays[split] = (file[pair[0]], file[pair[1]])
            there = ", ".join(file.files)
    except (OSError, ValueError, EOFError, zlib.error, KeyError, MemoryError) as error:
        raise DataError(f"{source}: cannot be read: {error}") from None
    if "train" not in arrays:
        raise DataError(f"{source}: has no arrays 'x_train' and 'y_train', or 'images' and 'labels'; it has {there}")
    return _listing(source, arrays, [path])


def _idx(source: str, path: Path) -> NDArray[np.uint8]:
    """Reads an array of unsigned bytes: two zeros, the type, the number of dimensions, their sizes, the values."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{source}: {path.name} cannot be read: {error}") from None
    header = content[:4]
    if len(header) < 4 or header[:3] != bytes([0, 0, UNSIGNED_BYTES]):
        raise DataError(f"{source}: {path.name} is no IDX file of unsigned bytes")
    start = 4 + 4 * header[3]
    shape = tuple(int(size) for size in np.frombuffer(content[4:start], ">u4"))
    values = np.frombuffer(content, np.uint8, offset=min(start, len(content)))
    if len(shape) != header[3] or values.size != int(np.prod(shape, dtype=object)):
        raise DataError(f"{source}: {path.name} is damaged: its length does not fit its header")
    return values.reshape(shape)


def _listing(source: str, arrays: dict[str, tuple[NDArray[Any], NDArray[Any]]], files: list[Path]) -> Listing:
    if "train" not in arrays:
        raise DataError(f"{source}: has no files for training, only for {', '.join(arrays)}")
    splits, most = {}, 0
    for split, (images, labels) in arrays.items():
        column = labels.reshape(-1) if labels.ndim == 2 and labels.shape[1] == 1 else labels
        _check(source, split, images, column)
        most = max(most, column.shape[1] - 1 if column.ndim == 2 else int(column.max(initial=0)))
        splits[split] = Encoded(column.astype(np.int64), _pictures(split, images))
    version = hashlib.sha256("\n".join(map(stamp, files)).encode()).hexdigest()
    return Listing(tuple(map(str, range(most + 1))), splits, version)


def _check(source: str, split: str, images: NDArray[Any], labels: NDArray[Any]) -> None:
    colours = images.ndim == 3 or (images.ndim == 4 and images.shape[3] in (1, 3))
    if not colours or images.dtype != np.uint8 or 0 in images.shape[1:]:
        raise DataError(
            f"{source}: the {split} images must be uint8 of shape (N, height, width) or (N, height, width, 1 or 3); "
            f"got {images.dtype} of shape {images.shape}"
        )
    fit = labels.ndim in (1, 2) and len(labels) == len(images) and labels.dtype.kind in "iu"
    if not fit or labels.min(initial=0) < 0 or (labels.ndim == 2 and labels.max(initial=0) > 1):
        raise DataError(
            f"{source}: the {split} labels must be whole numbers from 0 of shape ({len(images)},), or 0 and 1 of shape "
            f"({len(images)}, classes); got {labels.dtype} of shape {labels.shape}"
        )


def _pictures(split: str, images: Images) -> Callable[[], Iterator[tuple[str, bytes | Path]]]:
    """Encodes the images without loss, as all sources give encoded ones."""

    def pictures() -> Iterator[tuple[str, bytes | Path]]:
        for number, image in enumerate(images):
            content = io.BytesIO()
            plain = image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image
            Image.fromarray(np.ascontiguousarray(plain)).save(content, "BMP")
            yield f"{split} image {number}", content.getvalue()

    return pictures
