"""Strategy: what to train next, and for how long. Sampler, schedule lengths, stop rule and the end of a search."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from nas.architectures.architecture import Architecture
from nas.architectures.latency_model import LatencyModel
from nas.spaces.references import references
from nas.spaces.search_space import Params
from nas.strategy.front_sampler import FrontSampler
from nas.strategy.multi_fidelity import promotion
from nas.strategy.samplers import Queued, ValidSampler, front_sampler
from nas.strategy.stopping import StopRule
from nas.study.config import StudyConfig
from nas.study.plan import FRONT, PastTraining, SearchPlan
from nas.study.records import TrialRecord, TrialState, trainings_spent
from nas.study.storage.backend import QUEUED
from nas.study.study import Study

__all__ = ["Strategy", "seen_of"]

PER_REFERENCE = 10
"""Number of full trainings' worth of epochs after which one reference is trained, so that they take a tenth at most."""


@dataclass
class Strategy:
    """Chooses the trainings of a search; stateless except for the `FrontSampler`, which is kept for speed.

    `model` predicts the latency, if that is what accuracy is traded off against.
    """

    config: StudyConfig
    plan: SearchPlan
    model: LatencyModel | None = None
    stop: StopRule | None = field(init=False)
    _front: FrontSampler | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.stop = StopRule.of(self.config) if self.plan.stopping == "front" else None

    def chooser(self, records: Sequence[TrialRecord]) -> ValidSampler | Queued:
        """Returns the sampler that proposes the next training, given the trials that are finished or running."""
        if self.plan.sampler == QUEUED:
            return Queued()
        space, full, plan = self.config.space, self.config.space.recipe.epochs, self.plan
        begun_ones = _begun(records)
        begun: dict[str, int] = {}
        for record in begun_ones:
            tried = record.accuracy is not None and record.length  # never restart a failed or running training
            begun[record.architecture.key] = max(tried or full, begun.get(record.architecture.key, 0))
        # Seeded for each trial by the seed and the count only: a resumed search continues as if never interrupted.
        seed = int(np.random.SeedSequence([self.config.seed, len(begun_ones)]).generate_state(1)[0])
        if plan.references and (reference := self._reference(begun, trainings_spent(records, full))) is not None:
            return self._by_name(seed, begun, (space.point(reference), full))
        if plan.sampler == FRONT:
            if self._front is None:
                by_model = {"objective_cost": self.model.predict} if self.model is not None else {}
                first, lengths = self.config.seed, plan.lengths
                self._front = front_sampler(space, seed=first, lengths=lengths, prior=plan.prior, **by_model)
            return ValidSampler(self._front, space, begun, lengths=plan.lengths)
        return self._by_name(seed, begun, self._promotion(begun_ones))

    def last_resort(self, records: Sequence[TrialRecord]) -> ValidSampler | None:
        """Returns a sampler for a promotion regardless of rank, once every architecture was begun; None if none is
        left."""
        if self.plan.sampler == QUEUED:
            return None
        due = self._promotion(_begun(records), any_rank=True)
        return self._by_name(self.config.seed, {}, due) if due else None

    def _promotion(self, begun: Sequence[TrialRecord], *, any_rank: bool = False) -> tuple[Params, int] | None:
        due = promotion(begun, self.plan.lengths, self.plan.eta, any_rank=any_rank)
        return (self.config.space.point(due[0].architecture), due[1]) if due else None

    def _reference(self, begun: Mapping[str, int], spent: float) -> Architecture | None:
        """Returns the next network drawn by hand to train in full: one for every `PER_REFERENCE` full trainings."""
        for number, (_, architecture) in enumerate(self._references, start=1):
            if spent < PER_REFERENCE * number:
                return None
            if begun.get(architecture.key, 0) < self.config.space.recipe.epochs:
                return architecture
        return None

    @cached_property
    def _references(self) -> list[tuple[str, Architecture]]:
        return references(self.config.space)

    def _by_name(self, seed: int, begun: Mapping[str, int], due: tuple[Params, int] | None) -> ValidSampler:
        name = "random" if self.plan.sampler == FRONT else self.plan.sampler
        return ValidSampler((name, seed), self.config.space, begun, lengths=self.plan.lengths, due=due)


def _begun(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Returns the finished and running trials; interrupted ones are trained again before anything new is proposed."""
    return [record for record in records if record.finished or record.state == TrialState.RUNNING]


def seen_of(study: Study) -> list[PastTraining]:
    """Returns the trainings of a study that yielded an accuracy, for a sampler to learn from."""
    space = study.config.space
    return [
        PastTraining(space.point(record.architecture), record.length, record.accuracy)
        for record in study.records()
        if record.state in (TrialState.COMPLETE, TrialState.SHORT) and record.accuracy is not None
    ]
