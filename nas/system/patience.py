"""Outlasting what fails for a while: a database that restarts, a store of files that does not answer."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

from nas.system.logs import logger

__all__ = ["outlast"]

LONGEST_PAUSE = 5.0
QUIET = 1.0
"""Seconds of failing that are not worth a word: a lost connection alone is made again at once."""

T = TypeVar("T")


def outlast(act: Callable[[], T], *, patience: float, passing: Callable[[Exception], str | None], what: str) -> T:
    """Calls `act`, and again with growing pauses while it fails in a way that may pass.

    Args:
        act: may be called several times.
        patience: seconds after which a failure is raised all the same; 0: at once.
        passing: returns in a few words how something failed if that may pass, None for other errors.
        what: what is used, for the log, such as `the database`.

    Raises:
        Exception: what `act` raised, if that may not pass or the time is up.
    """
    start, pause, said = time.monotonic(), 0.1, False
    while True:
        try:
            result = act()
        except Exception as error:
            waited = time.monotonic() - start
            if (why := passing(error)) is None or waited >= patience:
                raise
            if not said and waited > QUIET:
                logger.warning("%s cannot be used (%s); waiting for up to %.0f s", what, why, patience)
                said = True
            time.sleep(pause * random.uniform(0.5, 1.0))  # so that workers do not come back all at once
            pause = min(2 * pause, LONGEST_PAUSE)
        else:
            if said:
                logger.warning("%s can be used again, after %.0f s", what, time.monotonic() - start)
            return result
