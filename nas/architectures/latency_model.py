"""Predicts the latency of a forward pass of an architecture by a model fitted to measured ones.

The model is linear in the numbers of layers, groups and parameters, and in the multiply–adds and activations of each
kind of convolution, so it can be fitted to a few dozen measurements and predict thousands of architectures. Its
coefficients are non-negative, and it is fitted to relative errors, as the latencies within a space vary widely. Where a
device does not behave like this, the held-out error stored with the model shows it.
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
"""FLOPs, parameters and activations are counted in millions, which keeps all terms at a similar scale."""


@dataclass(frozen=True)
class LatencyModel:
    """A linear latency model: `terms` holds the milliseconds per unit of each feature, as fitted by `fit`.

    `error` is the median relative error on held-out architectures, None with too few measurements. `least` and `most`
    are the extreme predictions, in milliseconds, over the measured architectures: fixed bounds within which a
    hypervolume is computed. `device` is the readable name of the device measured.
    """

    terms: Mapping[str, float]
    error: float | None
    least: float
    most: float
    device: str = ""

    def predict(self, architecture: Architecture) -> float:
        """Returns the predicted milliseconds of one image; always above 0."""
        return max(_dot(self.terms, architecture), self.least / 100)

    @property
    def bounds(self) -> tuple[float, float]:
        """The pair (`least`, `most`), in milliseconds."""
        return self.least, self.most

    def to_dict(self) -> dict[str, Any]:
        """Returns JSON-serialisable values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "LatencyModel":
        """Builds a model from the values that `to_dict` returned."""
        return cls(**data)


def fit(architectures: Sequence[Architecture], milliseconds: Sequence[float], *, device: str = "") -> LatencyModel:
    """Fits a latency model to measured architectures.

    Args:
        architectures: at least one.
        milliseconds: the latency of each architecture for one image.
        device: the readable name of the device measured.

    Raises:
        InvalidValue: there are no measurements, not one for each architecture, or one is not above 0.
    """
    taken = np.asarray(milliseconds, dtype=float)
    if not len(taken) or len(taken) != len(architectures) or not (np.isfinite(taken) & (taken > 0)).all():
        raise InvalidValue("milliseconds: must be numbers above 0, one for each of at least one architecture")
    amounts = [_amounts(architecture) for architecture in architectures]
    names = list(dict.fromkeys(name for each in amounts for name in each))
    table = np.array([[each.get(name, 0.0) for name in names] for each in amounts])
    terms = _terms(table, taken)
    predicted = table @ terms
    return LatencyModel(
        dict(zip(names, terms.tolist(), strict=True)),
        _held_out_error(table, taken),
        float(predicted.min()),
        float(predicted.max()),
        device,
    )


def _amounts(architecture: Architecture) -> dict[str, float]:
    """Returns the features of an architecture by name: counts, and amounts in millions."""
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
    yield "parameters", layer.params / UNITS  # a late stage has few pixels and many weights: loading them takes time
    yield f"{kind} FLOPs", layer.flops / UNITS
    yield f"{kind} activations", layer.activations / UNITS


def _terms(table: NDArray[np.float64], taken: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the non-negative terms that minimise the sum of squared relative errors."""
    from scipy.optimize import nnls  # importing it takes longer than showing a front

    relative = table / taken[:, None]
    scale = np.maximum(relative.max(axis=0), 1e-300)
    return np.asarray(nnls(relative / scale, np.ones(len(taken)))[0] / scale)


def _held_out_error(table: NDArray[np.float64], taken: NDArray[np.float64]) -> float | None:
    """Returns the median relative error in ten-fold cross-validation; None with fewer than ten measurements."""
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
