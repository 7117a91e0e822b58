"""The state of a study's last search, what a person has requested of it, and the acts of people on the study."""

from enum import StrEnum
from typing import NamedTuple

from nas.system.processes import is_alive

__all__ = ["Act", "Request", "SearchState", "SearchStatus"]


class SearchStatus(StrEnum):
    """Status of a search: running, or why it ended."""

    RUNNING = "running"
    COMPLETE = "complete"
    """Its budget is spent."""
    TIMEOUT = "timeout"
    """Its time is up."""
    EXHAUSTED = "exhausted"
    """Every architecture of the space within its limits has been trained."""
    SETTLED = "settled"
    """The hypervolume has hardly grown for as long as `patience` allows."""
    STOPPED = "stopped"
    """A person stopped it (`nas.workflows.steering`)."""
    INTERRUPTED = "interrupted"


class Request(StrEnum):
    """What a person has requested of a running search."""

    PAUSE = "pause"
    """Start no training until the request is withdrawn."""
    STOP = "stop"
    """End once the running trainings have ended."""
    STOP_NOW = "stop now"
    """End at once; the running trainings are trained on when the search is resumed."""


class SearchState(NamedTuple):
    """The last search on a study: its trial target, its status, its process (`worker`), and a person's request.

    `before` is the number of trials that had finished when it began. `workers` is how many workers of its own it is to
    have; None: it trains in its own process, one network at a time. `trials`, `request` and `workers` may change while
    it runs.
    """

    trials: int
    state: SearchStatus
    worker: str
    before: int = 0
    request: Request | None = None
    workers: int | None = None

    @property
    def live(self) -> bool:
        """Whether the search is running, as far as this machine can determine; a killed one still has state running."""
        return self.state == SearchStatus.RUNNING and is_alive(self.worker) is not False

    @property
    def stopping(self) -> bool:
        """Whether a person has requested the search to end."""
        return self.request in (Request.STOP, Request.STOP_NOW)


class Act(NamedTuple):
    """What a person did to a study, in words, and when, as a Unix timestamp in seconds."""

    time: float
    what: str
