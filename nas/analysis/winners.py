"""Which network of a study is to be used, by what is confirmed where anything is; and the weights that go with it."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from nas.analysis.confirmation import Confirmed, confirmed
from nas.analysis.cost_metrics import FLOPS, LATENCY, PARAMS, Axis, usual_axis
from nas.analysis.selection import Limit, Pick, nearest_miss, pick
from nas.analysis.significance import chance_difference
from nas.errors import InvalidValue, NasError
from nas.study.records import COMPLETE, TrialRecord
from nas.study.study import Study
from nas.system.hardware import AUTO
from nas.units import parse_count
from nas.validation import real

__all__ = ["Choice", "Wanted", "choose", "choose_from", "with_latency"]

MOST_MEASURED = 100


class Wanted(NamedTuple):
    """What a person asks of a network: FLOPs and parameters as `parse_count` reads them, latency in milliseconds of
    one image on this machine, accuracy in [0, 1]; `knee`: where more FLOPs begin to buy little.
    """

    max_flops: int | str | None = None
    max_params: int | str | None = None
    max_latency: float | None = None
    min_accuracy: float | None = None
    knee: bool = False

    def given(self) -> list[str]:
        """Which wishes there are."""
        return [name for name, value in self._asdict().items() if value not in (None, False)]

    def limits(self) -> list[Limit]:
        """The limits on what it costs.

        Raises:
            InvalidValue: a value is not allowed, or the wishes contradict each other.
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


class Choice(NamedTuple):
    """The picked trial, its accuracy the confirmed mean where it was confirmed, and why, in sentences."""

    pick: Pick
    sentences: list[str]


def choose(study: Study, wanted: Wanted, *, device: str = AUTO) -> Choice:
    """The network to take: among the confirmed ones, where there are any that will do, else among all complete trials.

    Where `wanted` limits the latency, it is measured on this machine for those that have none recorded.

    Raises:
        NasError: a wish is not allowed, or no trial fulfils them all; the line says which comes nearest.
    """
    limits, found, records = wanted.limits(), confirmed(study), study.records()
    if wanted.max_latency is not None:
        records = with_latency(records, device=device)
    choice = choose_from(
        records,
        found,
        images=study.config.validation_images,
        axis=usual_axis(records),
        limits=limits,
        min_accuracy=wanted.min_accuracy,
        at_knee=wanted.knee,
    )
    if choice is None:
        raise NasError(nearest_miss(records, limits, min_accuracy=wanted.min_accuracy))
    return choice


def choose_from(
    records: Sequence[TrialRecord],
    found: Confirmed | None,
    *,
    images: int | None,
    axis: Axis = FLOPS,
    limits: Sequence[Limit] = (),
    min_accuracy: float | None = None,
    at_knee: bool = False,
) -> Choice | None:
    """The same from what was read already, on any axis; None where no trial will do.

    Confirmed trials come first: their accuracies are means over seeds, and can be compared with each other alone.
    """
    if found is not None:
        measures = {record.trial: record.measures for record in records}
        means = [replace(each, measures=measures.get(each.trial, {})) for each in found.as_records()]
        picked = pick(means, axis, limits, min_accuracy=min_accuracy, at_knee=at_knee)
        if picked is not None:
            said = picked.reasons(axis, limits, found.least_difference(), kind="confirmed")
            return Choice(picked, [*said, "Accuracies are means over several seeds."])
    picked = pick(records, axis, limits, min_accuracy=min_accuracy, at_knee=at_knee)
    if picked is None:
        return None
    said = picked.reasons(axis, limits, partial(chance_difference, images=images) if images else None)
    unconfirmed = ["No confirmed trial will do. This one is not confirmed, and its score may be luck."]
    return Choice(picked, said + (unconfirmed if found is not None else []))


def with_latency(records: Sequence[TrialRecord], *, device: str = AUTO) -> list[TrialRecord]:
    """The complete trials, with the latency of one image where it was not recorded: at most the 100 most accurate."""
    complete = [record for record in records if record.state == COMPLETE]
    missing = sorted(
        (record for record in complete if LATENCY.value(record) is None), key=lambda record: -(record.accuracy or 0.0)
    )[:MOST_MEASURED]
    if not missing:
        return complete
    from nas.architectures.latency import measure_latency

    measured = {
        record.trial: measure_latency(record.architecture, device=device, seconds=0.1).median for record in missing
    }
    return [
        replace(record, measures={**record.measures, LATENCY.key: measured[record.trial]})
        if record.trial in measured
        else record
        for record in complete
    ]
