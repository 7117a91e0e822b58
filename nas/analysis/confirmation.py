"""Confirmation: architectures retrained from scratch on several seeds, and what that says about the search's scores."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from math import inf, sqrt
from operator import attrgetter
from statistics import fmean, stdev, variance
from typing import Any, NamedTuple

from nas.analysis.significance import front_probability
from nas.architectures.architecture import Architecture
from nas.study import pareto
from nas.study.catalog import CONFIRMED, list_repetitions
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
    "Repetitions",
    "Spread",
    "by_expense",
    "confirmations",
    "confirmed",
    "front_rows",
    "holds_repetitions",
    "opened_repetitions",
    "repetitions_of",
    "repetitions_underway",
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
class Repetitions:
    """Trainings of `epochs` epochs on several seeds: the trials of `study` (None: not stored), with test accuracies.

    `tested` maps trial numbers to accuracies on the test images, where evaluated.
    """

    epochs: int
    records: Sequence[TrialRecord]
    tested: Mapping[int, float] = field(default_factory=dict)
    study: Study | None = None


@dataclass(frozen=True)
class Confirmation:
    """One architecture: `record` is its trial in the search, `trainings` are its complete trainings on other seeds.

    They were trained for `epochs` epochs each, and are stored in `study`; a full training of the search took `full`.

    `probability` is the probability of truly being on the front of the architectures confirmed by trainings as long,
    given the spread over seeds (None if each has a single seed); `on_front` says whether it is on the front of their
    means. `tested` maps trainings to their accuracy on the test images, where evaluated. Without a search, `record` is
    the best training.
    """

    record: TrialRecord
    trainings: tuple[TrialRecord, ...]
    probability: float | None
    on_front: bool
    tested: Mapping[int, float]
    epochs: int
    full: int
    study: Study | None = field(default=None, compare=False, repr=False)

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
        """By how much the search's estimate, or its score, exceeds the confirmed mean.

        None without a search, and if its training was shorter or longer.
        """
        same_length = (self.record.length or self.full) == self.epochs
        if self.record in self.trainings or self.record.accuracy is None or not same_length:
            return None
        return self.record.quality - self.validation.mean

    @property
    def best(self) -> TrialRecord:
        """The training with the best validation accuracy; the first of equal ones."""
        return _best(self.trainings)

    def to_dict(self) -> dict[str, Any]:
        """Returns the form that `--json` prints."""
        return {
            "epochs": self.epochs,
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
    """All confirmations of a study, from the lowest cost to the highest.

    An architecture that was trained for several numbers of epochs has a confirmation for each. `searched` is the number
    of epochs of a full training in the search, `unfinished` the number of trainings that were begun or queued and have
    not ended.
    """

    members: tuple[Confirmation, ...]
    searched: int
    unfinished: int = 0

    @property
    def optimism(self) -> Spread | None:
        """Spread of how far the search's estimates exceed the confirmed means, over what was trained as long as then.

        None without a search.
        """
        return Spread.of(self._excesses())

    def _excesses(self) -> list[float]:
        return [value for member in self._comparable if (value := member.optimism) is not None]

    def optimism_text(self) -> str | None:
        """Summarises in a sentence how far off the search's estimates were, ± standard error; None without a search."""
        if (optimism := self.optimism) is None:
            return None
        from scipy.special import stdtrit

        count, side = len(self._excesses()), "high" if optimism.mean > 0 else "low"
        if optimism.std is None:
            points = f"{100 * abs(optimism.mean):.1f} points"
            return f"The search put the confirmed architecture {points} too {side}; of one alone that may be chance."
        error = optimism.std / sqrt(count)
        points = f"{100 * abs(optimism.mean):.1f} ± {100 * error:.1f} points"
        text = f"The search put the {count} confirmed architectures {points} too {side}"
        if abs(optimism.mean) <= float(stdtrit(count - 1, 0.975)) * error:  # Student's t: of two the error is vague
            return f"{text}, no more than chance explains."
        return f"{text}: the best owe part of their rank to chance." if optimism.mean > 0 else f"{text}."

    def unfinished_text(self) -> str | None:
        """Says in a sentence that trainings are missing; None if none is."""
        if not self.unfinished:
            return None
        what = f"{self.unfinished} trainings are" if self.unfinished > 1 else "1 training is"
        return f"The confirmation is not finished: {what} missing; the same nas confirm resumes it."

    @property
    def _comparable(self) -> list[Confirmation]:
        """The confirmations by trainings as long as the search's, with whose estimates they may be compared."""
        return [member for member in self.members if member.epochs == self.searched]

    def as_records(self) -> list[TrialRecord]:
        """Returns the trials with their confirmed means, of trainings as long as the search's, as accuracies."""
        return [replace(each.record, accuracy=each.validation.mean, estimate=None) for each in self._comparable]

    @property
    def least_difference(self) -> float:
        """Two standard errors of the difference of two such means over seeds; 0 if none is of several seeds."""
        spread = _pooled([member.trainings for member in self._comparable])
        return DIFFERENCE * spread / sqrt(min(len(member.trainings) for member in self._comparable)) if spread else 0.0

    def missing(self, front: Sequence[TrialRecord]) -> list[TrialRecord]:
        """Returns the members of a search's front that are not confirmed yet."""
        return [record for record in front if self.of(record.architecture) is None]

    def of(self, architecture: Architecture) -> Confirmation | None:
        """Returns an architecture's longest confirmation, if any, regardless of the number of classes."""
        alike = [member for member in self.members if member.record.architecture.alike(architecture)]
        return max(alike, key=attrgetter("epochs"), default=None)


