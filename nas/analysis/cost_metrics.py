"""Cost metrics to trade accuracy off against: FLOPs, parameters, activations, seconds, or any other measurement."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from nas.study.config import BY_FLOPS
from nas.study.records import LATENCY_KEY, TrialRecord
from nas.units import count_text, duration_text

__all__ = ["FLOPS", "LATENCY", "PARAMS", "CostMetric", "cost_metrics_of", "default_cost_metric", "round_steps"]

STEPS_PER_DECADE = (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)


@dataclass(frozen=True)
class CostMetric:
    """A cost: its value for a trial (None if unknown), its names and its format.

    `name` is for lists, `title` for the axis of a figure, with the unit, and `noun` follows an amount.
    """

    key: str
    name: str
    title: str
    noun: str
    value: Callable[[TrialRecord], float | None]
    write: Callable[[float], str] = count_text

    def text(self, amount: float) -> str:
        """Formats an amount with its noun: `12.4 M FLOPs`, `3m 05s of training`."""
        return f"{self.write(amount)} {self.noun}"

    @property
    def tick_format(self) -> str:
        """Plotly's tick format: prefixes for counts, as in 200k; none with a unit, as 0.2 ms is not 200m ms."""
        return "~s" if self.write is count_text else "~r"


FLOPS = CostMetric("flops", "FLOPs", "FLOPs per image (multiply–adds)", "FLOPs", lambda record: record.flops)
PARAMS = CostMetric("params", "parameters", "parameters", "parameters", lambda record: record.params)
ACTIVATIONS = CostMetric(
    "activations",
    "activations",
    "activations per image (elements)",
    "activations",
    lambda record: record.cost.activations,
)
SECONDS = CostMetric(
    "seconds", "training time", "training time (seconds)", "of training", lambda record: record.seconds, duration_text
)
LATENCY = CostMetric(
    LATENCY_KEY,
    "latency",
    "latency of one image (ms)",
    "ms for one image",
    lambda record: record.measures.get(LATENCY_KEY),
    "{:.3g}".format,
)


def default_cost_metric(records: Sequence[TrialRecord]) -> CostMetric:
    """Returns the cost that the study of these trials trades accuracy off against."""
    return LATENCY if records and records[0].objective != BY_FLOPS else FLOPS


def cost_metrics_of(records: Iterable[TrialRecord]) -> dict[str, CostMetric]:
    """Returns cost metrics by key: the four that every trial has, and one for each name in the trials' `measures`."""
    names = dict.fromkeys(name for record in records for name in record.measures)
    measured = [
        LATENCY if name == LATENCY_KEY else CostMetric(name, name, name, name, _measure(name), "{:.3g}".format)
        for name in names
    ]
    return {axis.key: axis for axis in (FLOPS, PARAMS, ACTIVATIONS, SECONDS, *measured)}


def round_steps(least: float, most: float) -> list[float]:
    """Returns round numbers, ten per decade, over whole decades that contain both ends: the choices for a budget."""
    decade, steps = 1.0, list[float]()
    while decade > least:
        decade /= 10
    while decade * 10 <= least:
        decade *= 10
    while not steps or steps[-1] < most:
        steps += [float(f"{decade * step:.3g}") for step in STEPS_PER_DECADE]
        decade *= 10
    return steps


def _measure(name: str) -> Callable[[TrialRecord], float | None]:
    return lambda record: record.measures.get(name)
