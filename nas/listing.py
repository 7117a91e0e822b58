"""Where the encoded images of a source are: an image folder, parquet files or the Hugging Face hub → a Listing."""

import hashlib
import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nas.data import Labels
from nas.errors import DataError, MissingExtra
from nas.validation import shown

__all__ = ["Encoded", "Listing", "list_source"]

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
IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})


class Encoded(NamedTuple):
    """The images of one split, not yet decoded: labels (N,), and N pairs of a name and the bytes or a path."""

    labels: Labels
    images: Callable[[], Iterator[tuple[str, bytes | Path]]]


class Listing(NamedTuple):
    """A source's images by split (train, validation, test); `version` changes when the source's content does."""

    classes: tuple[str, ...]
    splits: dict[str, Encoded]
    version: str


def list_source(source: str) -> Listing:
    """Finds the images of a folder, a parquet file, a folder of parquet files or a hub name.

    Raises:
        DataError: nothing is there, or not in a form that can be read.
        MissingExtra: parquet files and hub names need the extra `data`.
    """
    path = Path(source).expanduser()
    if path.is_file():
        if path.suffix != ".parquet":
            raise DataError(f"{source}: is a file but not a .parquet one; give a folder of images or a parquet file")
        return _list_parquet(source, {"train": [path]})
    if path.is_dir():
        files = sorted(path.rglob("*.parquet"))
        return _list_parquet(source, _parquet_splits(source, path, files)) if files else _list_folder(source, path)
    looks_local = source.startswith((".", "/", "~")) or source.count("/") != 1 or Path(source).parent.is_dir()
    if looks_local:
        raise DataError(f"{source}: no such file or folder (nor 'digits', nor OWNER/NAME on the Hugging Face hub)")
    return _list_dataset(source, source)


def _list_folder(source: str, root: Path) -> Listing:
    """`CLASS/**/image`, or `SPLIT/CLASS/**/image` where a folder `train` holds folders.

    The folders are read here and not by `datasets`, which takes a file for a test image when "test" is in its name.
    """
    parts = _split_folders(source, root)
    files = {split: {folder.name: _image_files(folder) for folder in _folders(part)} for split, part in parts.items()}
    classes = tuple(sorted({name for folders in files.values() for name in folders}))
    if not classes:
        raise DataError(f"{source}: holds no class folders; expected CLASS/*.jpg or train/CLASS/*.jpg")
    splits, stamps = {}, []
    for split, folders in files.items():
        for name in classes:
            if not folders.get(name):
                where = f"in {split}/" if parts != {"train": root} else "of a known kind"
                raise DataError(f"{source}: class '{name}' has no images {where}")
        pairs = [(file, label) for label, name in enumerate(classes) for file in folders[name]]
        splits[split] = Encoded(np.array([label for _, label in pairs]), _paths(root, [file for file, _ in pairs]))
        stamps += [_stamp(file) for file, _ in pairs]
    classes = tuple(os.fsencode(name).decode("utf-8", "replace") for name in classes)  # names need not be text
    return Listing(classes, splits, hashlib.sha256(os.fsencode("\n".join(stamps))).hexdigest())


def _split_folders(source: str, root: Path) -> dict[str, Path]:
    """The folder of each split; the root alone where no folder `train` holds folders."""
    named = [folder for folder in _folders(root) if folder.name.lower() in SPLIT_NAMES]
    parts = {SPLIT_NAMES[folder.name.lower()]: folder for folder in named}
    if "train" not in parts or not _folders(parts["train"]):
        return {"train": root}
    if len(parts) < len(named):
        raise DataError(f"{source}: has two folders for one split among {', '.join(folder.name for folder in named)}")
    beside = next((folder for folder in _folders(root) if folder not in named and _image_files(folder)), None)
    if beside:
        raise DataError(f"{source}: images in '{beside.name}' stand beside the splits; move them into train/ or away")
    return parts


def _paths(root: Path, files: Sequence[Path]) -> Callable[[], Iterator[tuple[str, bytes | Path]]]:
    return lambda: ((str(file.relative_to(root)), file) for file in files)


def _folders(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith((".", "__")))


