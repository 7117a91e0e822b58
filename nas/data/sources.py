"""Lists the encoded images of a source: an image folder, files of images, or a data set on the Hugging Face hub."""

import hashlib
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from nas.data.array_files import idx_files, list_idx, list_npz
from nas.data.csv_files import list_csv
from nas.data.formats import HEIC_HELP, HEIC_SUFFIXES, image_suffixes
from nas.data.groups import groups_by_name
from nas.data.images import Labels
from nas.data.listing import SPLIT_NAMES, Encoded, Listing, class_names, encoded_labels, stamp
from nas.errors import DataError, MissingExtra, NasError
from nas.validation import shown

__all__ = ["list_source"]

SHARDED = {".parquet": "parquet", ".tar": "webdataset"}
"""Files over which a data set may be divided, with the names of their readers in `datasets`."""
HUB_NAME = re.compile(r"\w[\w.-]{0,95}/\w[\w.-]{0,95}", re.ASCII)
IMAGES, LABELS = ("image", "img"), ("label", "labels", "class", "tags", "cls", "json.label", "json.labels")
"""Usual names of columns; in WebDataset files, names are suffixes, and fields of JSON follow a dot."""
LEADS_OUT = "a link that leads out of the folder; copy there what it leads to"


def list_source(source: str, *, group_by: str | None = None) -> Listing:
    """Lists the images of a folder, of parquet, tar, CSV, npz or IDX files, or of a hub name.

    Args:
        source: the source.
        group_by: what groups the images: a column, or as in `groups_by_name`; None: they are not grouped.

    Raises:
        DataError: the source does not exist or cannot be read, or cannot be grouped so.
        MissingExtra: the extra `data`, which parquet and tar files and hub names need, is not installed.
    """
    try:
        listing = _listing(source, group_by)
    except (OSError, ValueError, RuntimeError) as error:  # an invalid file name, or an unreadable folder
        raise DataError(f"{source}: cannot be read: {error}") from None
    if group_by is not None and any(split.groups is None for split in listing.splits.values()):
        raise DataError(
            f"group_by={shown(group_by)}: the images of {source} have neither paths nor columns to group by"
        )
    return listing


def _listing(source: str, group_by: str | None) -> Listing:
    path = Path(source).expanduser()
    if path.is_file():
        if path.suffix not in FILES:
            *others, last = FILES
            kinds = f"{', '.join(others)} or {last}"
            raise DataError(f"{source}: is a file but not a {kinds} one; give such a file, or a folder of images")
        return FILES[path.suffix](source, path, group_by)
    if path.is_dir():
        if files := _shards(path):
            if any(_leads_out(file, path) for file in files):
                raise DataError(f"{source}: a {files[0].suffix} file is {LEADS_OUT}")
            return _list_shards(source, _splits_of_shards(source, path, files), group_by)
        return list_idx(source, idx) if (idx := idx_files(path)) else _list_folder(source, path, group_by)
    if not HUB_NAME.fullmatch(source) or Path(source).parent.is_dir():
        raise DataError(f"{source}: no such file or folder (nor 'digits', nor OWNER/NAME on the Hugging Face hub)")
    return _list_dataset(source, source, group_by=group_by, from_hub=True)


def _list_folder(source: str, root: Path, group_by: str | None) -> Listing:
    """Lists `CLASS/**/image`, or `SPLIT/CLASS/**/image` if there is a folder `train` that contains folders.

    `datasets` is not used, as it assigns any file with "test" in its name to the test split.
    """
    parts = _split_folders(source, root)
    for folder in [*parts.values(), *(folder for part in parts.values() for folder in _folders(part))]:
        if _leads_out(folder, root):
            raise DataError(f"{source}: '{folder.relative_to(root)}' is {LEADS_OUT}")
    files = {split: {folder.name: _image_files(folder) for folder in _folders(part)} for split, part in parts.items()}
    classes = tuple(sorted({name for folders in files.values() for name in folders}))
    if not classes:
        raise DataError(f"{source}: holds no class folders; expected CLASS/*.jpg or train/CLASS/*.jpg")
    splits, stamps = {}, []
    for split, folders in files.items():
        for name in classes:
            if not folders.get(name):
                where = f" in {split}/" if parts != {"train": root} else ""
                raise DataError(f"{source}: class '{name}' has no images{where}{_other_kinds(parts[split] / name)}")
        pairs = [(file, label) for label, name in enumerate(classes) for file in folders[name]]
        paths = [file for file, _ in pairs]
        names = [str(file.relative_to(root)) for file in paths]
        groups = groups_by_name(source, names, group_by) if group_by is not None else None
        splits[split] = Encoded(np.array([label for _, label in pairs]), _paths(root, paths), groups)
        stamps += [stamp(file) for file, _ in pairs]
    classes = tuple(os.fsencode(name).decode("utf-8", "replace") for name in classes)  # names need not be UTF-8
    version = hashlib.sha256(os.fsencode("\n".join(stamps))).hexdigest()
    inside = [folder for part in parts.values() for folder in _folders(part)]
    return Listing(class_names(source, classes), splits, version, lambda: Counter(chain(*map(_kinds, inside))))


