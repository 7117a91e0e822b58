"""FrontSampler: an Optuna sampler for a value observed by training and a cost known in advance.

It models only the value (`nas.surrogate`), knows the cost exactly, and proposes the training that increases the
hypervolume of (log cost, value) most (`acquisition`). With several schedule lengths it also chooses how long to train.
"""

import threading
import zlib
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from numpy.linalg import LinAlgError
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from nas.errors import InvalidValue
from nas.strategy.candidates import Batch, Candidates, Point
from nas.strategy.front_model import FrontModel, Training
from nas.study.plan import PastTraining
from nas.study.storage.optuna_private import enqueued_params, identity_of
from nas.validation import shown

__all__ = ["SHORT_VALUE", "FrontSampler"]

SHORT_VALUE = "accuracy"
"""User attribute that holds the value of a trial of a shorter length, which ends PRUNED and has no objective values."""

ONE_AT_A_TIME = threading.Lock()
"""Of the threads of a process that ask for a proposal; not an attribute, as samplers are pickled."""
STRATA = 6
SHORTEST, MIDDLE, FULL = 0.0, 0.5, 1.0
START = (
    (0, MIDDLE),
    (1, MIDDLE),
    (0, FULL),
    (1, FULL),
    (5, SHORTEST),
    (2, SHORTEST),
    (3, SHORTEST),
    (4, SHORTEST),
)
"""A search begins with a point from each of `STRATA` equal ranges of log cost, and the place of its length among the
lengths. The cheapest point of all comes first: it is certain to be on the front and raises the whole of it. It and the
next one, also cheap, are first trained at the middle length, so that there is a front worth looking at after a third of
the time of a full training; that they are trained in full as well shows what longer trainings gain."""
HIGH = 0.3
"""Share of a stratum, that with the highest trend for its cost, from which its starting point is drawn."""
LOCAL_STEPS = 3
FRESH = 60
NEIGHBOURED = 5
MOST_PRIOR = 200
"""Most trainings of a prior that the model is fitted to, the last ones."""


