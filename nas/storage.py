"""Optuna's storages: opening one, its failures as one line, and what is ours in Optuna's terms."""

import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState

from nas.configuration import StudyConfig
from nas.errors import NasError, StudyError
from nas.journal import Journal
from nas.records import COMPLETE, FAILED, RUNNING, SHORT, STOPPED, WAITING, TrialRecord
from nas.space import SearchSpace

__all__ = [
    "LARGEST_SEED",
    "LENGTH",
    "NOT_PROPOSED",
    "QUEUED",
    "SEED",
    "distributions",
    "open_storage",
    "record_of",
    "storage_errors",
    "write_whole",
]

LENGTH = "epochs"
"""The parameter of a trial that says how long it is trained; a trial without it is trained for the recipe's epochs."""
SEED = "seed"
"""The parameter of a trial whose architecture is trained on several seeds; a search has none."""
NOT_PROPOSED = "not_proposed"
"""The reason of a trial that ended before its architecture was known; it is none of ours."""
QUEUED = "queued"
"""The sampler, by name, of a plan by which only what was put into the study beforehand is trained."""
LARGEST_SEED = 2**32 - 1
STATES = {
    TrialState.COMPLETE: COMPLETE,
    TrialState.FAIL: FAILED,
    TrialState.PRUNED: STOPPED,
    TrialState.RUNNING: RUNNING,
    TrialState.WAITING: WAITING,
}


def open_storage(journal: Path, url: str | None) -> BaseStorage:
    """The database of that URL, or the journal file."""
    if url is None:
        return JournalStorage(Journal(journal.absolute()))
    try:
        storage = RDBStorage(url, engine_kwargs={"pool_pre_ping": True})  # a connection may be lost between two trials
    except ImportError as error:
        driver = getattr(error.__cause__, "name", None) or getattr(error, "name", None) or "its driver"
        raise StudyError(
            f"storage={url.partition('://')[0]}://…: needs {driver}, which is not installed; for PostgreSQL: "
            "pip install 'nas[postgresql]' and a URL that begins with postgresql+psycopg://"
        ) from None
    weakref.finalize(storage, storage.engine.dispose)  # nobody else closes its connections
    return storage


@contextmanager
def storage_errors(name: str) -> Iterator[None]:
    """Turns whatever a storage raises, from a lost connection to a damaged file, into one line."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    except NasError:
        raise
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise StudyError(f"study '{name}': its storage cannot be used: {reason}") from error
    finally:
        optuna.logging.set_verbosity(level)


def distributions(space: SearchSpace, *, lengths: bool = False, seeds: bool = False) -> dict[str, BaseDistribution]:
    """The parameters of a space for Optuna: evenly spaced values as integers with a step, others as categories.

    With `lengths`, how long to train is one more: a range, as the lengths in it may change when a search goes on; with
    `seeds`, on which seed. These come first, so that a trial which has all the others has them too.
    """
    more: dict[str, BaseDistribution] = {LENGTH: IntDistribution(1, space.recipe.epochs)} if lengths else {}
    if seeds:
        more[SEED] = IntDistribution(0, LARGEST_SEED)
    return more | {name: _distribution(values) for name, values in space.parameters.items()}


def record_of(trial: FrozenTrial, config: StudyConfig) -> TrialRecord | None:
    """A trial of Optuna's in our terms; None while its parameters are not complete."""
    space = config.space
    params = trial.params or trial.system_attrs.get("fixed_params", {})
    if not space.parameters.keys() <= params.keys() or trial.user_attrs.get("reason") == NOT_PROPOSED:
        return None
    accuracy = trial.values[0] if trial.state == TrialState.COMPLETE else trial.user_attrs.get("accuracy")
    state = SHORT if trial.state == TrialState.PRUNED and accuracy is not None else STATES[trial.state]
    started, ended = (
        at.timestamp() if at is not None else None for at in (trial.datetime_start, trial.datetime_complete)
    )
    ours = {"length": params.get(LENGTH), "seed": params.get(SEED), "objective": config.objective}
    attrs: Mapping[str, Any] = {"started": started, "ended": ended, **trial.user_attrs, **ours}
    return TrialRecord.from_attributes(trial.number, state, space.architecture(params), accuracy, attrs)


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file that is there whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    partial.replace(path)


def _distribution(values: tuple[int, ...]) -> BaseDistribution:
    step = values[1] - values[0]
    if values == tuple(range(values[0], values[-1] + 1, step)):
        return IntDistribution(values[0], values[-1], step=step)
    return CategoricalDistribution(values)
