"""Predictions: what a study's trainings say of a network that was not trained, and where it would stand."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import hypot
from typing import Any, NamedTuple

from nas.architectures.architecture import Architecture
from nas.architectures.cost import Cost, cost, peak_activations
from nas.spaces.membership import misfits
from nas.spaces.search_space import Params, SearchSpace
from nas.study.precision import BEYOND_CHANCE, Estimate
from nas.study.records import TrialRecord, front_of
from nas.study.study import Study
from nas.units import epochs_text

__all__ = ["Prediction", "Variation", "predict", "variations"]

FLOAT32_BYTES = 4


@dataclass(frozen=True)
class Prediction:
    """A network beside a study's front.

    `misfits` are the lines that say what keeps it out of the study's space, if anything does. `estimate` is its
    expected accuracy after a full training; None outside the space, or if the study has too few trainings for a model.
    `rival` is the best network of the study that has at most its FLOPs, and `trained` is its own trial, if any.
    `latency` is in milliseconds, None where the study has no model of it.
    """

    architecture: Architecture
    cost: Cost
    misfits: tuple[str, ...]
    estimate: Estimate | None
    rival: TrialRecord | None
    trained: TrialRecord | None
    latency: float | None = None

    @property
    def peak_memory(self) -> int:
        """Bytes that the activations of one image take at once, in float32."""
        return FLOAT32_BYTES * peak_activations(self.architecture)

    def sentences(self) -> list[str]:
        """Returns what is expected of the network, in sentences."""
        if self.misfits:
            return [f"Outside the study's space, so nothing is expected of it: {'; '.join(self.misfits)}."]
        if self.estimate is None:
            found = ["The study has too few trainings yet to expect anything."]
        else:
            low, high = 100 * self.estimate.low, 100 * self.estimate.high
            found = [f"Expected after a full training: {self.estimate.text()} ({low:.1f} to {high:.1f} % at 95 %)."]
        if self.trained is not None:
            epochs = self.trained.short_epochs
            length = f" for {epochs_text(epochs)} only" if epochs is not None else ""
            found.append(f"It was trained{length} as trial {self.trained.trial}: {self.trained.score_text()}.")
        elif self.rival is None:
            found.append("It would be the cheapest network of the study.")
        elif self.estimate is not None:
            points = 100 * (self.estimate.accuracy - self.rival.quality)
            verdict = "It would be on the front" if points > 0 else "It would not be on the front"
            side = "above" if points > 0 else "below"
            error = hypot(self.estimate.error, self.rival.estimate.error if self.rival.estimate else 0.0)
            doubt = "" if abs(points) > 100 * BEYOND_CHANCE * error else ", which may be chance"
            found.append(
                f"{verdict}: {abs(points):.1f} points {side} trial {self.rival.trial}, the best with at most its "
                f"FLOPs{doubt}."
            )
        return found

    def to_dict(self) -> dict[str, Any]:
        """Returns the form that `--json` prints."""
        return {
            "name": self.architecture.name,
            "flops": self.cost.flops,
            "params": self.cost.params,
            "activations": self.cost.activations,
            "peak_memory": self.peak_memory,
            "latency_ms": self.latency,
            "outside": list(self.misfits),
            "estimate": self.estimate.to_dict() if self.estimate else None,
            "rival": self.rival.trial if self.rival else None,
            "trained": self.trained.trial if self.trained else None,
            "architecture": self.architecture.to_dict(),
        }


def predict(study: Study, architecture: Architecture) -> Prediction:
    """Returns what a study's model of accuracy expects of a network, and where the network would stand.

    Args:
        study: a search.
        architecture: any network; one outside the study's space has costs, but no expected accuracy.
    """
    records, model = study.estimated_records(), study.accuracy_model()
    outside = tuple(misfits(architecture, study.config.space))
    amounts = cost(architecture)
    estimate = model.estimates([architecture])[0] if model is not None and not outside else None
    same = [each for each in records if each.trained and each.architecture.alike(architecture)]
    front = front_of([each for each in records if each not in same], by=lambda record: record.flops)
    cheaper = [record for record in front if record.flops <= amounts.flops]
    return Prediction(
        architecture,
        amounts,
        outside,
        estimate,
        cheaper[-1] if cheaper else None,
        max(same, key=lambda record: record.length or study.config.space.recipe.epochs, default=None),
        timed.predict(architecture) if (timed := study.attributes.latency_model) is not None else None,
    )


class Variation(NamedTuple):
    """A network that differs from another one in a step of one field; `changes` has the fields that differ."""

    changes: Params
    architecture: Architecture
    cost: Cost
    estimate: Estimate

    def text(self) -> str:
        """Formats the changes as `stage1.mid 16, stage1.groups 2`."""
        return ", ".join(f"{name} {value}" for name, value in self.changes.items())


def variations(study: Study, architecture: Architecture) -> list[Variation]:
    """Returns the networks one step away: each field at its next lower and next higher value in the study's space.

    Where another width would not be divisible by the groups, the groups follow (`SearchSpace.repair`). There are none
    outside the space or without a model, and none over its budgets.

    Args:
        study: a search.
        architecture: a network of its space.
    """
    model, space = study.accuracy_model(), study.config.space
    if model is None or misfits(architecture, space):
        return []
    here = space.point(architecture)
    found = {}
    for point in _steps(here, space):
        network = space.architecture(point)
        if network != architecture and space.fits(network):
            found[network] = {name: value for name, value in point.items() if value != here[name]}
    if not found:
        return []
    return [
        Variation(changes, network, cost(network), estimate)
        for (network, changes), estimate in zip(found.items(), model.estimates(list(found)), strict=True)
    ]


def _steps(here: Params, space: SearchSpace) -> Iterator[Params]:
    for name, values in space.parameters.items():
        valid = [value for value in sorted(values) if space.repair({**here, name: value})[name] == value]
        place = valid.index(here[name])
        for other in valid[max(place - 1, 0) : place + 2]:
            yield space.repair({**here, name: other})
