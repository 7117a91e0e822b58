"""SearchPlan: by what a search chooses, kept with the study, so that every worker chooses alike."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nas.front_sampler import Seen
from nas.samplers import FRONT

__all__ = ["SearchPlan"]


@dataclass(frozen=True)
class SearchPlan:
    """What `nas.search` was asked for beyond the study's configuration, once it is settled.

    `trials`: the study is to spend the epochs of so many full trainings. `lengths` are those of the schedules,
    ascending; `sampler` is one of `nas.samplers.SAMPLERS`, or `nas.storage.QUEUED`: only what was put into the study
    beforehand is trained. `eta` is the share by which rank promotes, for samplers that choose no lengths themselves;
    `stopping` is one of `nas.searching.STOPPING`. `patience`: end once the epochs of so many full trainings have hardly
    raised the hypervolume. `prior` are trainings of an earlier study to learn from.
    """

    trials: int
    lengths: tuple[int, ...]
    sampler: str = FRONT
    eta: int = 3
    stopping: str = "front"
    patience: int | None = None
    prior: tuple[Seen, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON has them."""
        plain = {name: getattr(self, name) for name in ("trials", "sampler", "eta", "stopping", "patience")}
        return {
            **plain,
            "lengths": list(self.lengths),
            "prior": [[dict(s.params), s.length, s.value] for s in self.prior],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "SearchPlan":
        """The inverse of `to_dict`."""
        return cls(**{**data, "lengths": tuple(data["lengths"]), "prior": tuple(Seen(*seen) for seen in data["prior"])})
