"""Selection: which network of a study to take under given limits, and why."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from nas.analysis.confirmation import ConfirmationReport, confirmed
from nas.analysis.cost_metrics import FLOPS, LATENCY, CostMetric, default_cost_metric
from nas.analysis.latencies import with_missing_latencies
from nas.analysis.requirements import Limit, Requirements
from nas.errors import NasError, StudyError
from nas.study.records import TrialRecord, front_of, knee_of, trained_networks
from nas.study.study import Study
from nas.system.hardware import AUTO
from nas.units import counted, epochs_text, percent_text

__all__ = [
    "Pick",
    "Recommendation",
    "choose",
    "choose_from",
    "nearest_miss",
    "pick",
    "references",
]


class Pick(NamedTuple):
    """The trial to take, and its neighbours on the front, if any.

    `why` describes it among the `within` trials that keep the limits. `cheaper` and `dearer` are the next members of
    the front that cost less and more, within the limits or not.
    """

    record: TrialRecord
    why: str
    within: int
    cheaper: TrialRecord | None
    dearer: TrialRecord | None

    def reasons(
        self,
        axis: CostMetric,
        limits: Sequence[Limit],
        least_difference: Callable[[TrialRecord], float],
        *,
        among: str = "trained",
    ) -> list[str]:
        """Returns a sentence each on why this trial, what a cheaper one would give and what a more expensive one would.

        Args:
            axis: Cost to compare by.
            limits: Limits that the trial keeps.
            least_difference: Returns the least difference to a trial's accuracy that chance does not explain.
            among: What the networks that it was chosen from have in common.
        """
        limit = " with at most " + " and ".join(each.axis.text(each.most) for each in limits) if limits else ""
        cost = axis.text(axis.value(self.record) or 0.0)
        what = f"{self.why} of the {self.within} {among} networks" if self.within > 1 else f"the only {among} network"
        sentences = [f"Trial {self.record.trial} is {what}{limit}: {self.record.score_text()} at {cost}."]
        if (epochs := self.record.short_epochs) is not None:
            sentences.append(f"It was trained for {epochs_text(epochs)} only: that is a short training.")
        for other, words in ((self.cheaper, "The next step down"), (self.dearer, "The next step up")):
            if other is not None:
                sentences.append(f"{words}: {_against(other, self.record, axis, least_difference)}")
        return sentences


def pick(
    records: Sequence[TrialRecord],
    axis: CostMetric,
    limits: Sequence[Limit] = (),
    *,
    min_accuracy: float | None = None,
    at_knee: bool = False,
) -> Pick | None:
    """Returns the trained network to take within the limits; None if there is none.

    By default that is the most accurate one.

    Args:
        records: Trials to choose from.
        axis: Cost.
        limits: Limits to keep.
        min_accuracy: In [0, 1]; if given, takes the trial of the lowest cost that reaches it.
        at_knee: Takes the trial beyond which more cost buys little, if the front within the limits has a knee.
    """
    networks = [record for record in trained_networks(records) if axis.value(record) is not None]
    least = min_accuracy or 0.0
    within = [r for r in networks if all(limit.kept_by(r) for limit in limits) and r.quality >= least]
    front = front_of(within, by=axis.value)
    if not front:
        return None
    chosen, why = front[-1], "the most accurate"
    if at_knee and (knee := knee_of(front, by=axis.value)) is not None:
        chosen, why = knee, "the knee of the front"
    elif min_accuracy is not None:
        chosen, why = front[0], f"the cheapest, at {percent_text(min_accuracy)} or more,"
    whole = front_of(networks, by=axis.value)
    cost, accuracy = axis.value(chosen) or 0.0, chosen.quality
    cheaper = [member for member in whole if (axis.value(member) or 0.0) < cost and member.quality < accuracy]
    dearer = [member for member in whole if (axis.value(member) or 0.0) > cost and member.quality > accuracy]
    return Pick(chosen, why, len(within), cheaper[-1] if cheaper else None, dearer[0] if dearer else None)


def nearest_miss(records: Sequence[TrialRecord], limits: Sequence[Limit], *, min_accuracy: float | None = None) -> str:
    """Says in one line which trained network comes nearest to the limits, and which of them it breaks.

    The nearest has the smallest maximum excess, each as a multiple of its limit; for accuracy, the error is compared.

    Args:
        records: Trials, none of which keeps all limits.
        limits: Limits on the cost.
        min_accuracy: Required accuracy in [0, 1], if any.

    Raises:
        StudyError: There is no trained network.
    """

    def excesses(record: TrialRecord) -> dict[str, float]:
        found = {limit.name: (limit.axis.value(record) or math.inf) / limit.most for limit in limits}
        if min_accuracy is not None:
            found["min_accuracy"] = (1 - record.quality) / max(1 - min_accuracy, 1e-9)
        return found

    networks = trained_networks(records)
    if not networks:
        raise StudyError("the study has no trained network yet")
    nearest = min(networks, key=lambda record: (max(excesses(record).values()), -record.quality))
    asked = [f"{limit.name}={limit.axis.write(limit.most)}" for limit in limits]
    asked += [f"min_accuracy={min_accuracy:g}"] if min_accuracy is not None else []
    misses = [
        f"{limit.name} (it has {limit.axis.text(limit.axis.value(nearest) or math.inf)})"
        for limit in limits
        if not limit.kept_by(nearest)
    ]
    if min_accuracy is not None and nearest.quality < min_accuracy:
        misses.append(f"min_accuracy (it has {percent_text(nearest.quality)})")
    return (
        f"no trained network meets {' and '.join(asked)}; nearest is trial {nearest.trial}, "
        f"which misses {' and '.join(misses)}"
    )


def references(records: Sequence[TrialRecord]) -> dict[str, TrialRecord]:
    """Returns the most accurate trials of two well-known shapes, if the study has any.

    ResNet-like: every stage has one group. ResNeXt-like (arXiv:1611.05431): every stage has the same number of groups,
    above one, and the width of the grouped convolution doubles from stage to stage.
    """
    shapes: dict[str, list[TrialRecord]] = {"ResNet-like": [], "ResNeXt-like": []}
    for record in trained_networks(records):
        stages = record.architecture.stages
        if len({stage.groups for stage in stages}) > 1:
            continue
        if stages[0].groups == 1:
            shapes["ResNet-like"].append(record)
        elif all(after.mid == 2 * before.mid for before, after in itertools.pairwise(stages)):
            shapes["ResNeXt-like"].append(record)
    return {
        name: max(members, key=lambda record: (record.quality, -record.flops))
        for name, members in shapes.items()
        if members
    }


def _against(
    other: TrialRecord, chosen: TrialRecord, axis: CostMetric, least_difference: Callable[[TrialRecord], float]
) -> str:
    accuracy, base = other.quality, chosen.quality
    points = 100 * abs(accuracy - base)
    chance = ""
    if abs(accuracy - base) < least_difference(other if accuracy > base else chosen):
        chance = ", a difference that may be chance,"
    ratio = (axis.value(other) or 0.0) / (axis.value(chosen) or 1.0)
    cost = f"{100 * ratio:.0f} % of" if ratio < 1 else f"{ratio:.2g} times"
    return (
        f"trial {other.trial}, {points:.2f} points {'more' if accuracy > base else 'less'} accurate{chance} "
        f"for {cost} the {axis.name}."
    )


class Recommendation(NamedTuple):
    """The picked trial, with its confirmed mean as accuracy if it was confirmed, and the reasons, in sentences."""

    pick: Pick
    sentences: list[str]


def choose(study: Study, wanted: Requirements, *, device: str = AUTO) -> Recommendation:
    """Returns the network to take, by confirmed means where there are any and by estimates elsewhere.

    If `wanted` limits the latency, networks that have none recorded are measured on this machine, unless those recorded
    are of another device (`with_missing_latencies`).

    Raises:
        NasError: A requirement is invalid, or no trial meets them all; the message says which comes nearest.
    """
    limits, found, records = wanted.limits(), confirmed(study), study.estimated_records()
    doubts: tuple[str, ...] = ()
    if wanted.max_latency is not None:
        records, doubts = with_missing_latencies(study, records, device=device)
    choice = choose_from(
        records,
        found,
        images=study.config.effective_images,
        axis=default_cost_metric(records),
        limits=limits,
        min_accuracy=wanted.min_accuracy,
        at_knee=wanted.knee,
    )
    if choice is None:
        raise NasError(". ".join([nearest_miss(records, limits, min_accuracy=wanted.min_accuracy), *doubts]))
    unmeasured = sum(LATENCY.value(record) is None for record in trained_networks(records))
    if wanted.max_latency is not None and unmeasured:
        choice.sentences.append(f"Left out, as their latency was not measured: {counted(unmeasured, 'network')}.")
    choice.sentences.extend(doubts)
    return choice


def choose_from(
    records: Sequence[TrialRecord],
    found: ConfirmationReport | None,
    *,
    images: int | None,
    axis: CostMetric = FLOPS,
    limits: Sequence[Limit] = (),
    min_accuracy: float | None = None,
    at_knee: bool = False,
) -> Recommendation | None:
    """Returns the network to take from records already read, on any axis; None if no trial qualifies.

    Confirmed trials have their means over seeds as accuracies, of trainings as long as the search's. Others compete by
    their estimates; without any, only if no confirmed trial qualifies, as what was measured once is too high among the
    best. For the same reason one that is not confirmed is the most accurate only if it is by more than chance explains.

    Args:
        records: Trials of the study.
        found: Confirmations of the study, if any.
        images: Number of validation images; None if unknown.
        axis: Cost.
        limits: Limits to keep.
        min_accuracy: Required accuracy in [0, 1], if any.
        at_knee: Whether to prefer the knee of the front.
    """
    means = _with_measures(found.as_records(), records) if found is not None else []
    known = {record.architecture.key for record in means}
    others = [record for record in trained_networks(records) if record.architecture.key not in known]
    estimated = [record for record in others if record.estimate is not None]
    for pool in ([*means, *estimated], others):
        picked = pick(pool, axis, limits, min_accuracy=min_accuracy, at_knee=at_knee)
        if picked is not None:
            break
    else:
        return None

    def least_difference(record: TrialRecord) -> float:
        confirmed_one = found is not None and record.architecture.key in known
        return found.least_difference if found and confirmed_one else record.least_difference(images)

    best = picked.record
    if best.architecture.key not in known and min_accuracy is None and not at_knee:
        sure = pick(means, axis, limits)
        if sure is not None and best.quality - sure.record.quality < least_difference(best):
            picked = sure
    is_confirmed = picked.record.architecture.key in known
    among = "confirmed" if is_confirmed and (best is not picked.record or not estimated) else "trained"
    reasons = picked.reasons(axis, limits, least_difference, among=among)
    if best is not picked.record:
        more = f"{100 * (best.quality - picked.record.quality):.2f} points more accurate"
        reasons.append(f"Trial {best.trial}, not confirmed, is estimated to be {more}, which may be chance.")
    if found is not None:
        reasons.append(_confirmation_sentence(picked.record, found, is_confirmed=is_confirmed))
        reasons += [text] if (text := found.unfinished_text()) else []
    return Recommendation(picked, reasons)


def _confirmation_sentence(record: TrialRecord, found: ConfirmationReport, *, is_confirmed: bool) -> str:
    if is_confirmed:
        return "Its accuracy is the mean of its confirmation."
    if (other := found.of(record.architecture)) is None:
        return "It is not confirmed yet."
    return (
        f"Its confirmation is by trainings of {epochs_text(other.epochs)}, and networks are compared by those of "
        f"{found.searched}."
    )


def _with_measures(confirmed_ones: Sequence[TrialRecord], records: Sequence[TrialRecord]) -> list[TrialRecord]:
    measures = {record.trial: record.measures for record in records}
    return [replace(each, measures=measures.get(each.trial, {})) for each in confirmed_ones]