class FrontSampler(BaseSampler):
    """Proposes the training that increases the hypervolume of (log cost, value) most per epoch.

    The study maximises its first objective, the value, and minimises its second, the cost. It begins with one point
    from each of several ranges of log cost. Running trials are assumed to end with the value that the model predicts,
    so that concurrent workers propose different points. A point is never proposed twice at the same length, whatever
    its outcome, as long as others are left. Proposals depend only on the seed and the trials: a new sampler continues
    where another one stopped.

    Args:
        search_space: Optuna distributions by parameter name.
        cost: Returns the cost of a point's parameters, above 0; the same as the study's second objective.
        seed: Seed of all random choices; None: not reproducible.
        is_valid: Returns whether a point may be proposed; None: all may.
        cost_is_log: Whether `cost` returns the logarithm of the cost.
        fidelity: Name of the parameter that is the length of training, if there is one. It is not part of a point, and
            the cost does not depend on it. A trial of less than the full length is reported as PRUNED, with its value
            as the user attribute `SHORT_VALUE`, and may be proposed again at a greater length.
        lengths: Values that `fidelity` may take, ascending; the last one is the full length.
        prior: Trainings of an earlier study that the model learns from; they do not count as results of this one.
        reference: Value from which hypervolume is measured; None: the lowest one observed at full length.
        draw: Returns a valid random point, or None; for spaces where rejection sampling would rarely succeed.
        cheapest: The parameters of a valid point of least cost, where that is known; the search starts from it.
        trend: Returns a guess of a point's value before any training, on any scale that rises with it.

    Attributes:
        fell_back: Whether the last proposal was drawn at random because the model could not be fitted.
    """

    def __init__(
        self,
        search_space: Mapping[str, BaseDistribution],
        cost: Callable[[dict[str, Any]], float],
        *,
        seed: int | None = None,
        is_valid: Callable[[dict[str, Any]], bool] | None = None,
        cost_is_log: bool = False,
        fidelity: str | None = None,
        lengths: Sequence[int] = (),
        prior: Sequence[PastTraining] = (),
        reference: float | None = None,
        draw: Callable[[np.random.Generator], Mapping[str, Any] | None] | None = None,
        cheapest: Mapping[str, Any] | None = None,
        trend: Callable[[dict[str, Any]], float] | None = None,
    ) -> None:
        self._search_space = dict(search_space)
        self._fidelity = fidelity
        self._lengths = _checked(lengths, fidelity, search_space) if fidelity else (1,)
        self._seed = int(np.random.SeedSequence(seed).generate_state(1)[0])
        choices = {name: distribution for name, distribution in search_space.items() if name != fidelity}
        self._candidates = Candidates(
            choices,
            cost,
            is_valid=is_valid,
            cost_is_log=cost_is_log,
            draw=draw,
            cheapest=cheapest,
            trend=trend,
            seed=self._seed,
        )
        known = [(self._candidates.point(seen.params), seen) for seen in prior]
        self._prior = [
            Training(point, seen.length or self._lengths[-1], seen.value) for point, seen in known if point is not None
        ][-MOST_PRIOR:]
        self._reference = reference
        self._study: tuple[object, int] | None = None
        self._ended: dict[int, Training | None] = {}  # of `_study`, by trial number: ended trials never change
        self._told: dict[int, Training] = {}  # of `_study`: a trial's parameters are not in the storage at once
        self._start = self._starting_points()
        self.fell_back = False

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Returns the whole search space: all parameters are sampled jointly."""
        return self._search_space

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Samples a parameter outside the search space, at random."""
        seed = np.random.SeedSequence([self._seed, trial.number, zlib.crc32(param_name.encode())]).generate_state(1)
        return RandomSampler(int(seed[0])).sample_independent(study, trial, param_name, param_distribution)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Returns the parameters of the next training, including its length if there are several.

        Raises:
            InvalidValue: The study's directions are not maximise, minimise.
        """
        if study.directions != [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]:
            raise InvalidValue("FrontSampler: the study's directions must be ['maximize', 'minimize']: value and cost")
        with ONE_AT_A_TIME:  # of several threads, each must know what the others were told
            if self._study != identity_of(study):
                self._study, self._ended, self._told = identity_of(study), {}, {}
            others = [other for other in study.get_trials(deepcopy=False) if other.number != trial.number]
            chosen = self._propose([training for other in others if (training := self._known(other)) is not None])
            if chosen is None:
                return {}
            point, rung = chosen
            self._told[trial.number] = Training(point, self._lengths[rung], None, running=True)
        params = self._candidates.params(point) | ({self._fidelity: self._lengths[rung]} if self._fidelity else {})
        return {name: value for name, value in params.items() if name in search_space}  # others may have been fixed

    def _propose(self, trainings: Sequence[Training]) -> tuple[Point, int] | None:
        """Returns the next point and rung, given trainings in the order they were started; None if none is valid."""
        self.fell_back = False
        full = len(self._lengths) - 1
        begun: dict[Point, Training] = {}
        for training in trainings:  # at equal length the latest counts: a failed training may have been retried
            if training.point not in begun or training.length >= begun[training.point].length:
                begun[training.point] = training
        known = sum(training.running or training.value is not None for training in trainings)
        rng = np.random.default_rng([self._seed, known])

        def open_rung(point: Point) -> int:
            """Returns the lowest rung that a point may be trained at next; one above the highest if there is none."""
            last = begun.get(point)
            if last is None:
                return 0
            closed = last.running or last.value is None
            return full + 1 if closed else bisect_right(self._lengths, last.length)

        if known < len(self._start):
            for point, rung in self._start:
                if open_rung(point) <= rung:
                    return point, rung
        candidates = [point for point in self._considered(trainings, rng) if open_rung(point) <= full]
        if not candidates:
            return self._again(rng)
        batch = self._candidates.batch(candidates)
        try:
            model = FrontModel(
                trainings,
                self._candidates,
                lengths=self._lengths,
                prior=self._prior,
                reference=self._reference,
                rng=rng,
            )
        except (ValueError, LinAlgError):
            self.fell_back = True
            return self._stratified(batch, open_rung, rng)
        worth, rungs = model.worth(batch, np.array([open_rung(point) for point in batch.points]))
        best = int(np.argmax(worth))
        for _ in range(0 if self._candidates.complete else LOCAL_STEPS):
            near = [point for point in self._candidates.neighbours(batch.points[best], rng) if open_rung(point) <= full]
            if not near:
                break
            around = self._candidates.batch(near)
            worth_near, rungs_near = model.worth(around, np.array([open_rung(point) for point in near]))
            if worth_near.max() <= worth[best]:
                break
            batch, worth, rungs, best = around, worth_near, rungs_near, int(np.argmax(worth_near))
        return batch.points[best], int(rungs[best])

    def _again(self, rng: np.random.Generator) -> tuple[Point, int] | None:
        """Returns any valid point, in full, once each was trained; None if there is none."""
        points = self._candidates.sample
        return (points[rng.integers(len(points))], len(self._lengths) - 1) if points else None

    def _considered(self, trainings: Sequence[Training], rng: np.random.Generator) -> list[Point]:
        """Returns all points, or a fixed sample, fresh points, neighbours of the front, and points already begun."""
        if self._candidates.complete:
            return self._candidates.sample
        known = [training for training in trainings if training.value is not None]
        logs = np.array([self._candidates.log_cost(training.point) for training in known])
        highest = np.array([training.value for training in known], dtype=float)
        order = np.lexsort((-highest, logs))
        best_before = np.maximum.accumulate(np.concatenate([[-np.inf], highest[order]]))[:-1]
        front = order[highest[order] > best_before].tolist()
        spread = {round(at) for at in np.linspace(0, len(front) - 1, NEIGHBOURED)} if front else set[int]()
        near = [point for at in sorted(spread) for point in self._candidates.neighbours(known[front[at]].point, rng)]
        begun = [training.point for training in trainings]
        return list(dict.fromkeys([*self._candidates.sample, *self._candidates.random(FRESH, rng), *near, *begun]))

    def _starting_points(self) -> list[tuple[Point, int]]:
        """Draws a point per range of log cost, of high trend if there is one, with the rung to train it at."""
        points = self._candidates.sample
        if not points:
            return []
        rng = np.random.default_rng(self._seed)
        batch = self._candidates.batch(points)
        logs = batch.log_cost
        inner = np.linspace(logs.min(), logs.max(), STRATA + 1)[1:-1]
        strata = [np.flatnonzero(np.searchsorted(inner, logs, side="right") == number) for number in range(STRATA)]
        if self._candidates.has_trend:
            trend = batch.features[:, -1]
            slope = np.cov(logs, trend, ddof=0)[0, 1] / max(float(np.var(logs)), 1e-9)
            beyond_cost = trend - slope * logs
            strata = [part[np.argsort(-beyond_cost[part])[: max(1, round(HIGH * len(part)))]] for part in strata]
        chosen = {number: points[rng.choice(part)] for number, part in enumerate(strata) if len(part)}
        chosen[0] = points[int(logs.argmin())]  # nothing cheaper will ever be on the front
        full = 0 if self._prior else len(self._lengths) - 1
        start = [(chosen[number], int(place * full)) for number, place in START if number in chosen]
        return list(dict.fromkeys(start))  # with a single length, or a prior, each point once

    def _stratified(
        self, batch: Batch, open_rung: Callable[[Point], int], rng: np.random.Generator
    ) -> tuple[Point, int]:
        """Draws a random point of a random stratum of cost rank."""
        ranked = np.argsort(batch.log_cost, kind="stable")
        strata = [part for part in np.array_split(ranked, STRATA) if len(part)]
        point = batch.points[int(rng.choice(strata[rng.integers(len(strata))]))]
        return point, open_rung(point)

    def _known(self, trial: FrozenTrial) -> Training | None:
        """Returns the training of a trial, cached once the trial has ended."""
        if not trial.state.is_finished():
            return self._training(trial) or (self._told.get(trial.number) if not trial.params else None)
        if trial.number not in self._ended:
            self._ended[trial.number] = self._training(trial)
        return self._ended[trial.number]

    def _training(self, trial: FrozenTrial) -> Training | None:
        """Reads a trial; None if it is queued, of another search space, or short while there are no lengths."""
        params = trial.params or enqueued_params(trial) or {}
        point = self._candidates.point(params)
        if point is None or trial.state == TrialState.WAITING:
            return None
        full = self._lengths[-1]
        length = params.get(self._fidelity, full) if self._fidelity else full
        if trial.state == TrialState.COMPLETE:
            return Training(point, length, trial.values[0])
        if trial.state == TrialState.PRUNED:
            value = trial.user_attrs.get(SHORT_VALUE)
            if value is not None and not self._fidelity:
                return None  # a sampler without lengths learns nothing from short trainings
            return Training(point, length, value)
        return Training(point, length, None, running=trial.state == TrialState.RUNNING)


def _checked(lengths: Sequence[int], fidelity: str, search_space: Mapping[str, BaseDistribution]) -> tuple[int, ...]:
    """Returns the lengths, after checking that they ascend and that `fidelity` is a parameter."""
    if fidelity not in search_space:
        raise InvalidValue(f"fidelity={fidelity!r}: must be a parameter of the search space: {', '.join(search_space)}")
    if not lengths or list(lengths) != sorted(set(lengths)) or lengths[0] <= 0:
        raise InvalidValue(f"lengths={shown(lengths)}: must be ascending numbers above 0")
    return tuple(lengths)
