"""Confirmation: architectures retrained from scratch on several seeds, and what that says about the search's scores."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import inf, sqrt
from statistics import fmean, stdev, variance
from typing import Any, NamedTuple

from nas.analysis.significance import front_probability
from nas.architectures.architecture import Architecture
from nas.study import pareto
from nas.study.catalog import list_repetitions
from nas.study.creation import IncompleteStudy
from nas.study.precision import DIFFERENCE
from nas.study.records import TrialRecord, TrialState, trained_networks
from nas.study.storage.backend import QUEUED
from nas.study.storage.optuna_private import storage_of
from nas.study.study import Study
from nas.units import percent_text

__all__ = [
    "Confirmation",
    "ConfirmationReport",
    "Spread",
    "confirmations",
    "confirmed",
    "front_rows",
    "holds_repetitions",
    "repetitions_of",
]


class Spread(NamedTuple):
    """Mean and standard deviation of accuracies; the latter is None for a single value."""

    mean: float
    std: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread | None":
        """Returns the spread of the values; None if there are none."""
        return cls(fmean(values), stdev(values) if len(values) > 1 else None) if values else None

    def text(self) -> str:
        """Formats the spread as `97.21 ± 0.30 %`; a single value without ±."""
        return percent_text(self.mean) if self.std is None else f"{100 * self.mean:.2f} ± {100 * self.std:.2f} %"


@dataclass(frozen=True)
class Confirmation:
    """One architecture: `record` is its trial in the search, `trainings` are its complete trainings on other seeds.

    `probability` is the probability of truly being on the front of the confirmed architectures, given the spread over
    seeds (None if each has a single seed); `on_front` says whether it is on the front of the means. `tested` maps
    trainings to their accuracy on the test images, where evaluated. Without a search, `record` is the best training.
    """

    record: TrialRecord
    trainings: tuple[TrialRecord, ...]
    probability: float | None
    on_front: bool
    tested: Mapping[int, float]

    @property
    def accuracies(self) -> tuple[float, ...]:
        """Accuracies on the validation images, by seed."""
        return tuple(training.accuracy or 0.0 for training in self.trainings)

    @property
    def validation(self) -> Spread:
        """Spread of `accuracies`."""
        spread = Spread.of(self.accuracies)
        assert spread is not None  # there is a training
        return spread

    @property
    def test(self) -> Spread | None:
        """Spread of the accuracies on the test images; None if these were not evaluated."""
        return Spread.of(list(self.tested.values()))

    @property
    def optimism(self) -> float | None:
        """By how much the search's estimate, or its score, exceeds the confirmed mean; None without a search."""
        if self.record in self.trainings or self.record.accuracy is None:
            return None
        return self.record.quality - self.validation.mean

    @property
    def best(self) -> TrialRecord:
        """The training with the best validation accuracy; the first of equal ones."""
        return _best(self.trainings)

    def to_dict(self) -> dict[str, Any]:
        """Returns the form that `--json` prints."""
        return {
            "seeds": [training.seed for training in self.trainings],
            "accuracies": list(self.accuracies),
            **self.validation._asdict(),
            "probability": self.probability,
            "on_front": self.on_front,
            "optimism": self.optimism,
            "test": {"accuracies": list(self.tested.values()), **self.test._asdict()} if self.test else None,
        }


@dataclass(frozen=True)
class ConfirmationReport:
    """All confirmations of a study, from the lowest cost to the highest; `study` holds their trainings.

    `searched` is the number of epochs of a full training in the search.
    """

    study: Study
    members: tuple[Confirmation, ...]
    searched: int

    @property
    def epochs(self) -> int:
        """Epochs of each confirmation training."""
        return self.study.config.space.recipe.epochs

    @property
    def optimism(self) -> Spread | None:
        """Spread over all confirmed architectures of how far the search's scores exceed the confirmed means."""
        return Spread.of([value for member in self.members if (value := member.optimism) is not None])

    def optimism_text(self) -> str | None:
        """Summarises in a sentence how far off the search's scores were; None without a search."""
        if (optimism := self.optimism) is None:
            return None
        spread = f" ± {100 * optimism.std:.1f}" if optimism.std is not None else ""
        points = f"{100 * abs(optimism.mean):.1f}{spread} points"
        which = "the confirmed architectures" if len(self.members) > 1 else "the confirmed architecture"
        text = f"The search scored {which} {points} too {'high' if optimism.mean > 0 else 'low'}"
        if self.epochs != self.searched:
            return f"{text}; but they were confirmed with {self.epochs} epochs, and searched with {self.searched}."
        return f"{text}: the best scores owe part of their rank to chance." if optimism.mean > 0 else f"{text}."

    def as_records(self) -> list[TrialRecord]:
        """Returns the trials with their confirmed means as accuracies."""
        return [replace(member.record, accuracy=member.validation.mean, estimate=None) for member in self.members]

    @property
    def least_difference(self) -> float:
        """Two standard errors of the difference of two means over seeds; 0 if no architecture has several seeds."""
        spread = _pooled([member.trainings for member in self.members]) or 0.0
        return DIFFERENCE * spread / sqrt(min(len(member.trainings) for member in self.members))

    def missing(self, front: Sequence[TrialRecord]) -> list[TrialRecord]:
        """Returns the members of a search's front that are not confirmed yet."""
        return [record for record in front if self.of(record.architecture) is None]

    def of(self, architecture: Architecture) -> Confirmation | None:
        """Returns an architecture's confirmation, if any; its number of classes, set by the images, is ignored."""
        return next((each for each in self.members if each.record.architecture.alike(architecture)), None)


