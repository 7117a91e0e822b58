"""Confirmation: an architecture trained from scratch on several seeds, and what that says of the search's score."""

from collections.abc import Callable, Mapping, Sequence
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
from nas.study.records import COMPLETE, TrialRecord
from nas.study.storage.backend import QUEUED
from nas.study.study import Study
from nas.units import percent_text

__all__ = [
    "TESTED",
    "Confirmation",
    "ConfirmationReport",
    "Spread",
    "confirmations",
    "confirmed",
    "front_rows",
    "holds_repetitions",
    "repetitions_of",
]

TESTED = "tested"
"""The attribute of a study of repetitions that has the accuracy on the test images by trial."""


class Spread(NamedTuple):
    """Mean and standard deviation of accuracies; the latter None for a single one."""

    mean: float
    std: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread | None":
        """None of no value."""
        return cls(fmean(values), stdev(values) if len(values) > 1 else None) if values else None

    def text(self) -> str:
        """`97.21 ± 0.30 %`; without a spread where there is one value."""
        return percent_text(self.mean) if self.std is None else f"{100 * self.mean:.2f} ± {100 * self.std:.2f} %"


@dataclass(frozen=True)
class Confirmation:
    """One architecture: `record` is its trial in the search, `trainings` are the complete ones on other seeds.

    `probability` is that of truly being on the front of those confirmed, by the spread over seeds (None where there is
    one seed); `on_front` says whether it is on that of the means. `tested` has the accuracy on the test images by
    training, where they were read. Where there was no search, `record` is the best training.
    """

    record: TrialRecord
    trainings: tuple[TrialRecord, ...]
    probability: float | None
    on_front: bool
    tested: Mapping[int, float]

    @property
    def accuracies(self) -> tuple[float, ...]:
        """On the validation images, by seed."""
        return tuple(training.accuracy or 0.0 for training in self.trainings)

    @property
    def validation(self) -> Spread:
        """Of `accuracies`."""
        spread = Spread.of(self.accuracies)
        assert spread is not None  # there is a training
        return spread

    @property
    def test(self) -> Spread | None:
        """On the test images; None where they were not read."""
        return Spread.of(list(self.tested.values()))

    @property
    def optimism(self) -> float | None:
        """By how much the search's score is above the mean; None where there was no search."""
        if self.record in self.trainings or self.record.accuracy is None:
            return None
        return self.record.accuracy - self.validation.mean

    @property
    def best(self) -> TrialRecord:
        """The training that is best on the validation images; of equal ones the first."""
        return _best(self.trainings)

    def to_dict(self) -> dict[str, Any]:
        """The form that `--json` prints."""
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
    """All confirmations of a study, from the least cost to the most; `study` holds their trainings.

    `searched` are the epochs of a full training of the search.
    """

    study: Study
    members: tuple[Confirmation, ...]
    searched: int

    @property
    def epochs(self) -> int:
        """Of each training."""
        return self.study.config.space.recipe.epochs

    @property
    def optimism(self) -> Spread | None:
        """By how much the search's scores were above the confirmed means, over all that were confirmed."""
        return Spread.of([value for member in self.members if (value := member.optimism) is not None])

    def optimism_text(self) -> str | None:
        """What the search's scores were worth, in a sentence; None where there was no search."""
        if (optimism := self.optimism) is None:
            return None
        spread = f" ± {100 * optimism.std:.1f}" if optimism.std is not None else ""
        points = f"{100 * abs(optimism.mean):.1f}{spread} points"
        which = "the confirmed architectures" if len(self.members) > 1 else "the confirmed architecture"
        said = f"The search scored {which} {points} too {'high' if optimism.mean > 0 else 'low'}"
        if self.epochs != self.searched:
            return f"{said}; but they were confirmed with {self.epochs} epochs, and searched with {self.searched}."
        return f"{said}: what is picked for its score is picked for its luck." if optimism.mean > 0 else f"{said}."

    def as_records(self) -> list[TrialRecord]:
        """The trials with their confirmed means for accuracies."""
        return [replace(member.record, accuracy=member.validation.mean) for member in self.members]

    def least_difference(self) -> Callable[[float], float] | None:
        """Two standard errors of the difference of two means over seeds; None where nothing says how seeds spread."""
        spread = _pooled([member.trainings for member in self.members])
        if spread is None:
            return None
        least = 2 * spread * sqrt(2 / min(len(member.trainings) for member in self.members))
        return lambda _: least

    def missing(self, front: Sequence[TrialRecord]) -> list[TrialRecord]:
        """The members of a search's front that are not confirmed yet."""
        return [record for record in front if self.of(record.architecture) is None]

    def of(self, architecture: Architecture) -> Confirmation | None:
        """What is known of an architecture; its number of classes is that of the images."""
        return next((each for each in self.members if each.record.architecture.alike(architecture)), None)


