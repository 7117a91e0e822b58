"""What is known of a study as frozen values: TrialRecord, Outcome (how a training ended), SearchState."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np

from nas.architectures.architecture import Architecture
from nas.architectures.cost import Cost, cost
from nas.study import pareto
from nas.study.config import BY_FLOPS
from nas.system.processes import is_alive

__all__ = [
    "COMPLETE",
    "FAILED",
    "INTERRUPTED",
    "LATENCY_KEY",
    "RESERVED_NAMES",
    "RUNNING",
    "SHORT",
    "STOPPED",
    "WAITING",
    "Outcome",
    "SearchState",
    "TrialRecord",
    "front_of",
    "knee_of",
    "trainings_spent",
    "with_latencies",
]

COMPLETE, SHORT, FAILED, STOPPED, RUNNING, WAITING = "complete", "short", "failed", "stopped", "running", "waiting"
INTERRUPTED = "interrupted"
LATENCY_KEY = "latency (ms)"
"""By what name `measures` has the latency of one image."""
RESERVED_NAMES = frozenset(
    {
        "trial",
        "state",
        "front",
        "name",
        "accuracy",
        "flops",
        "params",
        "activations",
        "seconds",
        "length",
        "seed",
        "epochs",
        "curve",
    }
    | {"reason", "detail", "key", "architecture"}
)
"""What every trial has: nothing else that is measured may be called so."""


@dataclass(frozen=True)
class Outcome:
    """How a training ended: with an accuracy in [0, 1], or without one and with a `reason`, a short code.

    `stopped`: it was given up as beyond hope, which is no failure. `detail` is the message or the end of the traceback
    behind the reason. `measures` is whatever else was measured, by a name with its unit: `{"latency (ms)": 3.2}`.
    """

    accuracy: float | None
    seconds: float
    curve: tuple[float, ...] = ()
    reason: str | None = None
    detail: str | None = None
    measures: Mapping[str, float] = field(default_factory=dict)
    stopped: bool = False


class SearchState(NamedTuple):
    """The last search on a study: the total of trials it was to reach, how it stands, which process it is.

    `state` is running, complete, timeout, exhausted, settled or interrupted; `before` is how many trials had finished
    when it began.
    """

    trials: int
    state: str
    worker: str
    before: int = 0

    @property
    def live(self) -> bool:
        """Whether it goes on, as far as this machine can tell: what was killed cannot say so itself."""
        return self.state == RUNNING and is_alive(self.worker) is not False


@dataclass(frozen=True)
class TrialRecord:
    """One trial: one training. `state` is complete, short, failed, stopped, running or waiting.

    `accuracy` is on the validation images, in [0, 1]; `curve` has it after each epoch. A short trial ran a shorter
    schedule to its end, of `length` epochs (None: the recipe's); its accuracy is not one of a complete trial. A failed
    or stopped trial has a `reason`; one that was interrupted is trained again as another trial. `started` and `ended`
    are in seconds since 1970; `worker` names the process that trains it (`worker_named`); `measures` is
    what an `Outcome` has. `avoided` counts the proposals in its place that could not be had: `duplicates`,
    `over_budget`, and `fallbacks` of a model that could not be fitted. `seed` is that of the training, where
    architectures are trained on several seeds; a search has none. `objective` is its study's: what accuracy is weighed
    against.
    """

    trial: int
    state: str
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
    objective: str = BY_FLOPS
    cost: Cost = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "cost", cost(self.architecture))

    @property
    def name(self) -> str:
        """The architecture's readable name."""
        return self.architecture.name

    @property
    def flops(self) -> int:
        """Multiply–adds of one image."""
        return self.cost.flops

    @property
    def params(self) -> int:
        """Trainable parameters."""
        return self.cost.params

    @property
    def objective_cost(self) -> float | None:
        """What accuracy is weighed against: FLOPs, or the latency in milliseconds, None where it was not measured."""
        return self.flops if self.objective == BY_FLOPS else self.measures.get(LATENCY_KEY)

    def expense_by(self, measures: Mapping[str, float]) -> float:
        """The same of a trial that has just been trained, of which this is known."""
        return self.flops if self.objective == BY_FLOPS else measures[LATENCY_KEY]

    def costs_at_most(self, other: "TrialRecord") -> bool:
        """Whether its expense is known to be no greater than the other one's."""
        mine, theirs = self.objective_cost, other.objective_cost
        return mine is not None and theirs is not None and mine <= theirs

    @property
    def finished(self) -> bool:
        """Whether the trial counts towards a study's total: it ended by itself, well or badly."""
        return self.state in (COMPLETE, SHORT, STOPPED, FAILED) and self.reason != INTERRUPTED

    def epochs_spent(self, full: int) -> int:
        """What a finished trial counts, in epochs, where a full training has `full`.

        A stopped one counts what it trained; a failed one as if it had come to its end, so that failing costs budget.
        """
        if not self.finished:
            return 0
        return max(1, len(self.curve)) if self.state == STOPPED else self.length or full

    def to_dict(self) -> dict[str, Any]:
        """The form that `--json` prints."""
        return {
            "trial": self.trial,
            "state": self.state,
            "name": self.name,
            "accuracy": self.accuracy,
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
            "key": self.architecture.key,
            "architecture": self.architecture.to_dict(),
        }

    @classmethod
    def from_attributes(
        cls, trial: int, state: str, architecture: Architecture, accuracy: float | None, attrs: Mapping[str, Any]
    ) -> "TrialRecord":
        """Rebuilds a record from what `Study.tell` wrote, once it is checked (`nas.study.storage.schema`).

        A trial that has not ended has none of it.
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
            attrs.get("objective", BY_FLOPS),
        )


def front_of(
    records: Sequence[TrialRecord], *, by: Callable[[TrialRecord], float | None] = attrgetter("objective_cost")
) -> list[TrialRecord]:
    """The complete trials that no other one beats on both accuracy and cost, from the least cost to the most.

    The cost is the study's (`objective_cost`), or what `by` gives; trials that have none are left out.
    """
    complete = [record for record in records if record.state == COMPLETE and by(record) is not None]
    indices = pareto.front(
        [record.accuracy or 0.0 for record in complete], np.array([by(record) for record in complete], dtype=float)
    )
    return [complete[index] for index in indices]


def with_latencies(records: Iterable[TrialRecord], latencies: Mapping[str, float] | None) -> list[TrialRecord]:
    """The records, with the milliseconds that were measured after their trials had ended, by the trial's number."""
    if not latencies:
        return list(records)
    return [
        replace(record, measures={**record.measures, LATENCY_KEY: latencies[str(record.trial)]})
        if str(record.trial) in latencies
        else record
        for record in records
    ]


def trainings_spent(records: Iterable[TrialRecord], full: int) -> float:
    """How many full trainings, of `full` epochs each, the finished trials count for."""
    return sum(record.epochs_spent(full) for record in records) / full


def knee_of(
    front: Sequence[TrialRecord], *, by: Callable[[TrialRecord], float | None] = attrgetter("objective_cost")
) -> TrialRecord | None:
    """The member of a front beyond which more cost buys little, on accuracy against the logarithm of the cost."""
    at = pareto.knee([member.accuracy or 0.0 for member in front], np.array([by(member) for member in front], float))
    return front[at] if at is not None else None
