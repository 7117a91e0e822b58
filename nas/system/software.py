"""The software that a worker trains with, and what to do where that of a search's workers differs."""

import platform
import warnings
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

from nas.errors import NasWarning, StudyError

__all__ = ["check_software", "software", "version_of"]


def software() -> dict[str, str]:
    """Returns the versions of nas and torch in this process, and the kind of processor."""
    return {"nas": version_of("nas") or "", "torch": version_of("torch") or "", "processor": platform.machine()}


def version_of(package: str) -> str | None:
    """Returns the version of an installed package; None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def check_software(begun_with: Mapping[str, str]) -> None:
    """Compares this process's software with that of a search.

    Another torch or processor trains a little differently, by rounding, and is warned of with a `NasWarning`.

    Raises:
        StudyError: nas is of another release (major and minor version), which may train and record differently.
    """
    here = software()
    differing = [name for name, there in begun_with.items() if here.get(name, there) != there]
    if "nas" in differing and _release(here["nas"]) != _release(begun_with["nas"]):
        raise StudyError(
            f"this machine has nas {here['nas']}, and the search was begun with {begun_with['nas']}; install that"
        )
    if differing:
        what = ", ".join(f"{name} {here[name]} instead of {begun_with[name]}" for name in differing)
        warnings.warn(f"this machine has {what}: its trainings differ a little, by rounding", NasWarning, stacklevel=2)


def _release(of: str) -> list[str]:
    return of.split(".")[:2]
