"""Time of a FrontSampler proposal on one core, by number of trials.

Spaces of 118 thousand and of 940 thousand architectures; the trials are random ones.
"""

import time
from collections.abc import Iterator

import numpy as np
import optuna
from threadpoolctl import threadpool_limits

from nas import cost, load_space
from nas.strategy.front_sampler import SHORT_VALUE
from nas.strategy.samplers import front_sampler
from nas.study.storage.backend import LENGTH
from nas.study.storage.trials import distributions

REPEATS = 7


def measure() -> Iterator[tuple[str, list[float], str]]:
    """With full trainings alone, and with three lengths."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with threadpool_limits(1):
        for name in ("digits", "groupconv32"):
            for lengths in ((27,), (3, 9, 27)):
                for trials in (100, 1000):
                    kind = "three lengths" if len(lengths) > 1 else "full trainings"
                    yield f"{name}, {kind}, after {trials} trials", _milliseconds(name, lengths, trials), "ms"


def _milliseconds(name: str, lengths: tuple[int, ...], trials: int) -> list[float]:
    space, rng = load_space(name), np.random.default_rng(0)
    space = space.with_changes(recipe=type(space.recipe)(epochs=lengths[-1]))
    study = optuna.create_study(directions=["maximize", "minimize"])
    chosen = distributions(space, lengths=len(lengths) > 1)
    for _ in range(trials):
        params, length = space.sample(rng), int(rng.choice(lengths))
        flops = cost(space.architecture(params)).flops
        value = 0.4 + 0.03 * np.log10(flops) + 0.02 * np.log(length / lengths[-1]) + rng.normal(0, 0.01)
        whole = length == lengths[-1]
        trial = optuna.trial.create_trial(
            params={**params, **({LENGTH: length} if len(lengths) > 1 else {})},
            distributions=chosen,
            values=[value, flops] if whole else None,
            user_attrs={} if whole else {SHORT_VALUE: value},
            state=optuna.trial.TrialState.COMPLETE if whole else optuna.trial.TrialState.PRUNED,
        )
        study.add_trial(trial)
    study.sampler = front_sampler(space, seed=0, lengths=lengths)
    study.ask(chosen)  # the first one looks the space through
    taken = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        study.ask(chosen)
        taken.append(1e3 * (time.perf_counter() - start))
    return taken
