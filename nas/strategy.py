"""Strategy: what is trained next, and for how long. Sampler, schedule lengths, stop rule and the end of a search."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from nas.configuration import StudyConfig
from nas.fidelity import StopRule, promotion
from nas.front_sampler import FrontSampler, Seen
from nas.records import COMPLETE, SHORT, TrialRecord
from nas.samplers import FRONT, ValidSampler, front_sampler
from nas.study import Study

__all__ = ["Strategy", "seen_of"]


@dataclass
class Strategy:
    """How a search of a study chooses: stateless but for what `FrontSampler` keeps to be quick.

    `lengths` are those of the schedules, ascending; `eta` is the share by which rank promotes, for samplers that
    choose no lengths themselves; `stop` is None where every training may come to its end.
    """

    config: StudyConfig
    sampler: str
    lengths: tuple[int, ...]
    eta: int
    stop: StopRule | None
    prior: Sequence[Seen] = ()
    _front: FrontSampler | None = field(default=None, init=False)

    def chooser(self, records: Sequence[TrialRecord]) -> ValidSampler:
        """What proposes the next training after those that are finished."""
        space, full = self.config.space, self.config.space.recipe.epochs
        finished = [record for record in records if record.finished]
        begun: dict[str, int] = {}
        for record in finished:
            length = record.length or full if record.accuracy is not None else full  # what failed is not tried again
            begun[record.architecture.key] = max(length, begun.get(record.architecture.key, 0))
        if self.sampler == FRONT:
            if self._front is None:
                self._front = front_sampler(space, seed=self.config.seed, lengths=self.lengths, prior=self.prior)
            return ValidSampler(self._front, space, begun, lengths=self.lengths)
        # Anew for each trial, from the seed and the count alone: a resumed search goes on as if never interrupted.
        seed = int(np.random.SeedSequence([self.config.seed, len(finished)]).generate_state(1)[0])
        due = promotion(finished, self.lengths, self.eta)
        return self._by_name(seed, begun, due)

    def last_resort(self, records: Sequence[TrialRecord]) -> ValidSampler | None:
        """Where every architecture was begun: the promotion that rank had not granted; None if all are trained."""
        due = promotion([record for record in records if record.finished], self.lengths, self.eta, any_rank=True)
        return self._by_name(self.config.seed, {}, due) if due else None

    def _by_name(self, seed: int, begun: dict[str, int], due: tuple[TrialRecord, int] | None) -> ValidSampler:
        space = self.config.space
        wanted = (space.point(due[0].architecture), due[1]) if due else None
        name = "random" if self.sampler == FRONT else self.sampler
        return ValidSampler((name, seed), space, begun, lengths=self.lengths, due=wanted)


def seen_of(study: Study) -> list[Seen]:
    """The trainings of a study that gave an accuracy, for a sampler to learn from."""
    space = study.config.space
    return [
        Seen(space.point(record.architecture), record.length, record.accuracy)
        for record in study.records()
        if record.state in (COMPLETE, SHORT) and record.accuracy is not None
    ]
