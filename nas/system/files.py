"""Atomic, durable writes: files and folders exist completely or not at all, even after power loss or a full disk."""

import os
from contextlib import suppress
from pathlib import Path

__all__ = ["cache_folder", "free_name", "publish", "why", "write_whole"]


def cache_folder() -> Path:
    """Returns the cache folder of nas for this user, `$XDG_CACHE_HOME/nas` or `~/.cache/nas`; it may not exist yet."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "nas"


def write_whole(path: Path, content: bytes) -> None:
    """Writes or replaces a file atomically.

    Until it is on disk, the content lies beside it as `NAME.PID.partial`, which a killed process leaves behind.

    Raises:
        OSError: the file, named in the error, could not be written; its previous content is intact.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException as error:
        with suppress(OSError):
            partial.unlink()
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
    _force(path.parent)


def publish(folder: Path, target: Path) -> None:
    """Renames `folder`, which lies beside `target`, to `target` once its content is on disk.

    Raises:
        OSError: `target` exists and is not an empty folder, or a file could not be synced to disk.
    """
    for entry in folder.rglob("*"):
        if entry.is_file():
            with entry.open("r+b") as file:
                os.fsync(file.fileno())
        else:
            _force(entry)
    _force(folder)
    folder.rename(target)
    _force(target.parent)


def free_name(wanted: Path) -> Path:
    """Returns the wanted path, with a number appended if it exists already."""
    number, name = 1, wanted
    while name.exists():
        number += 1
        name = wanted.with_name(f"{wanted.name}-{number}")
    return name


def why(error: OSError) -> str:
    """Returns a short reason for a failed write; NumPy raises an OSError without errno after a partial one."""
    return error.strerror or (f"{error}; is the disk full?" if error.errno is None else str(error))


def _force(folder: Path) -> None:
    """Syncs a folder's entries to disk where the system supports it, so that no name appears before its content."""
    with suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
