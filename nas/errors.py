"""Exceptions that callers may see. Each message is one line naming the field, its value and what is allowed.

NasError
├── InvalidValue      a value in an architecture, space, recipe or option is not allowed
├── DataError         images cannot be found, read or split
├── StudyError        a study cannot be opened, resumed or read
├── TrainingFailed    a training ended without an accuracy; `reason` is a short code
├── WeightsError      a weights file is missing, damaged or for another network
├── ExportError       an export could not be written or failed verification
├── DeviceLost        a CUDA error made the GPU unusable for this process; a new process can use it
└── MissingExtra      an optional dependency is not installed

NasWarning is issued as a warning, never raised.
"""

import re
import shlex

__all__ = [
    "DataError",
    "DeviceLost",
    "ExportError",
    "InvalidValue",
    "MissingExtra",
    "NasError",
    "NasWarning",
    "StudyError",
    "TrainingFailed",
    "WeightsError",
    "install_command",
    "visible",
]

LONGEST_MESSAGE = 1000
ACTED_ON = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]")
"""Characters that a terminal acts on instead of showing: control characters, bidirectional marks, lone surrogates."""


def visible(text: str) -> str:
    """Makes untrusted text safe for a terminal, card or page: invisible characters become Python escape sequences."""
    return ACTED_ON.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


class NasError(Exception):
    """Base of every error that the user can fix; the CLI prints it as one line and exits with code 2.

    Messages may quote untrusted text: each is reduced to one visible line, and a long one is elided in the middle.
    """

    def __init__(self, message: str) -> None:
        line = visible(" ".join(message.split()))
        half = LONGEST_MESSAGE // 2 - 2
        super().__init__(line if len(line) <= LONGEST_MESSAGE else f"{line[:half]} … {line[-half:]}")


class NasWarning(UserWarning):
    """Something damaged was found and set aside; the CLI prints the warning as one line and continues."""


class InvalidValue(NasError, ValueError):
    """A value is not allowed in its place."""


class DataError(NasError):
    """The images cannot be found, read or split."""


class StudyError(NasError):
    """The study cannot be opened, resumed or read."""


class TrainingFailed(NasError):
    """A training ended without a usable accuracy.

    `reason` is a short code that is recorded with the trial, such as `not_finite`.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class WeightsError(NasError):
    """A file of trained weights is missing, damaged or for another network."""


class ExportError(NasError):
    """The export could not be written, or does not reproduce the recorded accuracy."""


class DeviceLost(NasError):
    """A CUDA error, such as a failed device-side assert, after which every later CUDA call of the process fails too."""


class MissingExtra(NasError):
    """An optional dependency is missing; the message names the extra, and the packages that it consists of."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs the extra '{extra}': {install_command(extra)}")


def install_command(extra: str) -> str:
    """Returns the command that installs an extra's packages.

    It does not name nas, as the package index may have another project of that name.
    """
    from importlib.metadata import requires  # only needed here, and slow to import

    required = [text.partition(";") for text in requires("nas") or ()]
    packages = [package.strip() for package, _, marker in required if marker.strip() == f"extra == '{extra}'"]
    return shlex.join(["pip", "install", *packages])
