"""Estimates: the true accuracy of each trained network by the model of all trainings of its study.

A single accuracy says little: it is measured on some hundred or thousand images after one training, and the best of
many are partly luck. Networks that differ little have similar accuracies, so their trainings are witnesses for each
other. The surrogate, by which architectures are chosen, weighs them; the front, its knee and the pick go by its word.
"""

import math
from collections.abc import Sequence

import numpy as np

from nas.spaces.search_space import SearchSpace
from nas.study.precision import Estimate, Z, standard_error
from nas.study.records import TrialRecord
from nas.study.storage.trials import distributions
from nas.surrogate.trend import trend

__all__ = ["estimates"]

FEWEST, MOST = 8, 1000
"""Fewest trainings that are modelled, and most: the last ones, full-length ones first."""
WIDER = 1.25
"""The model takes its fitted hyperparameters for certain, so its intervals are too narrow by about this factor."""


def estimates(records: Sequence[TrialRecord], space: SearchSpace, images: int | None) -> dict[int, Estimate]:
    """Returns the estimates of a search's trained networks by trial number, each for its own length of training.

    There are none if the number of validation images is unknown, as nothing is then known of the noise; for fewer than
    `FEWEST` trainings; for accuracies that do not differ; and for trainings on several seeds, whose means speak for
    themselves.

    Args:
        records: Trials of the study.
        space: Search space.
        images: Number of validation images; None: unknown, as with a custom training.
    """
    full = space.recipe.epochs
    trained = [record for record in records if record.trained and record.seed is None and record.accuracy is not None]
    if images is None or len(trained) < FEWEST:
        return {}
    from scipy.linalg import LinAlgError

    from nas.surrogate.encoding import Encoding
    from nas.surrogate.gaussian_process import Observations, Surrogate
    from nas.surrogate.scale import Scale

    lengths = np.array([record.length or full for record in trained])
    kinds, rungs = np.unique(lengths, return_inverse=True)
    least, most = math.log(space.least_cost[0]), math.log(space.most_flops)
    costs = np.array([(math.log(record.flops) - least) / max(most - least, 1e-9) for record in trained])
    points = [tuple(space.point(record.architecture).values()) for record in trained]
    trends = [trend(record.architecture) for record in trained]
    features = np.column_stack([Encoding(distributions(space)).features(points), costs, trends])
    accuracies = [record.accuracy or 0.0 for record in trained]
    scale = Scale.of(accuracies)
    values = scale.modelled(accuracies)
    kept = np.sort(np.lexsort((np.arange(len(trained)), lengths == full))[-MOST:])
    seen = Observations(features[kept], rungs[kept], values[kept])
    try:
        model = Surrogate.fit(seen, rungs=len(kinds), rng=np.random.default_rng(0), trend=True)
    except (ValueError, LinAlgError):
        return {}
    means, variances = model.at_rungs(features, rungs)
    values = scale.values(means)
    errors = WIDER * np.sqrt(variances) * (1 - values)  # of a share 1 − e^(−y), dy changes it by (1 − share) · dy
    drawn = [standard_error(float(value), images) for value in np.clip(values, 0, 1)]
    spread = Z * np.hypot(errors, drawn)
    rows = np.clip(np.stack([values, values - spread, values + spread, errors], axis=1), 0.0, 1.0)
    return {record.trial: Estimate(*row) for record, row in zip(trained, rows.tolist(), strict=True)}
