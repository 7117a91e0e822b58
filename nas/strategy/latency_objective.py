"""Latency measurements of a search, taken while nothing else runs: of the model's sample, each trial and the front."""

from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from nas.architectures.architecture import Architecture
from nas.architectures.cost import cost
from nas.architectures.latency_model import LatencyModel, fit
from nas.errors import StudyError
from nas.spaces.search_space import SearchSpace
from nas.study.records import LATENCY_KEY
from nas.study.study import Study
from nas.system.hardware import device_of, in_words

if TYPE_CHECKING:
    from nas.architectures.latency import Latency

__all__ = ["SAMPLE", "fit_latency_model", "latency_on", "measure_front", "sampled"]

SAMPLE = 40
"""Number of architectures of a space measured to fit the model, from the fewest FLOPs to the most."""
DRAWN = 2000
SECONDS = 0.1
DISTURBED, ATTEMPTS = 0.2, 3
"""If threads waited for more than the share `DISTURBED` of the time, other programs interfered: the measurement is
repeated, up to `ATTEMPTS` in total."""


def latency_on(device: str) -> Callable[[Architecture], float]:
    """Returns a function that measures the latency of one image on `device`, in milliseconds.

    It measures up to three times and returns the least disturbed result.
    """

    def measure(architecture: Architecture) -> float:
        from nas.architectures.latency import measure_latency

        found: list[Latency] = []
        while len(found) < ATTEMPTS and not any(each.waited <= DISTURBED for each in found):
            found.append(measure_latency(architecture, device=device, seconds=SECONDS))
        return min(found, key=lambda each: each.waited).median

    return measure


def measure_front(study: Study, *, device: str) -> None:
    """Measures the latency of the front's members that have none yet, storing each immediately.

    Earlier ones from another device are discarded and measured again: only latencies of one device can be compared.
    """
    if study.attributes.latency_device != (here := in_words(device_of(device))):
        study.attributes.latencies = {}
        study.attributes.latency_device = here
    measure = latency_on(device)
    for member in study.front():
        if LATENCY_KEY not in member.measures:
            latency = measure(member.architecture)
            study.attributes.latencies = {**study.attributes.latencies, member.trial: latency}


def fit_latency_model(study: Study, *, device: str) -> LatencyModel:
    """Returns the study's latency model; if there is none, measures a sample of its space, then fits and stores one.

    Raises:
        StudyError: The study's latencies were measured on another device and cannot be compared with those of this one.
    """
    here = in_words(device_of(device))
    if (known := study.attributes.latency_model) is not None:
        if known.device != here:
            raise StudyError(
                f"study '{study.name}': its latencies are those of {known.device}, and device={device!r} is {here}; "
                "go on where it was begun, or under another --study name"
            )
        return known
    sample = sampled(study.config.space, seed=study.config.seed)
    measure = latency_on(device)
    model = fit(sample, [measure(architecture) for architecture in sample], device=here)
    study.attributes.latency_model = model
    return model


def sampled(space: SearchSpace, *, seed: int) -> list[Architecture]:
    """Samples architectures within the budgets, as evenly over log FLOPs as random draws allow, in random order.

    The order is random so that a device that heats up does not make expensive architectures look slower than they are.
    """
    rng = np.random.default_rng(seed)
    drawn = [space.architecture(space.sample(rng)) for _ in range(DRAWN)]
    fitting = {architecture.key: architecture for architecture in drawn if space.fits(architecture)}
    if len(fitting) < SAMPLE:  # too rare for random draws, or few in total
        nearby = (space.architecture(point) for point in islice(space.affordable(), DRAWN))
        fitting |= {architecture.key: architecture for architecture in nearby}
    left = sorted(fitting.values(), key=lambda architecture: (cost(architecture).flops, architecture.key))
    logs = np.log([cost(architecture).flops for architecture in left])
    free = np.ones(len(left), dtype=bool)
    for level in np.linspace(logs[0], logs[-1], min(SAMPLE, len(left))):
        free[np.argmin(np.where(free, np.abs(logs - level), np.inf))] = False
    chosen = [left[at] for at in np.flatnonzero(~free)]
    return [chosen[at] for at in rng.permutation(len(chosen))]