def _kinds(folder: Path) -> list[str]:
    """Returns the suffixes of the files in a folder that are taken for no images, each once for a file."""
    files = [file for file in folder.rglob("*") if file.is_file() and not file.name.startswith(".")]
    known = image_suffixes()
    return [kind for file in files if (kind := file.suffix.lower()) not in known]


def _other_kinds(folder: Path) -> str:
    """Says what a folder without images holds instead."""
    if not folder.is_dir() or not (kinds := sorted(set(_kinds(folder)))):
        return ""
    said = f", only {', '.join(kind or 'files without a suffix' for kind in kinds)}"
    if HEIC_SUFFIXES.issuperset(kinds):
        return f"{said}; {HEIC_HELP}"
    return f"{said}; those that can be read are {', '.join(sorted(image_suffixes()))}"


def _split_folders(source: str, root: Path) -> dict[str, Path]:
    """Returns the folder of each split; only the root, as `train`, if no folder `train` contains folders."""
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
    def images() -> Iterator[tuple[str, bytes | Path]]:
        for file in files:
            name, why = str(file.relative_to(root)), _why_no_image(file, root)
            yield (f"{name} ({why})", b"") if why else (name, file)

    return images


def _why_no_image(file: Path, root: Path) -> str | None:
    if _leads_out(file, root):
        return LEADS_OUT
    if file.is_file():
        return None
    return "a link to nothing" if file.is_symlink() else "no file"


def _leads_out(path: Path, root: Path) -> bool:
    """Returns whether `path` is a link out of `root`: untrusted folders must not expose the user's own files.

    `root` itself may be a link.
    """
    if not path.is_symlink():
        return False
    try:
        return not path.resolve(strict=True).is_relative_to(root.resolve())
    except (OSError, RuntimeError):  # a broken or circular link
        return False


def _folders(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith((".", "__")))


def _image_files(folder: Path) -> list[Path]:
    """Returns all entries with an image suffix except folders; unreadable ones are reported later, not dropped."""
    known = image_suffixes()
    return sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in known and not file.name.startswith(".") and not file.is_dir()
    )


def _shards(folder: Path) -> list[Path]:
    """Returns the parquet files of a folder, else its tars, but not one that lies beside the images that it held."""
    if files := sorted(folder.rglob("*.parquet")):
        return files
    files = sorted(folder.rglob("*.tar"))
    return [] if files and any(map(_image_files, _folders(folder))) else files


def _splits_of_shards(source: str, root: Path, files: Sequence[Path]) -> dict[str, list[Path]]:
    """Groups files by split, from the first word of their own or their folders' names; training by default.

    `test-00000-of-00001.parquet` and `test/0000.parquet` both belong to the test split.
    """
    splits: dict[str, list[Path]] = {}
    for file in files:
        names = (file.name, *reversed(file.relative_to(root).parts[:-1]))
        words = [re.split(r"[-_. ]", name.lower())[0] for name in names]
        split = next((SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES), "train")
        splits.setdefault(split, []).append(file)
    if "train" not in splits:
        raise DataError(f"{source}: has files for {', '.join(splits)} but none for training")
    return splits


def _list_shards(source: str, splits: dict[str, list[Path]], group_by: str | None) -> Listing:
    """Lists parquet files, or WebDataset tars: `KEY.jpg` and `KEY.cls`, or `KEY.json` with a `label`, side by side."""
    what = SHARDED[next(iter(splits.values()))[0].suffix]
    files = {split: [str(file) for file in paths] for split, paths in splits.items()}
    version = "\n".join(stamp(path) for paths in splits.values() for path in paths)
    return _list_dataset(source, what, group_by=group_by, data_files=files, version=version)


