"""Immutable records of a study: TrialRecord, and Outcome, the result of a training."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from operator import attrgetter
from typing import Any

import numpy as np

from nas.architectures.architecture import Architecture
from nas.architectures.cost import Cost, cost
from nas.study import pareto
from nas.study.config import BY_FLOPS
from nas.study.precision import DIFFERENCE, Estimate, standard_error, wilson_interval
from nas.units import percent_text

__all__ = [
    "INTERRUPTED",
    "LATENCY_KEY",
    "RESERVED_NAMES",
    "Outcome",
    "TrialRecord",
    "TrialState",
    "front_of",
    "knee_of",
    "trainings_ended",
    "trainings_spent",
    "with_latencies",
]

INTERRUPTED = "interrupted"
"""Reason of a trial whose worker ended before its training did; the architecture is trained again."""
FREE_FAILURES = 10
"""By how many failed trainings may outnumber the trained networks before each costs as much as a full one."""
LATENCY_KEY = "latency (ms)"
"""Key of the latency for one image in `measures`."""
RESERVED_NAMES = frozenset(
    {
        "trial",
        "state",
        "front",
        "name",
        "accuracy",
        "estimate",
        "error",
        "reference",
        "flops",
        "params",
        "activations",
        "seconds",
        "length",
        "seed",
        "epochs",
        "curve",
    }
    | {"reason", "detail", "by_person", "key", "architecture"}
)
"""Names of the fields that every trial has; not available for additional measures."""


class TrialState(StrEnum):
    """State of a trial: a `short` one completed a shorter schedule, a `stopped` one was stopped early as hopeless.

    Short and complete trials are both `TrialRecord.trained`: annealed to the end of their schedule.
    """

    COMPLETE = "complete"
    SHORT = "short"
    FAILED = "failed"
    STOPPED = "stopped"
    RUNNING = "running"
    WAITING = "waiting"


@dataclass(frozen=True)
class Outcome:
    """Result of a training: an accuracy in [0, 1], or None and a `reason`, a short code.

    `stopped`: the training was stopped early as hopeless, which is not a failure. `detail` is the message or the end of
    the traceback behind the reason. `measures` holds additional measurements, by name with unit:
    `{"latency (ms)": 3.2}`.
    """

    accuracy: float | None
    seconds: float
    curve: tuple[float, ...] = ()
    reason: str | None = None
    detail: str | None = None
    measures: Mapping[str, float] = field(default_factory=dict)
    stopped: bool = False


@dataclass(frozen=True)
class TrialRecord:
    """One trial, that is one training.

    `accuracy` is the validation accuracy, in [0, 1]; `curve` has it after each epoch. `length` is the schedule's epochs
    (None: the recipe's): the network of a short trial would be more accurate if trained for longer. A failed or stopped
    trial has a `reason`; an interrupted one is trained again as another trial. `started` and `ended` are Unix
    timestamps in seconds; `worker` names the process that trains it (`worker_named`); `measures` is as in `Outcome`.
    `avoided` counts what preceded the accepted proposal: `duplicates`, `over_budget`, and `fallbacks`, drawn at random
    because the surrogate could not be fitted. `seed` is the training's seed, where architectures are trained on several
    seeds; None in a search. `by_person`: a person queued it. `objective` is that of the study: the cost that accuracy
    is weighed against. `estimate` is what the other trainings add to the measured accuracy, if
    `Study.estimated_records` was asked for it.
    """

    trial: int
    state: TrialState
    architecture: Architecture
    accuracy: float | None = None
    seconds: float | None = None
    curve: tuple[float, ...] = ()
    reason: str | None = None
    detail: str | None = None
    started: float | None = None
    ended: float | None = None
    worker: str | None = None
    measures: Mapping[str, float] = field(default_factory=dict, hash=False)
    length: int | None = None
    avoided: Mapping[str, int] = field(default_factory=dict, hash=False)
    seed: int | None = None
    by_person: bool = False
    objective: str = BY_FLOPS
    estimate: Estimate | None = None
    cost: Cost = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "cost", cost(self.architecture))

    @property
    def name(self) -> str:
        """Human-readable name of the architecture."""
        return self.architecture.name

    @property
    def flops(self) -> int:
        """Multiply–adds for one image."""
        return self.cost.flops

    @property
    def params(self) -> int:
        """Number of trainable parameters."""
        return self.cost.params

    @property
    def quality(self) -> float:
        """The accuracy to rank by: the estimate if there is one, else the measured one; 0 without either."""
        return self.estimate.accuracy if self.estimate else self.accuracy or 0.0

    def score_text(self) -> str:
        """Formats the accuracy, as `97.60 %` or `96.4 ± 0.3 % estimated, 97.60 % measured`."""
        measured = percent_text(self.accuracy or 0.0)
        return f"{self.estimate.text()} estimated, {measured} measured" if self.estimate else measured

    def standard_error(self, images: int | None) -> float | None:
        """Returns the standard error of `quality`, measured on `images` images; None if that number is unknown."""
        if self.estimate:
            return self.estimate.error
        return standard_error(self.quality, images) if images else None

    def interval(self, images: int | None) -> tuple[float, float] | None:
        """Returns the 95 % interval of `quality`, measured on `images` images; None if that number is unknown."""
        if self.estimate:
            return self.estimate.low, self.estimate.high
        return wilson_interval(self.quality, images) if images else None

    def least_difference(self, images: int | None) -> float:
        """Returns the least difference to a similar network that noise does not explain; 0 if it is unknown."""
        return DIFFERENCE * (self.standard_error(images) or 0.0)

    @property
    def objective_cost(self) -> float | None:
        """Cost that accuracy is weighed against: FLOPs, or latency in ms; None if the latency was not measured."""
        return self.flops if self.objective == BY_FLOPS else self.measures.get(LATENCY_KEY)

    def expense_by(self, measures: Mapping[str, float]) -> float:
        """Returns the objective cost, with the latency taken from `measures` of a training that has just ended."""
        return self.flops if self.objective == BY_FLOPS else measures[LATENCY_KEY]

    def costs_at_most(self, other: "TrialRecord") -> bool:
        """Returns whether its objective cost is known to be at most that of the other trial."""
        mine, theirs = self.objective_cost, other.objective_cost
        return mine is not None and theirs is not None and mine <= theirs

    @property
    def trained(self) -> bool:
        """Whether a schedule of whatever length was completed: there is a network to take home."""
        return self.state in (TrialState.COMPLETE, TrialState.SHORT)

    @property
    def short_epochs(self) -> int | None:
        """The epochs of a training that was completed, but shorter than a full one; None for any other."""
        return self.length if self.state == TrialState.SHORT else None

    @property
    def finished(self) -> bool:
        """Whether the trial counts towards the study's total: it ended in any way but an interruption."""
        return (self.trained or self.state in (TrialState.STOPPED, TrialState.FAILED)) and self.reason != INTERRUPTED

    def epochs_spent(self, full: int) -> int:
        """Returns the epochs that the trial costs the budget; `full` is the length of a full training.

        An unfinished or failed trial costs none, and a stopped one the epochs it trained.
        """
        if not self.finished or self.state == TrialState.FAILED:
            return 0
        return max(1, len(self.curve)) if self.state == TrialState.STOPPED else self.length or full

    def to_dict(self) -> dict[str, Any]:
        """Returns the form that `--json` prints."""
        return {
            "trial": self.trial,
            "state": self.state,
            "name": self.name,
            "accuracy": self.accuracy,
            "estimate": self.estimate.to_dict() if self.estimate else None,
            "flops": self.flops,
            "params": self.params,
            "activations": self.cost.activations,
            "seconds": self.seconds,
            "measures": dict(self.measures),
            "length": self.length,
            "seed": self.seed,
            "epochs": len(self.curve),
            "curve": list(self.curve),
            "reason": self.reason,
            "detail": self.detail,
            "by_person": self.by_person,
            "key": self.architecture.key,
            "architecture": self.architecture.to_dict(),
        }

    @classmethod
    def from_attributes(
        cls, trial: int, state: TrialState, architecture: Architecture, accuracy: float | None, attrs: Mapping[str, Any]
    ) -> "TrialRecord":
        """Builds a record from the attributes that `Study` stored, once validated (`nas.study.storage.schema`).

        Args:
            trial: the trial's number.
            state: the trial's state.
            architecture: the trial's architecture.
            accuracy: validation accuracy in [0, 1]; None: not known.
            attrs: the stored attributes; those that are missing, as before the trial has ended, get defaults.
        """
        return cls(
            trial,
            state,
            architecture,
            accuracy,
            attrs.get("seconds"),
            tuple(attrs.get("curve", ())),
            attrs.get("reason"),
            attrs.get("detail"),
            attrs.get("started"),
            attrs.get("ended"),
            attrs.get("worker"),
            attrs.get("measures", {}),
            attrs.get("length"),
            attrs.get("avoided", {}),
            attrs.get("seed"),
            attrs.get("by_person", False),
            attrs.get("objective", BY_FLOPS),
        )


def trained_networks(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Returns the trials whose networks can be taken home: the longest schedule of each architecture and seed."""
    trained = [record for record in records if record.trained]
    by_length = sorted(trained, key=lambda record: (record.state == TrialState.COMPLETE, record.length or 0))
    longest = {(record.architecture.key, record.seed): record for record in by_length}
    return sorted(longest.values(), key=attrgetter("trial"))


def front_of(
    records: Sequence[TrialRecord], *, by: Callable[[TrialRecord], float | None] = attrgetter("objective_cost")
) -> list[TrialRecord]:
    """Returns the Pareto front of `quality` against cost: the non-dominated trained networks, by ascending cost.

    The cost is the study's (`objective_cost`) unless `by` gives another; trials without one are left out.
    """
    networks = [record for record in trained_networks(records) if by(record) is not None]
    indices = pareto.front(
        [record.quality for record in networks], np.array([by(record) for record in networks], dtype=float)
    )
    return [networks[index] for index in indices]


def with_latencies(records: Iterable[TrialRecord], latencies: Mapping[int, float]) -> list[TrialRecord]:
    """Returns the records with the latencies (ms, by trial number) that were measured after the trials ended."""
    if not latencies:
        return list(records)
    return [
        replace(record, measures={**record.measures, LATENCY_KEY: latencies[record.trial]})
        if record.trial in latencies
        else record
        for record in records
    ]


def trainings_ended(records: Iterable[TrialRecord]) -> int:
    """Returns the number of trainings that have ended, without those that failed."""
    return sum(record.finished and record.state != TrialState.FAILED for record in records)


def trainings_spent(records: Iterable[TrialRecord], full: int) -> float:
    """Returns the budget spent by the finished trials, in full trainings of `full` epochs.

    Failed trainings cost none, but for those that outnumber the trained networks by more than `FREE_FAILURES`, so that
    a search ends in which most fail.
    """
    finished = [record for record in records if record.finished]
    failed = sum(record.state == TrialState.FAILED for record in finished)
    trained = sum(record.trained for record in finished)
    spent = sum(record.epochs_spent(full) for record in finished) / full
    return spent + max(0, failed - trained - FREE_FAILURES)


def knee_of(
    front: Sequence[TrialRecord], *, by: Callable[[TrialRecord], float | None] = attrgetter("objective_cost")
) -> TrialRecord | None:
    """Returns the knee of a front: beyond it, more cost (on a log scale) buys little accuracy; None: no knee."""
    at = pareto.knee([member.quality for member in front], np.array([by(member) for member in front], float))
    return front[at] if at is not None else None
