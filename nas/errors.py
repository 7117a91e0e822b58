"""The exceptions a caller may see. Each message is one line that names the field, its value and what is allowed.

NasError
├── InvalidValue      a value in an architecture, a space, a recipe or an option is not allowed
├── DataError         images cannot be found, read or split
├── StudyError        a study cannot be opened, resumed or read
├── TrainingFailed    a training ended without an accuracy; `reason` is a short code
├── WeightsError      a file of weights is missing or damaged
├── ExportError       an export could not be written or did not verify
├── DeviceLost        a CUDA error has made the GPU unusable for this process; a new process can use it
└── MissingExtra      an optional dependency is not installed

NasWarning is told, and not raised.
"""

import re

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
    "visible",
]

LONGEST_MESSAGE = 1000
ACTED_ON = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]")
"""What is acted on rather than shown: controls, and marks that turn the direction of writing; half characters."""


def visible(text: str) -> str:
    """Text from anywhere, fit for a terminal, a card or a page: what is not to be seen is escaped as Python does it."""
    return ACTED_ON.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


class NasError(Exception):
    """Base of every error that is the user's to mend; the terminal prints it as one line and exits 2.

    A message may quote what came from elsewhere: it is made one line that can be seen, the middle of a long one left
    out.
    """

    def __init__(self, message: str) -> None:
        line = visible(" ".join(message.split()))
        half = LONGEST_MESSAGE // 2 - 2
        super().__init__(line if len(line) <= LONGEST_MESSAGE else f"{line[:half]} … {line[-half:]}")


class NasWarning(UserWarning):
    """What was found damaged and set aside; the terminal prints it as one line and goes on."""


class InvalidValue(NasError, ValueError):
    """A value is not allowed where it stands."""


class DataError(NasError):
    """The images cannot be used as they are."""


class StudyError(NasError):
    """The study cannot be opened, resumed or read."""


class TrainingFailed(NasError):
    """A training that ended without a usable accuracy.

    `reason` is a short code that is recorded with the trial, such as `not_finite`.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class WeightsError(NasError):
    """A file of trained weights is missing, damaged or not for this network."""


class ExportError(NasError):
    """The export could not be written, or what was written does not give the recorded accuracy."""


class DeviceLost(NasError):
    """After some CUDA errors, such as a failed device-side assert, every later call of the process fails as well."""


class MissingExtra(NasError):
    """An optional dependency is missing; the message says which extra installs it."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs the extra '{extra}': pip install 'nas[{extra}]'")
