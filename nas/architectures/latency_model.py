"""LatencyModel: what a forward pass of an architecture will take, foretold from some that were measured.

The model is a sum: so much for each convolution, for its groups, its parameters, its multiply–adds and activations by
kind. So it can be fitted to a few dozen measurements and asked for thousands of architectures. Its terms cannot be
negative, and it is fitted to relative errors, as latencies of one space lie far apart. Where a device is other than
that, the held-out error that it carries says so.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.architectures.architecture import Architecture
from nas.architectures.cost import LayerCost, cost
from nas.errors import InvalidValue

__all__ = ["LatencyModel", "fit"]

FOLDS = 10
UNITS = 1e6
"""FLOPs, parameters and activations are counted in millions, so that all terms are of about one size."""


@dataclass(frozen=True)
class LatencyModel:
    """Milliseconds for each of the `_amounts` of an architecture, as `fit` finds them.

    `error` is the median relative error on architectures that were held out, None where there were too few of them.
    `least` and `most` are the extreme latencies that it foretells of the measured ones: fixed bounds, within which a
    hypervolume is measured. `device` is the device that it is of, in words.
    """

    terms: Mapping[str, float]
    error: float | None
    least: float
    most: float
    device: str = ""

    def predict(self, architecture: Architecture) -> float:
        """The milliseconds of one image; always above 0."""
        return max(_dot(self.terms, architecture), self.least / 100)

    @property
    def bounds(self) -> tuple[float, float]:
        """`least` and `most`."""
        return self.least, self.most

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON has them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "LatencyModel":
        """The inverse of `to_dict`."""
        return cls(**data)


def fit(architectures: Sequence[Architecture], milliseconds: Sequence[float], *, device: str = "") -> LatencyModel:
    """The model of these measurements.

    Raises:
        InvalidValue: there is none, not one for each architecture, or one is not above 0.
    """
    taken = np.asarray(milliseconds, dtype=float)
    if not len(taken) or len(taken) != len(architectures) or not (np.isfinite(taken) & (taken > 0)).all():
        raise InvalidValue("milliseconds: must be numbers above 0, one for each of at least one architecture")
    amounts = [_amounts(architecture) for architecture in architectures]
    names = list(dict.fromkeys(name for each in amounts for name in each))
    table = np.array([[each.get(name, 0.0) for name in names] for each in amounts])
    terms = _terms(table, taken)
    foretold = table @ terms
    return LatencyModel(
        dict(zip(names, terms.tolist(), strict=True)),
        _held_out_error(table, taken),
        float(foretold.min()),
        float(foretold.max()),
        device,
    )


def _amounts(architecture: Architecture) -> dict[str, float]:
    """What the latency of an architecture is a sum of, by name: counts, and amounts in millions."""
    found: dict[str, float] = {}
    for layer in cost(architecture).layers:
        for name, amount in _of_layer(layer, architecture):
            found[name] = found.get(name, 0.0) + amount
    return {"pass": 1.0, **found}


def _of_layer(layer: LayerCost, architecture: Architecture) -> Iterator[tuple[str, float]]:
    kind = layer.kind if layer.kind in ("stem", "grouped") else "1×1"
    if kind == "grouped":
        groups = architecture.stages[layer.stage - 1].groups
        kind = "dense 3×3" if groups == 1 else "grouped 3×3"
        yield "groups", float(groups)
    yield "layers", 1.0
    yield "parameters", layer.params / UNITS  # a late stage has few pixels and many weights: fetching them counts
    yield f"{kind} FLOPs", layer.flops / UNITS
    yield f"{kind} activations", layer.activations / UNITS


def _terms(table: NDArray[np.float64], taken: NDArray[np.float64]) -> NDArray[np.float64]:
    """Non-negative terms with the least sum of squared relative errors."""
    from scipy.optimize import nnls  # which takes longer to import than a front to be shown

    relative = table / taken[:, None]
    scale = np.maximum(relative.max(axis=0), 1e-300)
    return np.asarray(nnls(relative / scale, np.ones(len(taken)))[0] / scale)


def _held_out_error(table: NDArray[np.float64], taken: NDArray[np.float64]) -> float | None:
    """The median relative error of tenths that are foretold from the rest."""
    if len(taken) < FOLDS:
        return None
    folds = np.arange(len(taken)) % FOLDS
    errors = [
        np.abs(table[folds == fold] @ _terms(table[folds != fold], taken[folds != fold]) / taken[folds == fold] - 1)
        for fold in range(FOLDS)
    ]
    return float(np.median(np.concatenate(errors)))


def _dot(terms: Mapping[str, float], architecture: Architecture) -> float:
    return sum(terms.get(name, 0.0) * amount for name, amount in _amounts(architecture).items())