def holds_repetitions(study: Study) -> bool:
    """Returns whether a study holds trainings of fixed architectures on several seeds, rather than a search."""
    return (plan := study.attributes.plan) is not None and plan.sampler == QUEUED


def repetitions_of(study: Study, kind: str = CONFIRMED) -> dict[int, str]:
    """Returns, by epochs, the names of the studies in a study's folder that hold its repeated trainings of a kind."""
    database = storage_of(study.optuna_study) if study.storage else None
    return list_repetitions(study.name, study.folder, kind=kind, database=database)


def confirmed(study: Study) -> ConfirmationReport | None:
    """Returns the confirmations of a study, of all lengths; None if there are none.

    A study created by `nas.retrain` is its own confirmation.
    """
    found = [
        Repetitions(each.config.space.recipe.epochs, each.records(), each.attributes.tested, each)
        for each in _repetitions(study)
    ]
    searched = [] if holds_repetitions(study) else study.estimated_records()
    full = study.config.space.recipe.epochs
    members = confirmations(searched, found, full=full)
    if not members:
        return None
    left = sum(record.state in (TrialState.WAITING, TrialState.RUNNING) for each in found for record in each.records)
    return ConfirmationReport(tuple(members), full, left)


def _repetitions(study: Study) -> list[Study]:
    """Returns the studies that hold repeated trainings, by their epochs."""
    if holds_repetitions(study):
        return [study]
    return opened_repetitions(study, CONFIRMED)


def opened_repetitions(study: Study, kind: str) -> list[Study]:
    """Returns the studies in a study's folder that hold its repeated trainings of a kind, by their epochs."""
    found = repetitions_of(study, kind)
    opened = []
    for epochs in sorted(found):
        with suppress(IncompleteStudy):
            opened.append(Study.open(found[epochs], study.folder, storage=study.storage))
    return opened


def repetitions_underway(study: Study, *kinds: str) -> Study | None:
    """Returns the study in a study's folder that repeats trainings of these kinds right now; None if none does."""
    for kind in kinds:
        for opened in opened_repetitions(study, kind):
            if (state := opened.attributes.search) is not None and state.live:
                return opened
    return None


def front_rows(study: Study, found: ConfirmationReport | None) -> list[dict[str, Any]]:
    """Returns the front and all confirmed architectures by cost, in the form that `--json` prints."""
    members = found.members if found else ()
    unconfirmed = found.missing(study.front()) if found else study.front()
    rows: list[tuple[TrialRecord, Confirmation | None]] = [(member.record, member) for member in members]
    rows += [(record, None) for record in unconfirmed]
    ordered = sorted(rows, key=lambda row: (*by_expense(row[0]), row[0].trial))
    return [{**record.to_dict(), "confirmed": member.to_dict() if member else None} for record, member in ordered]


def confirmations(searched: Sequence[TrialRecord], repeated: Sequence[Repetitions], *, full: int) -> list[Confirmation]:
    """Returns a confirmation for each architecture and number of epochs, by the search's cost, then by epochs.

    Args:
        searched: Trials of the search; empty if there was none.
        repeated: Repeated trainings, of which only complete ones count.
        full: Epochs of a full training of the search.
    """
    of_search = {record.architecture.key: record for record in trained_networks(searched)}
    found = [member for each in repeated for member in _of_one_length(of_search, each, full)]
    return sorted(found, key=lambda member: (*by_expense(member.record), member.epochs))


def _of_one_length(of_search: Mapping[str, TrialRecord], repeated: Repetitions, full: int) -> list[Confirmation]:
    trainings: dict[str, list[TrialRecord]] = {}
    for record in sorted(repeated.records, key=lambda record: record.seed or 0):
        if record.state == TrialState.COMPLETE:
            trainings.setdefault(record.architecture.key, []).append(record)
    records = [of_search.get(key, _best(group)) for key, group in trainings.items()]
    groups = list(trainings.values())
    means = [fmean(record.accuracy or 0.0 for record in group) for group in groups]
    costs = [by_expense(record)[0] for record in records]
    front = set(pareto.front(means, costs).tolist())
    probabilities = _probabilities(groups, means, costs)
    return [
        Confirmation(
            record,
            tuple(group),
            probability,
            index in front,
            {
                training.trial: repeated.tested[training.trial]
                for training in group
                if training.trial in repeated.tested
            },
            repeated.epochs,
            full,
            repeated.study,
        )
        for index, (record, group, probability) in enumerate(zip(records, groups, probabilities, strict=True))
    ]


def by_expense(record: TrialRecord) -> tuple[float, int]:
    """Returns a sort key: the study's cost, unknown ones last, then FLOPs."""
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
