"""Lists the images that a CSV file names, with their labels and perhaps their splits."""

import csv
import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from nas.data.groups import groups_by_name
from nas.data.listing import SPLIT_NAMES, Encoded, Listing, class_names, encoded_labels, stamp
from nas.errors import DataError
from nas.validation import shown

__all__ = ["list_csv"]

PATHS, SPLITS = ("path", "file", "filename", "image", "img"), ("split", "set")
LABEL, LABELS, SEPARATORS = ("label", "class", "category"), ("labels", "tags"), ";|,"
"""Columns with one label for each image, or any number of them; and what separates these."""
OUTSIDE = "not in the folder of the CSV file"


def list_csv(source: str, path: Path, group_by: str | None = None) -> Listing:
    """Lists the images of a CSV file with a header: a column `path`, a column `label`, and perhaps a column `split`.

    A column `labels` instead of `label` has any number of labels for each image, separated by `;`, `|` or `,`: by the
    first of these that occurs in it.

    Paths are relative to the file's folder. Images outside it are not read, as a file from elsewhere must not expose
    the user's own files.

    Args:
        source: the source as the user named it.
        path: the file.
        group_by: what groups the images: a column, or as in `groups_by_name`.

    Raises:
        DataError: the file cannot be read, a column is missing, or a value is not allowed.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{source}: cannot be read: {error}") from None
    if not rows:
        raise DataError(f"{source}: has no rows below its header")
    header = [name for name in rows[0] if name is not None]
    image, label = (_column(source, header, names) for names in (PATHS, (*LABEL, *LABELS)))
    split = next((name for name in header if name.strip().lower() in SPLITS), None)
    several = label.strip().lower() in LABELS
    named = _labels(source, label, [(row[label] or "").strip() for row in rows], several=several)
    labels = {name: at for at, name in enumerate(sorted({name for names in named for name in names}))}
    members: dict[str, list[tuple[str, list[int], str]]] = {}
    for row, names in zip(rows, named, strict=True):
        name = (row[split] or "").strip().lower() if split else "train"
        if name not in SPLIT_NAMES:
            raise DataError(f"{source}: {split}={shown(name)}: must be train, validation or test")
        members.setdefault(SPLIT_NAMES[name], []).append(
            ((row[image] or "").strip(), [labels[each] for each in names], row.get(group_by or "") or "")
        )
    if "train" not in members:
        raise DataError(f"{source}: has no rows for training")
    root = path.parent
    splits = {}
    for name, images in members.items():
        paths = [where for where, _, _ in images]
        groups = tuple(group for _, _, group in images) if group_by in header else None
        if group_by is not None and groups is None:
            groups = groups_by_name(source, paths, group_by)
        found = encoded_labels([at for _, at, _ in images], len(labels), multi_label=several)
        splits[name] = Encoded(found, _images(root, paths), groups)
    files = [path, *(root / where for images in members.values() for where, _, _ in images)]
    version = hashlib.sha256("\n".join(stamp(file) if file.exists() else str(file) for file in files).encode())
    return Listing(class_names(source, tuple(labels)), splits, version.hexdigest())


def _labels(source: str, column: str, texts: Sequence[str], *, several: bool) -> list[list[str]]:
    """Returns the names of each image's labels."""
    if not several:
        if "" in texts:
            raise DataError(f"{source}: the column '{column}' is empty in a row")
        return [[text] for text in texts]
    separator = next((each for each in SEPARATORS if any(each in text for text in texts)), SEPARATORS[0])
    found = [sorted({name.strip() for name in text.split(separator)} - {""}) for text in texts]
    if not any(found):
        raise DataError(f"{source}: the column '{column}' is empty in all rows")
    return found


def _column(source: str, header: Sequence[str], names: Sequence[str]) -> str:
    known = {name.strip().lower(): name for name in reversed(header)}
    found = next((known[name] for name in names if name in known), None)
    if found is None:
        raise DataError(f"{source}: has no column '{names[0]}'; its columns are {', '.join(header)}")
    return found


def _images(root: Path, names: Sequence[str]) -> Callable[[], Iterator[tuple[str, bytes | Path]]]:
    def images() -> Iterator[tuple[str, bytes | Path]]:
        top = root.resolve()
        for name in names:
            file = root / name
            try:
                inside = file.resolve().is_relative_to(top)
            except (OSError, RuntimeError, ValueError):
                inside = False
            why = OUTSIDE if not inside else None if file.is_file() else "no file"
            yield (f"{name} ({why})", b"") if why else (name, file)

    return images
