"""A study in a few numbers, for lists of studies."""

from dataclasses import asdict, dataclass
from pathlib import PurePath
from typing import Any

from nas.analysis.cost_metrics import FLOPS
from nas.study.records import front_of, trainings_ended, trainings_spent
from nas.study.search_state import Request, SearchState, SearchStatus
from nas.study.study import Study

__all__ = ["Overview", "overview", "status_text"]

STATUS = {
    SearchStatus.RUNNING: "killed",
    SearchStatus.COMPLETE: "complete",
    SearchStatus.TIMEOUT: "its time was up",
    SearchStatus.EXHAUSTED: "complete: the space holds no more",
    SearchStatus.SETTLED: "complete: its front hardly grew any more",
    SearchStatus.STOPPED: "stopped by a person",
    SearchStatus.INTERRUPTED: "interrupted",
}
"""Why a search ended; one that still runs by its status is dead."""


@dataclass(frozen=True)
class Overview:
    """A study in a few numbers.

    Attributes:
        name: the study's name.
        status: whether a search is running, or why the last one ended.
        live: whether a search is running.
        trainings: number of trainings that have ended and not failed.
        spent: their epochs, in units of one full-length training.
        budget: the search's budget in the same units; None if unknown.
        front: (FLOPs, accuracy in [0, 1]) of the front's networks, by ascending FLOPs.
        source: what was searched on, a name or the last part of a path.
        fingerprint: that of its training and validation images; None if unknown.
    """

    name: str
    status: str
    live: bool
    trainings: int
    spent: float
    budget: int | None
    front: tuple[tuple[int, float], ...]
    source: str
    fingerprint: str | None

    @property
    def best(self) -> float | None:
        """The highest accuracy on the front."""
        return self.front[-1][1] if self.front else None

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields for JSON."""
        return {**asdict(self), "best": self.best}


def overview(study: Study) -> Overview:
    """Returns a study in a few numbers."""
    records = study.estimated_records()
    search, config = study.attributes.search, study.config
    return Overview(
        name=study.name,
        status=status_text(search),
        live=search is not None and search.live,
        trainings=trainings_ended(records),
        spent=trainings_spent(records, config.space.recipe.epochs),
        budget=search.trials if search is not None else None,
        front=tuple((record.flops, record.quality) for record in front_of(records, by=FLOPS.value)),
        source=PurePath(str(config.data.get("source", ""))).name,
        fingerprint=config.data.get("fingerprint"),
    )


def status_text(search: SearchState | None) -> str:
    """Says in a word or two whether a search is running, or why it ended."""
    if search is None:
        return "not begun"
    if not search.live:
        return STATUS[search.state]
    if search.request == Request.PAUSE:
        return "paused"
    return "stopping" if search.stopping else "searching"
