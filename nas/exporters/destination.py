"""The folder that an export creates: it appears complete, or not at all, and one export at a time works on it."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nas.errors import ExportError
from nas.system.files import publish, why
from nas.system.processes import is_alive, this_worker

__all__ = ["checked_destination", "destination"]


@contextmanager
def destination(out: str | Path) -> Iterator[tuple[Path, Path]]:
    """Yields a folder that becomes `out` on success, and a scratch folder; an exception removes both.

    They are created beside `out` under the name of this process, so that leftovers of killed processes can be
    recognised and removed.

    Raises:
        ExportError: as `checked_destination`, or `out` cannot be written.
    """
    target = checked_destination(out)
    work = target.with_name(f".{target.name}.{this_worker().replace(':', '-')}.partial")
    bundle, handover = work / "bundle", work / "handover"
    try:
        for folder in (work, bundle, handover):
            folder.mkdir(parents=folder is work)
        yield bundle, handover
        if target.exists():
            target.rmdir()
        publish(bundle, target)
    except OSError as error:
        raise ExportError(f"out={out}: cannot be written: {why(error)}") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)


def checked_destination(out: str | Path) -> Path:
    """Returns the folder's full path, once what killed exports have left beside it is removed.

    Raises:
        ExportError: the folder is not empty, or another export to it is running.
    """
    target = Path(out).resolve()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ExportError(f"out={out}: exists and is not an empty folder; name another")
    for entry in target.parent.iterdir() if target.parent.is_dir() else []:
        if match := re.fullmatch(rf"\.{re.escape(target.name)}\.(.+)-(\d+@?\w*)\.partial", entry.name):
            alive = is_alive(f"{match[1]}:{match[2]}")
            if alive:
                raise ExportError(
                    f"out={out}: another export to it is running, by process {match[2].partition('@')[0]}"
                )
            if alive is False:
                shutil.rmtree(entry, ignore_errors=True)
    return target