def _list_dataset(
    source: str, what: str, *, group_by: str | None, version: str = "", from_hub: bool = False, **options: Any
) -> Listing:
    """Lists a data set that `datasets.load_dataset` reads; columns are found by type, else by their usual names.

    Images that the data only refer to by path are read only if `from_hub`, and only from the downloaded files.
    """
    try:
        import datasets
        import huggingface_hub
    except ImportError:
        raise MissingExtra(f"reading {source}", "data") from None
    datasets.disable_progress_bars()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it logs every retry
    logging.getLogger("datasets").setLevel(logging.CRITICAL)  # it logs the errors that it raises
    fetched = [datasets.config.HF_CACHE_HOME, datasets.config.HF_DATASETS_CACHE, huggingface_hub.constants.HF_HUB_CACHE]
    with _readable(source):
        loaded = datasets.load_dataset(what, **options)
        if what == SHARDED[".tar"]:
            loaded = loaded.flatten()  # fields of JSON become columns
        parts = {SPLIT_NAMES[name]: part for name, part in loaded.items() if name in SPLIT_NAMES}
        if "train" not in parts:
            raise DataError(f"{source}: has no training split; it has {', '.join(loaded)}")
        features = parts["train"].features
        image = _column(source, features, datasets.Image, IMAGES)
        label = _column(source, features, datasets.ClassLabel, LABELS)
        classes, labels = _labels(source, label, features, {name: list(part[label]) for name, part in parts.items()})
        if group_by is not None and group_by not in features:
            raise DataError(f"group_by={shown(group_by)}: must be a column of {source}: {', '.join(features)}")
        if not isinstance(features[image], datasets.Image | dict):
            raise DataError(f"{source}: the column '{image}' holds {features[image]}; it must hold images")
        splits = {}
        for name, part in parts.items():
            encoded = part.select_columns([image]).cast_column(image, datasets.Image(decode=False))
            rows = _rows(source, name, encoded, image=image, within=map(Path, fetched) if from_hub else ())
            splits[name] = Encoded(labels[name], rows, _column_groups(part, group_by))
        version = version or " ".join(part._fingerprint for part in parts.values())
    return Listing(class_names(source, classes), splits, version)


def _labels(
    source: str, column: str, features: Any, values: dict[str, list[Any]]
) -> tuple[tuple[str, ...], dict[str, Labels]]:
    """Returns the class names and each split's labels: several for an image where the column holds lists."""
    several = any(isinstance(value, list) for part in values.values() for value in part)
    sets = {name: [value if isinstance(value, list) else [value] for value in part] for name, part in values.items()}
    every = [label for part in sets.values() for labels in part for label in labels]
    if strange := [label for label in every if type(label) not in (int, str)]:
        kinds = "a whole number or a text, or a list of them"
        raise DataError(f"{source}: the column '{column}' holds {shown(strange[0])}; a label is {kinds}")
    names = getattr(getattr(features[column], "feature", features[column]), "names", None)
    known = range(len(names)) if names else sorted(set(every))
    index = {value: position for position, value in enumerate(known)}
    if unknown := [(name, at) for name, part in sets.items() for labels in part for at in labels if at not in index]:
        split, label = unknown[0]
        raise DataError(f"{source}: a {split} image has the label {shown(label)}, which is not a class")
    labels = {
        name: encoded_labels([[index[at] for at in labels] for labels in part], len(known), multi_label=several)
        for name, part in sets.items()
    }
    return tuple(names or map(str, known)), labels


def _column_groups(part: Any, column: str | None) -> tuple[str, ...] | None:
    return None if column is None else tuple(map(str, part[column]))


@contextmanager
def _readable(source: str) -> Iterator[None]:
    """Converts any error of the data set readers or the network into a DataError for the source."""
    try:
        yield
    except NasError:
        raise
    except Exception as error:
        reasons = [_first_line(each) for each in (error, error.__cause__) if each is not None]
        raise DataError(f"{source}: cannot be read as a data set: {': '.join(reasons)}") from None


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _column(source: str, features: Any, kind: type, usual: Sequence[str]) -> str:
    typed = [name for name, feature in features.items() if isinstance(feature, kind)]
    named = [name for name in usual if name in features]
    if not typed and not named:
        raise DataError(f"{source}: has no column '{usual[0]}'; its columns are {', '.join(features)}")
    return str((typed or named)[0])


def _rows(
    source: str, split: str, part: Any, *, image: str, within: Iterable[Path]
) -> Callable[[], Iterator[tuple[str, bytes | Path]]]:
    folders = [folder.resolve() for folder in within]

    def rows() -> Iterator[tuple[str, bytes | Path]]:
        with _readable(source):
            for number, row in enumerate(part):
                content = row[image] or {}
                path = content.get("path")
                name = path or f"{split} row {number}"
                if content.get("bytes"):
                    yield name, content["bytes"]
                elif path and _lies_within(path, folders):
                    yield name, Path(path)
                else:  # an untrusted path may point to one of the user's own files
                    yield f"{name} (not in the data)", b""

    return rows


def _lies_within(path: str, folders: Sequence[Path]) -> bool:
    try:
        resolved = Path(path).resolve(strict=True)
        return resolved.is_file() and any(resolved.is_relative_to(folder) for folder in folders)
    except (OSError, RuntimeError, ValueError):
        return False


FILES: dict[str, Callable[[str, Path, str | None], Listing]] = {
    **{kind: lambda source, path, group_by: _list_shards(source, {"train": [path]}, group_by) for kind in SHARDED},
    ".csv": list_csv,
    ".npz": lambda source, path, _: list_npz(source, path),
}
"""How to list the images of a file, by its suffix."""
