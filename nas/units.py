"""Formats and parses human-readable numbers: 12.4 M, 1m 30s, 98.3 %."""

import math
import re

from nas.errors import InvalidValue
from nas.validation import shown

__all__ = [
    "amount_text",
    "count_text",
    "counted",
    "duration_text",
    "epochs_text",
    "memory_text",
    "parse_count",
    "parse_duration",
    "percent_text",
    "progress_text",
]

_PREFIXES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "b": 10**9, "t": 10**12}
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SECONDS_PER_MINUTE, _SECONDS_PER_HOUR = 60, 3600
_LONGEST = 100
"""Maximum length, in characters, of a number to parse."""


def count_text(value: float) -> str:
    """Formats a count with three significant digits and an SI prefix: 12_400_000 → `12.4 M`."""
    for exponent, prefix in ((4, "T"), (3, "G"), (2, "M"), (1, "k")):
        scaled = value / 10 ** (3 * exponent)
        if scaled >= 0.9995:  # anything smaller rounds to less than 1.00 of this prefix
            return f"{_three_digits(scaled)} {prefix}"
    return f"{value:.0f}"


def _three_digits(value: float) -> str:
    decimals = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{decimals}f}"


def counted(number: int, noun: str) -> str:
    """Formats a number of things with a noun in the singular or plural: `1 class`, `1,200 images`."""
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def amount_text(value: float) -> str:
    """Formats a possibly fractional count with at most one decimal: `3`, `1,012.4`."""
    return f"{value:,.1f}".removesuffix(".0")


def progress_text(trainings: int, spent: float, total: int) -> str:
    """Formats a search's progress: `12 of 50 trainings`, or `34 trainings, as long as 12.4 of 50 full ones`.

    Args:
        trainings: number of finished trainings.
        spent: their epochs, in units of one full-length training.
        total: the budget, in the same units.
    """
    if spent == trainings:
        return f"{trainings:,} of {total:,} trainings"
    return f"{trainings:,} trainings, as long as {amount_text(spent)} of {total:,} full ones"


def memory_text(size: float) -> str:
    """Formats a size in bytes with binary units (powers of 1,024): 23.5 GiB."""
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def percent_text(share: float) -> str:
    """Formats a share in [0, 1] as a percentage with two decimals."""
    return f"{100 * share:.2f} %"


def duration_text(seconds: float) -> str:
    """Formats seconds in the two largest relevant units: `0.8s`, `42s`, `3m 05s`, `2h 10m`."""
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < _SECONDS_PER_MINUTE:
        return f"{whole}s"
    if whole < _SECONDS_PER_HOUR:
        return f"{whole // 60}m {whole % 60:02d}s"
    minutes = round(seconds / 60)
    return f"{minutes // 60}h {minutes % 60:02d}m"


def parse_count(value: object, field: str) -> int:
    """Parses a positive count: 50000000, `50M`, `1.5G`.

    Raises:
        InvalidValue: `value` is not a number of at least 1 once its prefix is applied; the message names `field`.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    text = value if isinstance(value, str) and len(value) <= _LONGEST else ""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?(?:e\d{1,2})?)\s*([kKmMgGbBtT]?)\s*", text)
    count = float(match[1]) * _PREFIXES[match[2].lower()] if match else 0.0
    if count < 1 or not math.isfinite(count):
        raise InvalidValue(f"{field}={_bare(value)}: must be a positive number such as 50M, 1.5G or 200000")
    return round(count)


def parse_duration(value: object, field: str) -> float:
    """Parses a duration into seconds: 90, `90`, `90s`, `30m`, `2h`, `1h30m`, `1d`.

    Raises:
        InvalidValue: `value` is not a positive duration; the message names `field`.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value) if abs(value) < 1e300 else math.inf  # an int may be too large for a float
    else:
        text = value.strip().lower() if isinstance(value, str) and len(value) <= _LONGEST else ""
        parts = re.findall(r"(\d+(?:\.\d+)?)\s*([smhd]?)", text)
        whole = re.fullmatch(r"\d+(\.\d+)?|(\d+(\.\d+)?\s*[smhd]\s*)+", text)
        seconds = sum(float(number) * _SECONDS[unit or "s"] for number, unit in parts) if whole else 0.0
    if seconds <= 0 or not math.isfinite(seconds):
        raise InvalidValue(f"{field}={_bare(value)}: must be a positive duration such as 90s, 30m, 2h or 1h30m")
    return seconds


def _bare(value: object) -> str:
    """Returns a value as an error message shows it; strings without quotes, as typed."""
    return shown(value).strip("'") if isinstance(value, str) else shown(value)


def epochs_text(number: int) -> str:
    """Formats a number of epochs: `1 epoch`, `15 epochs`."""
    return f"{number:,} epoch{'s' * (number != 1)}"