def holds_repetitions(study: Study) -> bool:
    """Whether the trials of a study are trainings of settled architectures on several seeds, and no search."""
    return (study.attribute("plan") or {}).get("sampler") == QUEUED


def repetitions_of(study: Study) -> dict[int, str]:
    """By their epochs, the names of the studies that hold a study's repeated trainings; they lie in its folder."""
    return list_repetitions(study.name, study.folder, database=study.optuna_study._storage if study.storage else None)


def confirmed(study: Study) -> ConfirmationReport | None:
    """What is confirmed of a study, by its longest trainings; None where nothing is.

    A study that was made by `nas.retrain` is its own confirmation.
    """
    for repetitions in _repetitions(study):
        records = repetitions.records()
        searched = [] if repetitions is study else study.records()
        tested = {int(trial): value for trial, value in (repetitions.attribute(TESTED) or {}).items()}
        if members := confirmations(searched, records, tested):
            return ConfirmationReport(repetitions, tuple(members), study.config.space.recipe.epochs)
    return None


def _repetitions(study: Study) -> list[Study]:
    """The studies that hold repeated trainings, the longest trainings first."""
    if holds_repetitions(study):
        return [study]
    found = repetitions_of(study)
    opened = []
    for epochs in sorted(found, reverse=True):
        with suppress(IncompleteStudy):
            opened.append(Study.open(found[epochs], study.folder, storage=study.storage))
    return opened


def front_rows(study: Study, found: ConfirmationReport | None) -> list[dict[str, Any]]:
    """The front and all that was confirmed, by cost, in the form that `--json` prints."""
    members = found.members if found else ()
    unconfirmed = found.missing(study.front()) if found else study.front()
    rows: list[tuple[TrialRecord, Confirmation | None]] = [(member.record, member) for member in members]
    rows += [(record, None) for record in unconfirmed]
    ordered = sorted(rows, key=lambda row: (*_by_expense(row[0]), row[0].trial))
    return [{**record.to_dict(), "confirmed": member.to_dict() if member else None} for record, member in ordered]


def confirmations(
    searched: Sequence[TrialRecord], repeated: Sequence[TrialRecord], tested: Mapping[int, float]
) -> list[Confirmation]:
    """What repeated trainings say of the trials of a search (none where there was none), by the search's cost."""
    trainings: dict[str, list[TrialRecord]] = {}
    for record in sorted(repeated, key=lambda record: record.seed or 0):
        if record.state == COMPLETE:
            trainings.setdefault(record.architecture.key, []).append(record)
    found = {record.architecture.key: record for record in reversed(searched) if record.state == COMPLETE}
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
    """By its study's cost, what has none at the end; of equal ones by FLOPs."""
    return (inf if record.objective_cost is None else record.objective_cost), record.flops


def _best(trainings: Sequence[TrialRecord]) -> TrialRecord:
    return max(trainings, key=lambda training: training.accuracy or 0.0)


def _probabilities(
    groups: Sequence[Sequence[TrialRecord]], means: Sequence[float], costs: Sequence[float]
) -> Sequence[float | None]:
    """From the spread over seeds; None where there is one seed each, and so nothing to estimate it from."""
    spread = _pooled(groups)
    if spread is None:
        return [None] * len(groups)
    freedom = sum(len(group) - 1 for group in groups)
    errors = [spread / sqrt(len(group)) for group in groups]
    return [float(share) for share in front_probability(means, costs, errors, freedom=freedom)]


def _pooled(groups: Sequence[Sequence[TrialRecord]]) -> float | None:
    """The standard deviation over seeds, as if it were that of all architectures: three seeds of one say little."""
    freedom = sum(len(group) - 1 for group in groups)
    if not freedom:
        return None
    values = [[record.accuracy or 0.0 for record in group] for group in groups]
    return sqrt(sum(variance(each) * (len(each) - 1) for each in values if len(each) > 1) / freedom)
