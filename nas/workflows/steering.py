"""Steers a running search from any process that reaches its study: pause, resume, stop, extend, more or fewer workers.

All of it goes through the study's storage, where every worker looks before it starts a training and, every few seconds,
after an epoch. So it also reaches workers on other machines. Every function raises `StudyError` if no search is running
or what is asked is so already.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from nas.errors import StudyError
from nas.study.records import TrialState
from nas.study.search_state import Request, SearchState
from nas.study.storage.backend import QUEUED
from nas.study.study import Study
from nas.validation import integer

__all__ = ["ENDED_BY_PERSON", "MOST_WORKERS", "end_training", "extend", "pause", "resume", "set_workers", "stop"]

MOST_WORKERS = 1024

ENDED_BY_PERSON = "ended_by_person"
"""Reason of a trial that a person ended."""
STATES = {Request.PAUSE: "paused", Request.STOP: "stopping", Request.STOP_NOW: "stopping"}


def pause(study: Study) -> None:
    """Starts no more trainings until `resume`; those that are running end as usual."""
    with _searching(study) as search:
        if search.request is not None:
            raise StudyError(f"study '{study.name}': the search is {STATES[search.request]} already")
        study.attributes.search = search._replace(request=Request.PAUSE)
        study.attributes.add_act("paused the search")


def resume(study: Study) -> None:
    """Withdraws a pause, or a stop while the last trainings are still running."""
    with _searching(study) as search:
        if search.request is None:
            raise StudyError(f"study '{study.name}': the search is not paused")
        study.attributes.search = search._replace(request=None)
        study.attributes.add_act("resumed the search")


def stop(study: Study, *, now: bool = False) -> None:
    """Ends the search once its running trainings have ended; the same search can be resumed.

    Args:
        study: a study that is being searched.
        now: end the running trainings too, after their current epoch; they are trained on when the search is resumed.
    """
    request = Request.STOP_NOW if now else Request.STOP
    with _searching(study) as search:
        if search.stopping and search.request in (request, Request.STOP_NOW):
            raise StudyError(f"study '{study.name}': the search is stopping already")
        study.attributes.search = search._replace(request=request)
        study.attributes.add_act(f"stopped the search{' at once' if now else ''}")


def extend(study: Study, trials: int) -> int:
    """Adds to the budget of a running search.

    Args:
        study: a study that is being searched.
        trials: how much to add, in units of one full-length training; at least 1.

    Returns:
        The search's budget from now on.

    Raises:
        InvalidValue: `trials` is not an integer of at least 1.
        StudyError: the study repeats trainings of given networks, which are all it will train.
    """
    integer(trials, "trials", maximum=10**9)
    with _searching(study) as search:
        plan = study.attributes.plan
        if plan is not None and plan.sampler == QUEUED:
            raise StudyError(f"study '{study.name}': it trains given networks, and no others; it cannot be extended")
        study.attributes.search = search._replace(trials=search.trials + trials)
        study.attributes.add_act(f"extended the search by {trials} trainings to {search.trials + trials}")
    return search.trials + trials


def set_workers(study: Study, workers: int) -> None:
    """Changes how many workers of its own a running search has; a training that loses its worker is trained on later.

    Raises:
        InvalidValue: `workers` is not an integer from 1 to `MOST_WORKERS`.
        StudyError: the search trains in its own process, or waits for workers from elsewhere.
    """
    integer(workers, "workers", maximum=MOST_WORKERS)
    with _searching(study) as search:
        if not search.workers:
            how = "waits for workers from elsewhere" if search.workers == 0 else "trains in its own process"
            raise StudyError(f"study '{study.name}': its search {how}; nas worker {study.name} adds one")
        if search.workers == workers:
            raise StudyError(f"study '{study.name}': the search has {workers} workers already")
        study.attributes.search = search._replace(workers=workers)
        study.attributes.add_act(f"changed the number of workers from {search.workers} to {workers}")


def end_training(study: Study, trial: int) -> None:
    """Ends one running training after its current epoch; the search goes on without it.

    Raises:
        StudyError: the trial does not exist or is not running.
    """
    with study.ask_lock():
        record = study.record(trial)
        if record.state != TrialState.RUNNING or not study.end_trial(trial, ENDED_BY_PERSON, stopped=True):
            raise StudyError(f"study '{study.name}': trial {trial} is {record.state}, not running")
        study.attributes.add_act(f"ended trial {trial}")


@contextmanager
def _searching(study: Study) -> Iterator[SearchState]:
    """Locks the study, and yields the state of its running search."""
    with study.ask_lock():
        search = study.attributes.search
        if search is None or not search.live:
            raise StudyError(f"study '{study.name}': no search is running on it")
        yield search
