"""Confirmation: an architecture trained from scratch on several seeds, and what that says of the search's score."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any, NamedTuple

import numpy as np

from nas import pareto
from nas.luck import front_probability
from nas.records import COMPLETE, TrialRecord
from nas.samplers import QUEUED
from nas.studies import list_repetitions
from nas.study import Study

__all__ = ["TESTED", "Confirmation", "Confirmed", "Spread", "confirmations", "confirmed", "holds_repetitions"]

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


@dataclass(frozen=True)
class Confirmation:
    """One architecture: `record` is its trial in the search, `trainings` are the complete ones on other seeds.

    `probability` is that of truly being on the front of those confirmed, by the spread over seeds (None where there is
    one seed); `on_front` says whether it is on that of the means. `tested` has the accuracy on the test images by
    training, where they were read. Where there was no search, `record` is the first training.
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
        return max(self.trainings, key=lambda training: training.accuracy or 0.0)

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
class Confirmed:
    """All confirmations of a study, from the fewest FLOPs to the most; `study` holds their trainings."""

    study: Study
    members: tuple[Confirmation, ...]

    @property
    def epochs(self) -> int:
        """Of each training."""
        return self.study.config.space.recipe.epochs

    @property
    def optimism(self) -> Spread | None:
        """By how much the search's scores were above the confirmed means, over all that were confirmed."""
        return Spread.of([value for member in self.members if (value := member.optimism) is not None])

    def of(self, record: TrialRecord) -> Confirmation | None:
        """What is known of a trial of the search."""
        return next((each for each in self.members if each.record.architecture == record.architecture), None)


def holds_repetitions(study: Study) -> bool:
    """Whether the trials of a study are trainings of settled architectures on several seeds, and no search."""
    return (study.attribute("plan") or {}).get("sampler") == QUEUED


def confirmed(study: Study) -> Confirmed | None:
    """What is confirmed of a study, by its longest trainings; None where nothing is.

    A study that was made by `nas.retrain` is its own confirmation.
    """
    for repetitions in _repetitions(study):
        records = repetitions.records()
        searched = [] if repetitions is study else study.records()
        tested = {int(trial): value for trial, value in (repetitions.attribute(TESTED) or {}).items()}
        if members := confirmations(searched, records, tested):
            return Confirmed(repetitions, tuple(members))
    return None


def _repetitions(study: Study) -> list[Study]:
    """The studies that hold repeated trainings, the longest trainings first."""
    if holds_repetitions(study):
        return [study]
    found = list_repetitions(study.name, study.folder, storage=study.storage)
    names = [found[epochs] for epochs in sorted(found, reverse=True)]
    return [Study.open(name, study.folder, storage=study.storage) for name in names]


def confirmations(
    searched: Sequence[TrialRecord], repeated: Sequence[TrialRecord], tested: Mapping[int, float]
) -> list[Confirmation]:
    """What repeated trainings say of the trials of a search (none where there was none), by FLOPs."""
    trainings: dict[str, list[TrialRecord]] = {}
    for record in sorted(repeated, key=lambda record: record.seed or 0):
        if record.state == COMPLETE:
            trainings.setdefault(record.architecture.key, []).append(record)
    found = {record.architecture.key: record for record in reversed(searched) if record.state == COMPLETE}
    groups = sorted(trainings.values(), key=lambda group: group[0].flops)
    means = [fmean(record.accuracy or 0.0 for record in group) for group in groups]
    flops = [group[0].flops for group in groups]
    front = set(pareto.front(means, flops).tolist())
    return [
        Confirmation(
            found.get(group[0].architecture.key, group[0]),
            tuple(group),
            probability,
            index in front,
            {record.trial: tested[record.trial] for record in group if record.trial in tested},
        )
        for index, (group, probability) in enumerate(zip(groups, _probabilities(groups, means, flops), strict=True))
    ]


def _probabilities(
    groups: Sequence[Sequence[TrialRecord]], means: Sequence[float], flops: Sequence[int]
) -> Sequence[float | None]:
    """From the spread over seeds, pooled over all, as three seeds of one architecture alone say little about it.

    With one seed each there is nothing to estimate it from: None.
    """
    spare = [len(group) - 1 for group in groups]
    if not sum(spare):
        return [None] * len(groups)
    squares = sum(
        (record.accuracy or 0.0) ** 2 - mean**2 for group, mean in zip(groups, means, strict=True) for record in group
    )
    error = np.sqrt(max(squares, 0.0) / sum(spare) / np.array([len(group) for group in groups]))
    return [float(share) for share in front_probability(means, flops, error, freedom=sum(spare))]
