"""Latencies that a choice needs: those of a study's networks that have none yet, measured on this machine and kept."""

from collections.abc import Sequence

from nas.analysis.cost_metrics import LATENCY
from nas.architectures.profile import disturbance_sentences
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
    slows down all alike; if it does, nothing is kept, and a sentence says so. If the study's latencies are of another
    device, nothing is measured: times of two devices cannot be compared.

    Returns:
        The records with the latencies, and sentences of warning.
    """
    here, there = in_words(device_of(device)), study.attributes.latency_device
    missing = _best_at_every_cost([record for record in records if LATENCY.value(record) is None])
    if not missing or there not in (None, here):
        return list(records), ()
    from nas.architectures.latency import measure_together

    found = measure_together([record.architecture for record in missing], device=device, seconds=SECONDS)
    measured = {record.trial: latency.median for record, latency in zip(missing, found, strict=True)}
    doubts = disturbance_sentences(max(latency.waited for latency in found))
    if not doubts:
        study.attributes.latency_device = here
        study.attributes.latencies = {**study.attributes.latencies, **measured}
    return with_latencies(records, measured), doubts


def _best_at_every_cost(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    left: list[TrialRecord] = trained_networks(records)
    found: list[TrialRecord] = []
    while left and len(found) < MOST_MEASURED:
        front = {record.trial: record for record in front_of(left, by=lambda record: record.flops)}
        found += front.values()
        left = [record for record in left if record.trial not in front]
    return found[:MOST_MEASURED]
