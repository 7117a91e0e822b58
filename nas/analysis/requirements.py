"""Requirements: what a person wants of a network, and the limits on its cost that follow."""

from typing import NamedTuple, TypedDict

from nas.analysis.cost_metrics import FLOPS, LATENCY, PARAMS, CostMetric
from nas.errors import InvalidValue
from nas.study.records import TrialRecord
from nas.units import parse_count
from nas.validation import real

__all__ = ["Limit", "RequirementOptions", "Requirements"]


class Limit(NamedTuple):
    """The most that a network may cost on an axis; `name` is the user's name for it, such as `max_flops`."""

    name: str
    axis: CostMetric
    most: float

    def kept_by(self, record: TrialRecord) -> bool:
        """Returns whether the record costs at most the limit; an unmeasured cost does not qualify."""
        value = self.axis.value(record)
        return value is not None and value <= self.most


class RequirementOptions(TypedDict, total=False):
    """The fields of `Requirements` as keyword arguments."""

    max_flops: int | str | None
    max_params: int | str | None
    max_latency: float | None
    min_accuracy: float | None
    knee: bool


class Requirements(NamedTuple):
    """A user's requirements for a network.

    `max_flops` and `max_params` are as `parse_count` reads them, `max_latency` is in milliseconds for one image on this
    machine, `min_accuracy` is in [0, 1]; `knee` asks for the point where more cost begins to buy little.
    """

    max_flops: int | str | None = None
    max_params: int | str | None = None
    max_latency: float | None = None
    min_accuracy: float | None = None
    knee: bool = False

    def given(self) -> list[str]:
        """Returns the names of the requirements that are set."""
        return [name for name, value in self._asdict().items() if value not in (None, False)]

    def limits(self) -> list[Limit]:
        """Returns the limits on the cost.

        Raises:
            InvalidValue: A value is out of range, or the requirements contradict each other.
        """
        if self.min_accuracy is not None:
            real(self.min_accuracy, "min_accuracy", minimum=0, maximum=1)
            if self.knee:
                raise InvalidValue("knee and min_accuracy: give one of them; each says where to stop")
        found = [
            Limit(name, axis, parse_count(value, name))
            for name, axis, value in (("max_flops", FLOPS, self.max_flops), ("max_params", PARAMS, self.max_params))
            if value is not None
        ]
        if self.max_latency is not None:
            real(self.max_latency, "max_latency", minimum=1e-6, maximum=1e9)
            found.append(Limit("max_latency", LATENCY, self.max_latency))
        return found
