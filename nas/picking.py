"""Which trial to take: the most accurate one under a budget, with the reason and what else could be had."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from nas.axes import Axis
from nas.chance import chance_difference
from nas.records import COMPLETE, TrialRecord, front_of
from nas.units import percent_text

__all__ = ["Pick", "pick", "references"]


class Pick(NamedTuple):
    """The most accurate complete trial within a budget, and its neighbours on the front, where it has any.

    `cheaper` is the runner-up: the next member of the front that costs less; `dearer` is the first one over the budget.
    """

    record: TrialRecord
    within: int
    cheaper: TrialRecord | None
    dearer: TrialRecord | None

    def reasons(self, axis: Axis, budget: float | None, images: int | None) -> list[str]:
        """Why this one, what less would give and what more would: a sentence each.

        `images` is how many validation images the accuracies were measured on.
        """
        limit = f" with at most {axis.text(budget)}" if budget is not None else ""
        accuracy, cost = self.record.accuracy or 0.0, axis.value(self.record) or 0.0
        count = f"the {self.within} complete trials{limit}" if self.within > 1 else f"one complete trial{limit}"
        sentences = [
            f"Trial {self.record.trial} is the most accurate of {count}: {percent_text(accuracy)} at {axis.text(cost)}."
        ]
        for other, words in ((self.cheaper, "Runner-up"), (self.dearer, "The next step up")):
            if other is not None:
                sentences.append(f"{words}: {_against(other, self.record, axis, images)}")
        return sentences


def pick(records: Sequence[TrialRecord], axis: Axis, budget: float | None) -> Pick | None:
    """The most accurate complete trial of at most that cost; None where there is none."""
    front = front_of(records, by=axis.value)
    affordable = [member for member in front if budget is None or (axis.value(member) or 0.0) <= budget]
    if not affordable:
        return None
    at = len(affordable) - 1
    within = sum(
        record.state == COMPLETE and (value := axis.value(record)) is not None and (budget is None or value <= budget)
        for record in records
    )
    return Pick(front[at], within, front[at - 1] if at else None, front[at + 1] if at + 1 < len(front) else None)


def references(records: Sequence[TrialRecord]) -> dict[str, TrialRecord]:
    """The most accurate trials of two known shapes, where the study has any.

    ResNet-like: every stage has one group. ResNeXt-like (arXiv:1611.05431): every stage has the same number of
    groups, above one, and the width of the grouped convolution doubles from stage to stage.
    """
    shapes: dict[str, list[TrialRecord]] = {"ResNet-like": [], "ResNeXt-like": []}
    for record in records:
        stages = record.architecture.stages
        if record.state != COMPLETE or len({stage.groups for stage in stages}) > 1:
            continue
        if stages[0].groups == 1:
            shapes["ResNet-like"].append(record)
        elif all(after.mid == 2 * before.mid for before, after in itertools.pairwise(stages)):
            shapes["ResNeXt-like"].append(record)
    return {
        name: max(members, key=lambda record: (record.accuracy or 0.0, -record.flops))
        for name, members in shapes.items()
        if members
    }


def _against(other: TrialRecord, chosen: TrialRecord, axis: Axis, images: int | None) -> str:
    accuracy, base = other.accuracy or 0.0, chosen.accuracy or 0.0
    points = 100 * abs(accuracy - base)
    chance = ""
    if images and abs(accuracy - base) < chance_difference(max(accuracy, base), images):
        chance = f", a difference that may be chance on {images:,} images"
    ratio = (axis.value(other) or 0.0) / (axis.value(chosen) or 1.0)
    cost = f"{100 * ratio:.0f} % of" if ratio < 1 else f"{ratio:.2g} times"
    return (
        f"trial {other.trial}, {points:.2f} points {'more' if accuracy > base else 'less'} accurate{chance}, "
        f"for {cost} the {axis.name}."
    )
