"""SearchPlan: by what a search chooses, kept with the study, so that every worker chooses alike."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from nas.errors import InvalidValue
from nas.study.storage.backend import QUEUED
from nas.validation import integer, mapping, one_of, real, sequence, shown, text

__all__ = ["FRONT", "SAMPLERS", "PastTraining", "SearchPlan"]

FRONT = "front"
SAMPLERS = (FRONT, "tpe", "tpe-multivariate", "nsga2", "random", "gp")
"""The names that `nas search --sampler` takes."""

CHECKS: Mapping[str, Callable[[object, str], Any]] = {
    "trials": lambda value, field: integer(value, field, maximum=10**9),
    "sampler": lambda value, field: one_of(value, field, (*SAMPLERS, QUEUED)),
    "eta": lambda value, field: integer(value, field, minimum=2),
    "stopping": text,
    "patience": lambda value, field: integer(value, field, maximum=10**6),
    "keep": text,
    "trial_timeout": lambda value, field: real(value, field, minimum=0, maximum=1e12),
}
"""What of a plan is a plain value, and how it is checked."""


class PastTraining(NamedTuple):
    """A training of the past: a point's parameters, its length (None: full), its value."""

    params: Mapping[str, Any]
    length: int | None
    value: float


@dataclass(frozen=True)
class SearchPlan:
    """What `nas.search` was asked for beyond the study's configuration, once it is settled.

    `trials`: the study is to spend the epochs of so many full trainings. `lengths` are those of the schedules,
    ascending; `sampler` is one of `SAMPLERS`, or `QUEUED`: only what was put into the study
    beforehand is trained. `eta` is the share by which rank promotes, for samplers that choose no lengths themselves;
    `stopping` is one of `STOPPING`. `patience`: end once the epochs of so many full trainings have hardly
    raised the hypervolume. `prior` are trainings of an earlier study to learn from. `keep` is one of
    `KEEP`. `trial_timeout`, in seconds: a training that takes longer is ended.
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

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON has them."""
        plain = {name: getattr(self, name) for name in CHECKS}
        return {
            **plain,
            "lengths": list(self.lengths),
            "prior": [[dict(s.params), s.length, s.value] for s in self.prior],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "SearchPlan":
        """The inverse of `to_dict`.

        Raises:
            InvalidValue: nothing that `to_dict` gives, naming the field.
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
    """A training of an earlier study: its point, its length and its accuracy."""
    point, length, value = sequence(data, "plan.prior") if isinstance(data, list) and len(data) == 3 else ({}, 0, 0)
    if not isinstance(point, Mapping) or not all(isinstance(name, str) for name in point):
        raise InvalidValue(f"plan.prior={shown(point)}: must be the parameters of a trial")
    params = {name: integer(number, f"plan.prior.{name}") for name, number in point.items()}
    length = None if length is None else integer(length, "plan.prior", maximum=100_000)
    return PastTraining(params, length, real(value, "plan.prior", minimum=0, maximum=1))
