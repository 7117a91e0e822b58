"""Configures the package's log of internal events, switched on by an environment variable."""

import logging
import os
import sys

from nas.validation import one_of

__all__ = ["LEVEL", "LEVELS", "logger", "show_log"]

LEVEL = "NAS_LOG"
"""Environment variable that sets the log level, one of `LEVELS`; worker processes inherit it."""
LEVELS = ("debug", "info", "warning", "error")

logger = logging.getLogger("nas")


def show_log() -> None:
    """Writes the log to standard error, at the level set by `NAS_LOG`, by default `warning`.

    Raises:
        InvalidValue: the variable is not one of `LEVELS`.
    """
    level = one_of(os.environ.get(LEVEL, "warning").lower(), LEVEL, LEVELS)
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(processName)s: %(message)s", "%H:%M:%S"))
        logger.addHandler(handler)
    logger.setLevel(level.upper())
