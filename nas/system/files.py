"""Files and folders that are there whole or not at all, also after a loss of power and on a disk that is full."""

import os
from contextlib import suppress
from pathlib import Path

__all__ = ["cache_folder", "publish", "why", "write_whole"]


def cache_folder() -> Path:
    """Where this person's programs keep what can be made again; ours may have to be created."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "nas"


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file, or replaces one.

    Until it is on the disk it is `NAME.PID.partial` beside it, which a process that is killed leaves behind.

    Raises:
        OSError: naming the file; what was there before is there still.
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
    """Gives a folder that was written beside `target` that name, once all in it is on the disk.

    Raises:
        OSError: something other than an empty folder has the name; or a file could not be forced onto the disk.
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


def why(error: OSError) -> str:
    """Why something could not be written, in a few words. NumPy does not know where only a part was."""
    return error.strerror or (f"{error}; is the disk full?" if error.errno is None else str(error))


def _force(folder: Path) -> None:
    """Has the names in a folder on the disk, where the system can: none is there before its content."""
    with suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