def holds_repetitions(study: Study) -> bool:
    """Returns whether a study holds trainings of fixed architectures on several seeds, rather than a search."""
    return (plan := study.attributes.plan) is not None and plan.sampler == QUEUED


def repetitions_of(study: Study) -> dict[int, str]:
    """Returns, by epochs, the names of the studies in a study's folder that hold its repeated trainings."""
    return list_repetitions(
        study.name, study.folder, database=storage_of(study.optuna_study) if study.storage else None
    )


def confirmed(study: Study) -> ConfirmationReport | None:
    """Returns the confirmations of a study, from its longest repeated trainings; None if there are none.

    A study created by `nas.retrain` is its own confirmation.
    """
    for repetitions in _repetitions(study):
        records = repetitions.records()
        searched = [] if repetitions is study else study.estimated_records()
        if members := confirmations(searched, records, repetitions.attributes.tested):
            return ConfirmationReport(repetitions, tuple(members), study.config.space.recipe.epochs)
    return None


def _repetitions(study: Study) -> list[Study]:
    """Returns the studies that hold repeated trainings, the longest trainings first."""
    if holds_repetitions(study):
        return [study]
    found = repetitions_of(study)
    opened = []
    for epochs in sorted(found, reverse=True):
        with suppress(IncompleteStudy):
            opened.append(Study.open(found[epochs], study.folder, storage=study.storage))
    return opened


def front_rows(study: Study, found: ConfirmationReport | None) -> list[dict[str, Any]]:
    """Returns the front and all confirmed architectures by cost, in the form that `--json` prints."""
    members = found.members if found else ()
    unconfirmed = found.missing(study.front()) if found else study.front()
    rows: list[tuple[TrialRecord, Confirmation | None]] = [(member.record, member) for member in members]
    rows += [(record, None) for record in unconfirmed]
    ordered = sorted(rows, key=lambda row: (*_by_expense(row[0]), row[0].trial))
    return [{**record.to_dict(), "confirmed": member.to_dict() if member else None} for record, member in ordered]


def confirmations(
    searched: Sequence[TrialRecord], repeated: Sequence[TrialRecord], tested: Mapping[int, float]
) -> list[Confirmation]:
    """Returns a confirmation for each architecture with repeated trainings, sorted by the search's cost.

    Args:
        searched: Trials of the search; empty if there was none.
        repeated: Trials of the repeated trainings; only complete ones count.
        tested: Accuracy on the test images by the trial number of a repeated training.
    """
    trainings: dict[str, list[TrialRecord]] = {}
    for record in sorted(repeated, key=lambda record: record.seed or 0):
        if record.state == TrialState.COMPLETE:
            trainings.setdefault(record.architecture.key, []).append(record)
    found = {record.architecture.key: record for record in trained_networks(searched)}
    shown = {key: found.get(key, _best(group)) for key, group in trainings.items()}
    groups = sorted(trainings.values(), key=lambda group: _by_expense(shown[group[0].architecture.key]))
    means = [fmean(record.accuracy or 0.0 for record in group) for group in groups]
    costs = [_by_expense(shown[group[0].architecture.key])[0] for group in groups]
    front = set(pareto.front(means, costs).tolist())
    return [
        Confirmation(
            shown[group[0].architecture.key],
            tuple(group),
            probability,
            index in front,
            {record.trial: tested[record.trial] for record in group if record.trial in tested},
        )
        for index, (group, probability) in enumerate(zip(groups, _probabilities(groups, means, costs), strict=True))
    ]


def _by_expense(record: TrialRecord) -> tuple[float, int]:
    """Sort key: the study's cost, unknown ones last, then FLOPs."""
    return (inf if record.objective_cost is None else record.objective_cost), record.flops


def _best(trainings: Sequence[TrialRecord]) -> TrialRecord:
    return max(trainings, key=lambda training: training.accuracy or 0.0)


def _probabilities(
    groups: Sequence[Sequence[TrialRecord]], means: Sequence[float], costs: Sequence[float]
) -> Sequence[float | None]:
    """Returns front probabilities from the spread over seeds; None each if no architecture has several seeds."""
    spread = _pooled(groups)
    if spread is None:
        return [None] * len(groups)
    freedom = sum(len(group) - 1 for group in groups)
    errors = [spread / sqrt(len(group)) for group in groups]
    return [float(share) for share in front_probability(means, costs, errors, freedom=freedom)]


def _pooled(groups: Sequence[Sequence[TrialRecord]]) -> float | None:
    """Returns the standard deviation over seeds, pooled over all architectures: three seeds of one say little."""
    freedom = sum(len(group) - 1 for group in groups)
    if not freedom:
        return None
    values = [[record.accuracy or 0.0 for record in group] for group in groups]
    return sqrt(sum(variance(each) * (len(each) - 1) for each in values if len(each) > 1) / freedom)
