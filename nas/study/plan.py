"""SearchPlan: the settings of a search, stored with the study so that all workers use the same ones."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from nas.errors import InvalidValue
from nas.study.storage.backend import QUEUED
from nas.validation import boolean, integer, mapping, one_of, real, sequence, shown, text

__all__ = ["FRONT", "PATIENCE_STORAGE", "SAMPLERS", "TRIALS", "PastTraining", "SearchPlan"]

FRONT = "front"
SAMPLERS = (FRONT, "tpe", "tpe-multivariate", "nsga2", "random", "gp")
"""Values of `nas search --sampler`."""
TRIALS = 50
"""The usual budget of a search, in full trainings."""
PATIENCE_STORAGE = 600.0
"""Seconds for which workers wait for a database that cannot be used, unless told otherwise."""


def _texts(value: object, field: str) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise InvalidValue(f"{field}={shown(value)}: must be a mapping")
    return {text(name, field): text(each, field) for name, each in value.items()}


CHECKS: Mapping[str, Callable[[object, str], Any]] = {
    "trials": lambda value, field: integer(value, field, maximum=10**9),
    "sampler": lambda value, field: one_of(value, field, (*SAMPLERS, QUEUED)),
    "eta": lambda value, field: integer(value, field, minimum=2),
    "stopping": text,
    "patience": lambda value, field: integer(value, field, maximum=10**6),
    "keep": text,
    "trial_timeout": lambda value, field: real(value, field, minimum=0, maximum=1e12),
    "software": _texts,
    "patience_storage": lambda value, field: real(value, field, minimum=0, maximum=1e9),
    "references": boolean,
    "artifacts": lambda value, field: value if value is None else text(value, field),
}
"""The plan's fields with plain values, and their validators."""


class PastTraining(NamedTuple):
    """A training of an earlier study: the parameters of a point, the length (None: full) and the accuracy."""

    params: Mapping[str, Any]
    length: int | None
    value: float


@dataclass(frozen=True)
class SearchPlan:
    """The resolved settings of a search, beyond the study's configuration.

    Attributes:
        trials: total budget of the study, in units of one full-length training.
        lengths: schedule lengths in epochs, ascending.
        sampler: one of `SAMPLERS`, or `QUEUED`: train only the trials that were queued beforehand.
        eta: reduction factor of the promotion by rank, for samplers that do not choose lengths themselves.
        stopping: one of `STOPPING`.
        patience: end the search once the last `patience` full trainings' worth of epochs have hardly raised the
            hypervolume; None: never.
        prior: trainings of an earlier study, for a warm start.
        keep: one of `KEEP`.
        trial_timeout: seconds after which a training is ended; None: no limit.
        patience_storage: seconds for which workers wait for a database that cannot be used.
        software: what the search was begun with (`nas.system.software`); workers that join are compared with it.
        artifacts: URL of the folder where the files of trials are kept for all machines; None: nowhere else.
        references: train networks drawn by hand (`nas.spaces.references`) too, for at most a tenth of the epochs.
    """

    trials: int
    lengths: tuple[int, ...]
    sampler: str = FRONT
    eta: int = 3
    stopping: str = "front"
    patience: int | None = None
    prior: tuple[PastTraining, ...] = ()
    keep: str = "all"
    trial_timeout: float | None = None
    patience_storage: float = PATIENCE_STORAGE
    software: Mapping[str, str] = field(default_factory=dict)
    references: bool = False
    artifacts: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values that can be serialised to JSON."""
        plain = {name: getattr(self, name) for name in CHECKS}
        return {
            **plain,
            "software": dict(self.software),
            "lengths": list(self.lengths),
            "prior": [[dict(s.params), s.length, s.value] for s in self.prior],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "SearchPlan":
        """Builds a plan from the output of `to_dict`.

        Raises:
            InvalidValue: not an output of `to_dict`, naming the field.
        """
        top = mapping(data, "plan", required=("trials", "lengths", "prior"), optional=CHECKS)
        lengths = [
            integer(length, "plan.lengths", maximum=100_000) for length in sequence(top["lengths"], "plan.lengths")
        ]
        plain = {name: check(top[name], f"plan.{name}") for name, check in CHECKS.items() if top.get(name) is not None}
        if not isinstance(top["prior"], list):
            raise InvalidValue(f"plan.prior={shown(top['prior'])}: must be a list")
        return cls(**plain, lengths=tuple(lengths), prior=tuple(_seen(each) for each in top["prior"]))


def _seen(data: object) -> PastTraining:
    """Validates one training of an earlier study: `[params, length, accuracy]`."""
    point, length, value = sequence(data, "plan.prior") if isinstance(data, list) and len(data) == 3 else ({}, 0, 0)
    if not isinstance(point, Mapping) or not all(isinstance(name, str) for name in point):
        raise InvalidValue(f"plan.prior={shown(point)}: must be the parameters of a trial")
    params = {name: integer(number, f"plan.prior.{name}") for name, number in point.items()}
    length = None if length is None else integer(length, "plan.prior", maximum=100_000)
    return PastTraining(params, length, real(value, "plan.prior", minimum=0, maximum=1))
