"""Latency measurements of a search: of the model's sample, each trial and the front.

Here they are taken while nothing else runs; on another device one at a time, whatever runs here.
"""

from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from filelock import FileLock

from nas.architectures.architecture import Architecture
from nas.architectures.cost import cost
from nas.architectures.latency_elsewhere import TIMEOUT, MeasuredElsewhere, measure_elsewhere
from nas.architectures.latency_model import LatencyModel, fit
from nas.errors import InvalidValue, StudyError
from nas.spaces.search_space import SearchSpace
from nas.study.records import LATENCY_KEY, TrialRecord
from nas.study.study import Study
from nas.system.hardware import device_of, in_words

if TYPE_CHECKING:
    from nas.architectures.latency import Latency

__all__ = ["SAMPLE", "clock", "fit_latency_model", "latency_on", "measure_front", "measure_front_elsewhere", "sampled"]

SAMPLE = 40
"""Number of architectures of a space measured to fit the model, from the fewest FLOPs to the most."""
LOCK = "latency.lock"
"""The file in a study's folder that a worker holds while it measures on another device."""
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


def clock(study: Study, *, device: str, on: str | None) -> Callable[[Architecture], float]:
    """Returns a function that measures an architecture for a trial of a search by latency, in milliseconds.

    Args:
        study: the study, with its latency model.
        device: one of `DEVICES`, on which latencies are measured unless `on` is given.
        on: a command that runs another one on another device, as in `measure_elsewhere`. The function then raises a
            `StudyError` if the device cannot be used, or is not the one that the study's model is of.
    """
    return latency_on(device) if on is None else partial(_latency_elsewhere, study, on)


def _latency_elsewhere(study: Study, on: str, architecture: Architecture) -> float:
    with FileLock(study.folder / LOCK):  # workers measure one at a time
        found = _elsewhere(study, [architecture], on)
    model = study.attributes.latency_model
    assert model is not None  # the search began with it
    if found.device != model.device:
        raise StudyError(
            f"study '{study.name}': its latencies are those of {model.device}, and {on!r} reaches {found.device}; go "
            "on with the same device, or under another --study name"
        )
    return found.milliseconds[0]


def _elsewhere(study: Study, architectures: list[Architecture], on: str) -> MeasuredElsewhere:
    """Measures for a search, which ends if the device cannot be used: no training is to blame."""
    try:
        return measure_elsewhere(architectures, on)
    except InvalidValue as error:
        raise StudyError(f"study '{study.name}': latency {error}; the same command goes on") from None


def measure_front_elsewhere(
    study: Study, on: str, *, also: Iterable[TrialRecord] = (), timeout: float = TIMEOUT
) -> list[tuple[TrialRecord, float]]:
    """Measures the front's members on another device, stores the latencies, and returns them with the members.

    Args:
        study: the study; it must not be one that was searched by latency, as that has the latencies of its own device.
        on: a command that runs another one on the device, as in `measure_elsewhere`.
        also: other trials of the study to measure, such as those that were confirmed.
        timeout: seconds to wait for an answer.

    Raises:
        StudyError: the study was searched by latency, or has no front.
        InvalidValue: as `measure_elsewhere`.
    """
    if (model := study.attributes.latency_model) is not None:
        raise StudyError(f"study '{study.name}': was searched by latency on {model.device}; latencies cannot be mixed")
    chosen = {member.trial: member for member in (*study.front(), *also)}
    if not chosen:
        raise StudyError(f"study '{study.name}': has no trained network to measure")
    members = sorted(chosen.values(), key=lambda member: (member.flops, member.trial))
    found = measure_elsewhere([member.architecture for member in members], on, timeout=timeout)
    pairs = list(zip(members, found.milliseconds, strict=True))
    study.attributes.latencies = {member.trial: latency for member, latency in pairs}
    study.attributes.latency_device = found.device
    return pairs


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


def fit_latency_model(study: Study, *, device: str, on: str | None = None) -> LatencyModel:
    """Returns the study's latency model; if there is none, measures a sample of its space, then fits and stores one.

    Args:
        study: the study.
        device: one of `DEVICES`, on which latencies are measured unless `on` is given.
        on: a command that runs another one on another device, as in `measure_elsewhere`. Whether it is still the device
            of the model is seen when the next trial is measured.

    Raises:
        StudyError: The study's latencies were measured on another device and cannot be compared with those of this one;
            or the other device cannot be used.
    """
    known = study.attributes.latency_model
    if on is not None:
        return known or _fitted_elsewhere(study, on)
    here = in_words(device_of(device))
    if known is not None:
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


def _fitted_elsewhere(study: Study, on: str) -> LatencyModel:
    sample = sampled(study.config.space, seed=study.config.seed)
    found = _elsewhere(study, sample, on)
    model = fit(sample, found.milliseconds, device=found.device)
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
