"""run_search(): runs a search on an open study, one at a time, and records its state before and after."""

from collections.abc import Callable
from contextlib import suppress

from nas.errors import StudyError
from nas.study.artifacts import remove_stale_files
from nas.study.plan import SearchPlan
from nas.study.records import INTERRUPTED, TrialState
from nas.study.search_state import SearchState, SearchStatus
from nas.study.storage.backend import storage_errors
from nas.study.storage.recovery import MOST_DEATHS
from nas.study.study import Study
from nas.system.logs import logger
from nas.system.processes import is_alive, this_worker

__all__ = ["run_search"]

WITHOUT_ARTIFACTS = (
    "study '%s': weights stay on the machine that trains them, so that elsewhere nas export, nas confirm --test, "
    "nas mistakes and the dashboard's page Architecture lack them; nas search --artifacts URL keeps them where all "
    "machines can read them"
)
OFTEN_DIED = (
    "study '%s': has been interrupted %d times while it trained %s; if that training is what ends the process, "
    "--workers 2 records it as failed and goes on"
)


def run_search(study: Study, plan: SearchPlan, work: Callable[[Study], SearchStatus]) -> None:
    """Runs a search on a locked study, storing its plan for all workers and its status before and after.

    Args:
        study: an open study, locked for this search.
        plan: the search's budget and strategy.
        work: runs the workers on the study and returns why the search ended.

    Raises:
        StudyError: another search, on another machine or from another folder, is running on the study.
    """
    if plan.artifacts is None and study.storage is not None and not study.storage.startswith("sqlite"):
        logger.warning(WITHOUT_ARTIFACTS, study.name)
    study.outlast_failures(plan.patience_storage)
    study.workers.warn_of_clock()
    with study.heartbeat():
        with study.ask_lock():
            _refuse_second_search(study)
            _warn_of_fatal_training(study)
            before = sum(record.finished for record in study.records())
            study.attributes.plan = plan
            study.attributes.search = SearchState(plan.trials, SearchStatus.RUNNING, this_worker(), before)
        remove_stale_files(study)
        try:
            ended = work(study)
        except BaseException:
            with suppress(StudyError):  # a broken storage may be why it ended
                _end_search(study, SearchStatus.INTERRUPTED)
            raise
        _end_search(study, ended)


def _refuse_second_search(study: Study) -> None:
    """Rejects a second search on a shared database or across machines, where the folder's lock does not apply.

    Raises:
        StudyError: another search is running, as far as can be determined.
    """
    state = study.attributes.search
    if state is None or state.state != SearchStatus.RUNNING or state.worker == this_worker():
        return
    if study.storage is None and is_alive(state.worker) is not None:
        return  # on this machine: the folder's lock covers it
    with storage_errors(study.name):
        if study.workers.gone([state.worker]):
            return
    where = f" --storage {study.storage}" if study.storage else ""
    raise StudyError(
        f"study '{study.name}': another search is running on it, by {state.worker.partition('@')[0]}; wait for it "
        f"or end it, or add a worker: nas worker {study.name}{where}"
    )


def _warn_of_fatal_training(study: Study) -> None:
    """Warns of a training over which the search's process has died again and again: perhaps it is what kills it.

    It is not given up, as a person or a power failure may have ended the process. Deaths of workers, which a supervisor
    has seen, are counted (`MOST_DEATHS`).
    """
    if (last := study.attributes.search) is None or last.state != SearchStatus.RUNNING:
        return  # it ended in order
    records = study.records()
    for waiting in (record for record in records if record.state == TrialState.WAITING):
        training = (waiting.architecture, waiting.length, waiting.seed)
        died = [
            record
            for record in records
            if record.reason == INTERRUPTED and (record.architecture, record.length, record.seed) == training
        ]
        if len(died) >= MOST_DEATHS:
            logger.warning(OFTEN_DIED, study.name, len(died), waiting.name)


def _end_search(study: Study, status: SearchStatus) -> None:
    """Records why the search ended; its budget stays, and its request, for workers on other machines."""
    with study.ask_lock():
        if state := study.attributes.search:
            study.attributes.search = state._replace(state=status)