def _image_files(folder: Path) -> list[Path]:
    return sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".") and file.is_file()
    )


def _stamp(file: Path) -> str:
    status = file.stat()
    return f"{file.absolute()} {status.st_size} {status.st_mtime_ns}"


def _parquet_splits(source: str, root: Path, files: Sequence[Path]) -> dict[str, list[Path]]:
    """Files by split, from the first word of their names or of their folders'; training if none tells.

    `test-00000-of-00001.parquet` and `test/0000.parquet` are both of the test split.
    """
    splits: dict[str, list[Path]] = {}
    for file in files:
        names = (file.name, *reversed(file.relative_to(root).parts[:-1]))
        words = [re.split(r"[-_. ]", name.lower())[0] for name in names]
        split = next((SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES), "train")
        splits.setdefault(split, []).append(file)
    if "train" not in splits:
        raise DataError(f"{source}: has parquet files for {', '.join(splits)} but none for training")
    return splits


def _list_parquet(source: str, splits: dict[str, list[Path]]) -> Listing:
    files = {split: [str(file) for file in paths] for split, paths in splits.items()}
    version = "\n".join(_stamp(path) for paths in splits.values() for path in paths)
    return _list_dataset(source, "parquet", data_files=files, version=version)


def _list_dataset(source: str, what: str, *, version: str = "", **options: Any) -> Listing:
    """Lists what `datasets.load_dataset` reads; its columns are found by type, else by their usual names."""
    try:
        import datasets
    except ImportError:
        raise MissingExtra(f"reading {source}", "data") from None
    datasets.disable_progress_bars()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it reports each of its retries
    try:
        loaded = datasets.load_dataset(what, **options)
    except Exception as error:  # whatever its readers or the network raise, it is the source that cannot be read
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise DataError(f"{source}: cannot be read as a data set: {reason}") from None
    parts = {SPLIT_NAMES[name]: part for name, part in loaded.items() if name in SPLIT_NAMES}
    if "train" not in parts:
        raise DataError(f"{source}: has no training split; it has {', '.join(loaded)}")
    features = parts["train"].features
    image = _column(source, features, datasets.Image, ("image", "img"))
    label = _column(source, features, datasets.ClassLabel, ("label", "labels", "class"))
    values = {name: list(part[label]) for name, part in parts.items()}
    strange = next((value for column in values.values() for value in column if not isinstance(value, int | str)), 0)
    if not isinstance(strange, int | str):
        raise DataError(f"{source}: the column '{label}' holds {shown(strange)}; a label is a whole number or a text")
    if not isinstance(features[image], datasets.Image | dict):
        raise DataError(f"{source}: the column '{image}' holds {features[image]}; it must hold images")
    names = getattr(features[label], "names", None)
    known = range(len(names)) if names else sorted({value for column in values.values() for value in column})
    index = {value: position for position, value in enumerate(known)}
    splits = {}
    for name, part in parts.items():
        unknown = next((value for value in values[name] if value not in index), None)
        if unknown is not None:
            raise DataError(f"{source}: a {name} image has the label {unknown}, which is no class")
        encoded = part.select_columns([image]).cast_column(image, datasets.Image(decode=False))
        splits[name] = Encoded(np.array([index[value] for value in values[name]]), _rows(name, encoded, image))
    version = version or " ".join(part._fingerprint for part in parts.values())
    return Listing(tuple(names or map(str, known)), splits, version)


def _column(source: str, features: Any, kind: type, usual: Sequence[str]) -> str:
    typed = [name for name, feature in features.items() if isinstance(feature, kind)]
    named = [name for name in usual if name in features]
    if not typed and not named:
        raise DataError(f"{source}: has no column '{usual[0]}'; its columns are {', '.join(features)}")
    return str((typed or named)[0])


def _rows(split: str, part: Any, column: str) -> Callable[[], Iterator[tuple[str, bytes | Path]]]:
    def rows() -> Iterator[tuple[str, bytes | Path]]:
        for number, row in enumerate(part):
            content = row[column] or {}
            path = content.get("path")
            yield path or f"{split} row {number}", content.get("bytes") or Path(path or "missing")

    return rows
