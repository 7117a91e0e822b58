"""Latencies that a choice needs: those of a study's networks that have none yet, measured on this machine and kept."""

from collections.abc import Sequence
from dataclasses import replace

from nas.analysis.cost_metrics import LATENCY
from nas.architectures.profile import disturbance_sentences
from nas.errors import StudyError
from nas.study.records import TrialRecord, front_of, trained_networks, with_latencies
from nas.study.study import Study
from nas.system.hardware import AUTO, device_of, in_words

__all__ = ["MOST_MEASURED", "with_missing_latencies"]

MOST_MEASURED = 100
SECONDS = 0.2


def with_missing_latencies(
    study: Study, records: Sequence[TrialRecord], *, device: str = AUTO
) -> tuple[list[TrialRecord], tuple[str, ...]]:
    """Measures the latency of one image for the study's networks that lack it, at most 100, and keeps it in the study.

    They are the members of the front of accuracy and FLOPs first, then those of the front without them, and so on: the
    best at every cost, as the limit may be a tight one. They are measured in turn, so that what else the machine does
    slows down all alike; if it does, nothing is kept, and a sentence says so.

    Times of two devices cannot be compared. If the study's are of another one, nothing is measured; with a `device`
    that was asked for by name all are measured, for this choice alone.

    Returns:
        The records with the latencies, and sentences on them.
    """
    here, there = in_words(device_of(device)), study.attributes.latency_device
    elsewhere = there not in (None, here)
    if elsewhere and device == AUTO:
        return list(records), (f"Latencies are those of {there}.",)
    if elsewhere:
        records = [replace(record, measures=_without_latency(record)) for record in records]
    missing = _best_at_every_cost([record for record in records if LATENCY.value(record) is None])
    if not missing:
        return list(records), ()
    from nas.architectures.latency import measure_together

    found = measure_together([record.architecture for record in missing], device=device, seconds=SECONDS)
    measured = {record.trial: latency.median for record, latency in zip(missing, found, strict=True)}
    doubts = disturbance_sentences(max(latency.waited for latency in found))
    if not doubts and not elsewhere:
        try:
            study.attributes.latency_device = here
            study.attributes.latencies = {**study.attributes.latencies, **measured}
        except StudyError as error:  # one may choose from a study that one cannot write to
            doubts = (f"The latencies were not kept: {error}.",)
    return with_latencies(records, measured), doubts


def _without_latency(record: TrialRecord) -> dict[str, float]:
    return {name: value for name, value in record.measures.items() if name != LATENCY.key}


def _best_at_every_cost(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    left: list[TrialRecord] = trained_networks(records)
    found: list[TrialRecord] = []
    while left and len(found) < MOST_MEASURED:
        front = {record.trial: record for record in front_of(left, by=lambda record: record.flops)}
        found += front.values()
        left = [record for record in left if record.trial not in front]
    return found[:MOST_MEASURED]
