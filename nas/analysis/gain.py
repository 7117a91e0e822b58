"""Gain: what a search found beyond the networks that a person would draw by hand (`nas.spaces.references`)."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from nas.spaces.references import families
from nas.study.config import StudyConfig
from nas.study.precision import BEYOND_CHANCE
from nas.study.records import TrialRecord, TrialState, front_of
from nas.units import count_text, percent_text

__all__ = ["Gain", "gain_sentences", "gains"]


class Gain(NamedTuple):
    """What the front has over a reference, all of it on the validation images.

    `points` is the difference in accuracy, in [-1, 1], to the front's best member of at most the reference's FLOPs, and
    `error` its standard error (0 if the number of images is unknown). `share` is that of the reference's FLOPs which
    the cheapest member needs that is at least as accurate. Without such a member they are 0 and 1.
    """

    family: str
    reference: TrialRecord
    points: float
    error: float
    share: float


def gains(records: Sequence[TrialRecord], config: StudyConfig) -> list[Gain]:
    """Returns what the front has over each reference in a study that no other reference beats, by ascending FLOPs."""
    images = config.effective_images
    family_of = families(config.space)
    drawn = [r for r in records if r.state == TrialState.COMPLETE and r.architecture.key in family_of]
    drawn_keys = {record.architecture.key for record in drawn}  # their short trainings are no find of the search either
    others = [record for record in records if record.architecture.key not in drawn_keys]
    front = front_of(others, by=lambda record: record.flops)
    found = []
    for record in front_of(drawn, by=lambda record: record.flops):
        within = [member for member in front if member.flops <= record.flops]
        best = max(within, key=lambda member: member.quality, default=record)
        error = math.hypot(*(each.standard_error(images) or 0.0 for each in (record, best)))
        least = min((member.flops for member in front if member.quality >= record.quality), default=record.flops)
        points, share = best.quality - record.quality, min(1.0, least / record.flops)
        found.append(Gain(family_of[record.architecture.key], record, points, error, share))
    return found


def gain_sentences(records: Sequence[TrialRecord], config: StudyConfig) -> list[str]:
    """Returns a sentence on what the search gained over each reference; none if it trained no reference."""
    sentences = []
    for gain in gains(records, config):
        record = gain.reference
        points = (
            f"{100 * gain.points:+.1f}".replace("-", "−")
            + (f" ± {100 * gain.error:.1f}" if gain.error else "")
            + " points"
        )
        cheaper = f"its accuracy for {gain.share:.2f} of its FLOPs" if gain.share < 1 else ""
        if gain.points > BEYOND_CHANCE * gain.error:
            what = f"the search found {points} at no more FLOPs" + (f", or {cheaper}" if cheaper else "")
        elif cheaper:
            what = f"the search found {cheaper}; at no more FLOPs nothing beyond chance ({points})"
        else:
            what = f"the search found nothing better at its FLOPs ({points})"
        sentences.append(
            f"Over the {gain.family} {record.name} ({count_text(record.flops)} FLOPs, "
            f"{percent_text(record.quality)}) {what}."
        )
    return sentences
