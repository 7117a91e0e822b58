"""Estimates: the true accuracies of networks by the model of all trainings of their study.

A single accuracy says little: it is measured on some hundred or thousand images after one training, and the best of
many are partly luck. Networks that differ little have similar accuracies, so their trainings are witnesses for each
other. The surrogate, by which architectures are chosen, weighs them; the front, its knee and the pick go by its word.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nas.architectures.architecture import Architecture
from nas.architectures.cost import cost
from nas.spaces.search_space import SearchSpace
from nas.study.precision import Estimate, Z, standard_error
from nas.study.records import TrialRecord
from nas.study.storage.trials import distributions
from nas.surrogate.encoding import Encoding
from nas.surrogate.trend import trend

if TYPE_CHECKING:
    from nas.surrogate.gaussian_process import Surrogate
    from nas.surrogate.scale import Scale

__all__ = ["AccuracyModel", "estimated", "estimates"]

FEWEST, MOST = 8, 1000
"""Fewest trainings that are modelled, and most: the last ones, full-length ones first."""
WIDER = 1.25
"""The model takes its fitted hyperparameters for certain, so its intervals are too narrow by about this factor."""


class AccuracyModel(NamedTuple):
    """The surrogate of a study's trainings; `lengths` are its rungs in epochs, `images` the validation images."""

    surrogate: "Surrogate"
    scale: "Scale"
    space: SearchSpace
    lengths: tuple[int, ...]
    images: int

    @classmethod
    def fit(cls, records: Sequence[TrialRecord], space: SearchSpace, images: int | None) -> "AccuracyModel | None":
        """Fits the surrogate to a search's trained networks.

        Args:
            records: Trials of the study.
            space: Search space.
            images: Number of validation images; None: unknown, as with a custom training.

        Returns:
            The model; None if `images` is unknown, as nothing is then known of the noise, for fewer than `FEWEST`
            trainings, for accuracies that do not differ, and for trainings on several seeds, whose means speak for
            themselves.
        """
        trained = _trained(records)
        if images is None or len(trained) < FEWEST:
            return None
        from scipy.linalg import LinAlgError

        from nas.surrogate.gaussian_process import Observations, Surrogate
        from nas.surrogate.scale import Scale

        full = space.recipe.epochs
        lengths = [record.length or full for record in trained]
        rungs = tuple(sorted({*lengths, full}))
        kept = sorted(sorted(range(len(trained)), key=lambda place: (lengths[place] == full, place))[-MOST:])
        accuracies = [record.accuracy or 0.0 for record in trained]
        scale = Scale.of(accuracies)
        seen = Observations(
            _features((trained[place].architecture for place in kept), space),
            np.array([rungs.index(lengths[place]) for place in kept], dtype=np.intp),
            scale.modelled(accuracies)[kept],
        )
        try:
            surrogate = Surrogate.fit(seen, rungs=len(rungs), rng=np.random.default_rng(0), trend=True)
        except (ValueError, LinAlgError):
            return None
        return cls(surrogate, scale, space, rungs, images)

    def estimates(
        self, architectures: Sequence[Architecture], lengths: Sequence[int | None] | None = None
    ) -> list[Estimate]:
        """Returns the estimates of networks of the space, trained for some of the lengths; None: the full length.

        Expected is the mean of a network's trainings, so the noise of one counts as well as what is not known of it.
        """
        full = self.space.recipe.epochs
        at = [self.lengths.index(length or full) for length in lengths or [None] * len(architectures)]
        features, rungs = _features(architectures, self.space), np.array(at, dtype=np.intp)
        means, variances = self.surrogate.at_rungs(features, rungs)
        values = self.scale.expected(means, np.sqrt(variances + self.surrogate.noise_at_rungs(rungs)))
        errors = WIDER * np.sqrt(variances) * (1 - values)  # of a share 1 − e^(−y), dy changes it by (1 − share) · dy
        drawn = [standard_error(float(value), self.images) for value in np.clip(values, 0, 1)]
        spread = Z * np.hypot(errors, drawn)
        rows = np.clip(np.stack([values, values - spread, values + spread, errors], axis=1), 0.0, 1.0)
        return [Estimate(*row) for row in rows.tolist()]


def estimates(records: Sequence[TrialRecord], space: SearchSpace, images: int | None) -> dict[int, Estimate]:
    """Returns the estimates of a search's trained networks by trial number, each for its own length of training.

    The arguments are those of `AccuracyModel.fit`; where it gives no model, there are no estimates.
    """
    found = estimated(records, AccuracyModel.fit(records, space, images))
    return {record.trial: record.estimate for record in found if record.estimate is not None}


def estimated(records: Sequence[TrialRecord], model: AccuracyModel | None) -> list[TrialRecord]:
    """Returns the records, the trained ones with the model's estimates; without a model they stay as they are."""
    trained = _trained(records) if model is not None else []
    if model is None or not trained:
        return list(records)
    found = model.estimates([record.architecture for record in trained], [record.length for record in trained])
    by_trial = {record.trial: estimate for record, estimate in zip(trained, found, strict=True)}
    return [replace(each, estimate=by_trial[each.trial]) if each.trial in by_trial else each for each in records]


def _trained(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    return [each for each in records if each.trained and each.seed is None and each.accuracy is not None]


def _features(architectures: Iterable[Architecture], space: SearchSpace) -> NDArray[np.float64]:
    """Returns the features (n, d) of networks of a space: their choices, log FLOPs and trend."""
    networks = list(architectures)
    least, most = math.log(space.least_cost[0]), math.log(space.most_flops)
    costs = [(math.log(cost(network).flops) - least) / max(most - least, 1e-9) for network in networks]
    points = [tuple(space.point(network).values()) for network in networks]
    choices = Encoding(distributions(space)).features(points)
    return np.column_stack([choices, costs, [trend(network) for network in networks]])
