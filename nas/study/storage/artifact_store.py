"""ArtifactStore: trials' files in a place that all machines reach, such as a shared folder or a bucket, by fsspec."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from nas.errors import InvalidValue, StudyError
from nas.system.files import write_whole
from nas.system.patience import outlast
from nas.validation import shown

__all__ = ["ArtifactStore", "artifact_store"]

HELP = "allowed: the URL of a folder, such as s3://BUCKET/FOLDER, gs://BUCKET/FOLDER or file:///FOLDER"
PROBE = "can-be-written"

T = TypeVar("T")


class ArtifactStore:
    """Files by name under a URL. A file is there completely or not at all.

    All methods wait with growing pauses while the store cannot be used, for up to `patience` seconds, and raise
    `StudyError`, which names the URL, if that is not enough or cannot help: a bucket that does not exist, a right that
    is missing.

    Args:
        url: the folder, by any scheme that fsspec knows.
        patience: as above.

    Raises:
        InvalidValue: the scheme is unknown, or its package is not installed.
    """

    def __init__(self, url: str, *, patience: float = 0.0) -> None:
        import fsspec

        self.url, self._patience = url, patience
        if "://" not in url:
            raise InvalidValue(f"artifacts={shown(url)}: is no URL; {HELP}")
        try:
            self._files, self._root = fsspec.url_to_fs(url)
        except ImportError as error:  # fsspec says what to install
            raise InvalidValue(f"artifacts={shown(url)}: {error}") from None
        except ValueError as error:
            raise InvalidValue(f"artifacts={shown(url)}: {error}; {HELP}") from None

    def check(self) -> None:
        """Writes a file and deletes it again."""
        self.put(PROBE, b"")
        self.delete([PROBE])

    def put(self, name: str, content: bytes) -> None:
        """Writes or replaces a file."""
        path = self._path(name)

        def act() -> None:
            if self._is_local:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                write_whole(Path(path), content)
            else:
                self._files.pipe_file(path, content)  # a bucket has an object once all of it has arrived

        self._lasting(act, f"{name} cannot be written")

    def get(self, name: str) -> bytes | None:
        """Returns the content of a file; None if there is none of that name."""

        def act() -> bytes | None:
            try:
                found: bytes = self._files.cat_file(self._path(name))
            except FileNotFoundError:
                return None
            return found

        return self._lasting(act, f"{name} cannot be read")

    def names(self) -> set[str]:
        """Returns the names of all files."""

        def act() -> set[str]:
            try:
                there = self._files.ls(self._root, detail=False, refresh=True)
            except FileNotFoundError:  # nothing has been written yet
                return set()
            return {str(path).rpartition("/")[2] for path in there}

        return self._lasting(act, "cannot be listed")

    def delete(self, names: Iterable[str]) -> None:
        """Deletes files; those that are not there are left out."""

        def act() -> None:
            for name in names:
                with suppress(FileNotFoundError):
                    self._files.rm_file(self._path(name))

        self._lasting(act, "files cannot be deleted")

    @property
    def _is_local(self) -> bool:
        protocol: Any = self._files.protocol
        return "file" in ((protocol,) if isinstance(protocol, str) else protocol)

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"

    def _lasting(self, act: Callable[[], T], failing: str) -> T:
        try:
            return outlast(act, patience=self._patience, passing=_passing, what=self.url)
        except Exception as error:  # each scheme has errors of its own
            raise StudyError(f"artifacts={self.url}: {failing}: {_reason(error)}") from error


@lru_cache(maxsize=64)
def artifact_store(url: str, patience: float = 0.0) -> ArtifactStore:
    """Returns the store of a URL, which keeps its connections as long as this process lasts."""
    return ArtifactStore(url, patience=patience)


def _passing(error: Exception) -> str | None:
    """Returns in a few words how a store failed, if waiting may help."""
    final = (PermissionError, FileNotFoundError, NotADirectoryError, IsADirectoryError, TypeError, ImportError)
    return None if isinstance(error, final) else _reason(error)


def _reason(error: Exception) -> str:
    said = str(error).strip().splitlines()
    return said[0] if said else type(error).__name__
