"""Study: the folder of one search, and the only interface to its Optuna storage.

    runs/NAME/study.yaml      space with recipe, data, seed, versions, storage: for people, and to locate the storage
    runs/NAME/journal.log     Optuna's journal, unless the study uses another storage
    runs/NAME/*.dropped       the torn end of a journal; *.damaged: a study.yaml that could not be read
    runs/NAME/artifacts/      trial-00012.safetensors, .confusion.npy and .predictions.npy: a trained trial's weights,
                              confusion matrix (true classes in rows) and prediction for each validation image
    runs/NAME/workers/        heartbeat files, one per worker, touched while it is alive, for workers on other machines
    runs/NAME/*.lock          locks: search (one search at a time), asking (one trial at a time), making (creation)

The storage also holds the configuration, among the study's attributes; that copy is authoritative.
"""

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial
from optuna.trial import TrialState as OptunaState

from nas.errors import StudyError
from nas.study.attributes import StudyAttributes
from nas.study.catalog import JOURNAL_FILE, is_study, study_name
from nas.study.config import StudyConfig
from nas.study.creation import ARTIFACTS, config_of, create_study, open_study
from nas.study.estimates import AccuracyModel, estimated
from nas.study.records import INTERRUPTED, Outcome, TrialRecord, TrialState, front_of, with_latencies
from nas.study.search_state import Request
from nas.study.storage.backend import NOT_PROPOSED, storage_errors
from nas.study.storage.database import PatientStorage, gathered
from nas.study.storage.heartbeat import Heartbeat, WorkerRegistry
from nas.study.storage.locks import AskLock, search_lock
from nas.study.storage.optuna_private import database_of, storage_of
from nas.study.storage.recovery import UNSEEN, end, queue_again, requeue_stale, running, worker_of
from nas.study.storage.trials import distributions, record_of
from nas.system.processes import this_worker

__all__ = ["Study"]


class Study:
    """Configuration and trials of a search; made by `Study.create` or `Study.open`. Reading takes no lock."""

    def __init__(self, folder: Path, optuna_study: optuna.Study, storage: str | None) -> None:
        self.folder, self.name = folder, folder.name
        self.optuna_study, self.storage = optuna_study, storage
        self._journal = folder / JOURNAL_FILE if storage is None else None
        self.attributes = StudyAttributes(optuna_study, self.name)
        self.workers = WorkerRegistry(optuna_study, folder / "workers" if storage is None else None)
        self._read: tuple[int, int] | None = None  # the journal's inode and size at the last call of version()
        self._ended: dict[int, TrialRecord] = {}  # cache: a trial that has ended no longer changes
        self._model: AccuracyModel | None = None
        self._modelled: list[int] = []  # the trials that `_model` was fitted to
        with storage_errors(self.name):
            self.config, self.id = config_of(optuna_study, self.name), optuna_study.user_attrs.get("id")

    @classmethod
    def create(cls, name: str, runs: str | Path, config: StudyConfig, *, storage: str | None = None) -> "Study":
        """Creates a study, or opens the existing one of that name if its configuration is the same.

        Args:
            name: the study's name.
            runs: the runs folder.
            config: the study's configuration.
            storage: URL of a database; None: the one that study.yaml names, or a journal in the study's folder.

        Raises:
            StudyError: the existing study has another configuration (the message lists the differences) or was not
                written by nas; or the folder cannot be written.
        """
        return cls(*create_study(name, runs, config, storage=storage))

    @classmethod
    def open(
        cls, name: str, runs: str | Path = "runs", *, storage: str | None = None, patience: float = 0.0
    ) -> "Study":
        """Opens an existing study; `storage` is the URL of a database, None as in `create`.

        Raises:
            StudyError: there is no study of that name, or its storage cannot be read for `patience` seconds.
        """
        return cls(*open_study(name, runs, storage=storage, patience=patience))

    @staticmethod
    def exists(name: str, runs: str | Path) -> bool:
        """Returns whether the runs folder has a study of that name, however damaged."""
        with suppress(StudyError):
            return is_study(Path(runs) / study_name(name))
        return False

    def records(self) -> list[TrialRecord]:
        """Returns all trials by number, except those whose parameters are still being written.

        Those that have ended are cached. A running one whose worker is dead is reported as interrupted, as it will be.
        """
        with storage_errors(self.name):
            trials = self.optuna_study.get_trials(deepcopy=False)
            found = (record for trial in trials if (record := self._record(trial)) is not None)
            records = with_latencies(found, self.attributes.latencies)
            workers = {record.worker for record in records if record.state == TrialState.RUNNING}
            if not workers:
                return records
            gone, search = self.workers.gone(workers), self.attributes.search
        if search is not None and not search.live:
            gone |= {None, this_worker()}
        return [
            replace(r, state=TrialState.FAILED, reason=INTERRUPTED)
            if r.state == TrialState.RUNNING and r.worker in gone
            else r
            for r in records
        ]

    def version(self) -> Hashable:
        """Returns a value that differs whenever the trials or the search's state may have changed.

        Raises:
            StudyError: the study was deleted, or replaced by another one since it was opened.
        """
        if self._journal is None:
            with storage_errors(self.name):
                replaced = self.optuna_study.user_attrs.get("id") != self.id
            if replaced:
                raise StudyError(f"study '{self.name}': was replaced; open it again")
            state, measured = self.attributes.search, len(self.attributes.latencies)
            return tuple(record for record in self.records() if not record.ended), len(self._ended), state, measured
        try:
            status = self._journal.stat()
        except OSError:
            raise StudyError(f"study '{self.name}': its journal {self._journal} is missing") from None
        if self._read and (status.st_ino != self._read[0] or status.st_size < self._read[1]):
            raise StudyError(f"study '{self.name}': was replaced; open it again")
        self._read = (status.st_ino, status.st_size)
        return status.st_ino, status.st_size, status.st_mtime_ns

    def record(self, trial: int) -> TrialRecord:
        """Returns the record of one trial, with its estimate.

        Raises:
            StudyError: there is no trial of that number.
        """
        records = {record.trial: record for record in self.estimated_records()}
        if trial in records:
            return records[trial]
        there = f"they go from {min(records)} to {max(records)}" if records else "it has none yet"
        raise StudyError(f"study '{self.name}' has no trial {trial}; {there}")

    def estimated_records(self) -> list[TrialRecord]:
        """Returns all trials by number, as `records`, the trained ones with an estimate (`study.estimates`)."""
        records = self.records()
        return estimated(records, self.accuracy_model(records))

    def accuracy_model(self, records: Sequence[TrialRecord] | None = None) -> AccuracyModel | None:
        """Returns the model of all trainings, or of those in `records`, just read; None if there is none.

        It is fitted again whenever another training has ended, which takes about a tenth of a second.
        """
        records = self.records() if records is None else records
        trained = [record.trial for record in records if record.trained]
        if trained != self._modelled:
            self._model = AccuracyModel.fit(records, self.config.space, self.config.effective_images)
            self._modelled = trained
        return self._model

    def front(self) -> list[TrialRecord]:
        """Returns the Pareto front of estimated accuracy against the study's objective cost, by ascending cost."""
        return front_of(self.estimated_records())

    @contextmanager
    def ask_lock(self, *, died: Mapping[str, str] = MappingProxyType({}), strict: bool = False) -> Iterator[None]:
        """Locks the study across machines while a worker reads the trials and asks for one.

        This prevents two workers from getting the same architecture. Orphaned trials are requeued first; `died` as in
        `requeue_stale`.

        Raises:
            LockLost: with `strict`, if a database released the lock early: whatever was asked must be given back.
        """
        with ExitStack() as held:
            with storage_errors(self.name):
                held.enter_context(AskLock(storage_of(self.optuna_study), self.folder, self.name, strict=strict))
            self.requeue_stale(died=died)
            yield

    def ask(self, sampler: optuna.samplers.BaseSampler, **also: bool) -> tuple[Trial, TrialRecord]:
        """Starts a trial: a queued one if there is any, else the sampler's proposal.

        Must be called under `ask_lock`. `also` is passed to `distributions`: `lengths`, `seeds`.

        Raises:
            StudyError: the storage cannot be written. Errors of the sampler propagate, and the new trial is ended.
        """
        self.optuna_study.sampler = sampler
        try:
            with gathered(self.optuna_study) as write:
                trial = self.optuna_study.ask(distributions(self.config.space, **also))
                _ = trial.relative_params  # calls the sampler even if no parameter is free
                trial.set_user_attr("worker", this_worker())
                if avoided := getattr(sampler, "avoided", None):
                    trial.set_user_attr("avoided", avoided)
                with storage_errors(self.name):
                    write()
        except OSError as error:
            raise StudyError(f"study '{self.name}': its storage cannot be written: {error}") from None
        except Exception:
            with suppress(Exception):  # the storage may be what has failed
                for left in running(self.optuna_study):
                    if worker_of(left) is None:  # the one just created: only one worker asks at a time
                        end(self.optuna_study, left, NOT_PROPOSED)
            raise
        return trial, self._record_at(trial.number)

    def queue(self, points: Iterable[Mapping[str, int]], *, by_person: bool = False) -> None:
        """Queues points to be trained before any proposal of a sampler; `by_person` marks them as a person's."""
        attrs = {"by_person": True} if by_person else None
        with storage_errors(self.name):
            for point in points:
                self.optuna_study.enqueue_trial(dict(point), user_attrs=attrs)

    def report(self, trial: Trial, curve: Sequence[float]) -> bool:
        """Records the progress of a running trial: its accuracy after each epoch so far.

        Returns whether to train on: not if others have ended the trial, or a person wants the search to stop.
        """
        with storage_errors(self.name), suppress(UpdateFinishedTrialError):  # by a person, or for dead
            trial.set_user_attr("curve", list(curve))
            return (search := self.attributes.search) is None or search.request != Request.STOP_NOW
        return False

    def tell(self, trial: Trial, outcome: Outcome) -> TrialRecord:
        """Records the outcome of a trial and ends it; an interrupted one is requeued.

        A trial that others ended, because they took this worker for dead, is left unchanged.
        """
        if (record := self._record_at(trial.number)).state != TrialState.RUNNING:
            return record
        whole = record.length in (None, self.config.space.recipe.epochs)
        attrs = {
            "name": record.name,
            "seconds": outcome.seconds,
            "curve": list(outcome.curve),
            "reason": outcome.reason,
            "detail": outcome.detail,
            "measures": dict(outcome.measures) or None,
            "accuracy": None if whole else outcome.accuracy,
        }
        with storage_errors(self.name), suppress(UpdateFinishedTrialError):  # others may end it even now
            with gathered(self.optuna_study) as write:
                for key, value in attrs.items():
                    if value is not None:
                        trial.set_user_attr(key, value)
                write()
            if outcome.reason == INTERRUPTED:
                queue_again(self.optuna_study, self.optuna_study.get_trials(deepcopy=False)[trial.number])
            tell = partial(self.optuna_study.tell, trial, skip_if_finished=True)
            if outcome.accuracy is None and not outcome.stopped:
                tell(state=OptunaState.FAIL)
            elif outcome.accuracy is None or not whole:
                tell(state=OptunaState.PRUNED)
            else:
                tell([outcome.accuracy, record.expense_by(outcome.measures)])
        return self._record_at(trial.number)

    def requeue_stale(self, *, ended: Collection[str] = (), died: Mapping[str, str] = MappingProxyType({})) -> None:
        """Requeues trials orphaned by dead workers and ends the originals as interrupted.

        A trial over which several workers of a running search have died is ended as failed (`MOST_DEATHS`).

        Args:
            ended: workers known to have stopped training; these do not count as deaths.
            died: workers known to have died, and the cause of each.
        """
        with storage_errors(self.name):
            if not (left := running(self.optuna_study)):
                return
            gone = self.workers.gone({worker_of(trial) for trial in left}) | {None, *ended, *died}
            search = self.attributes.search
            for trial in left:
                if (worker := worker_of(trial)) in gone:
                    by_itself = search is not None and search.live and worker not in {None, *ended}
                    how = died.get(worker or "", UNSEEN) if by_itself else None
                    requeue_stale(self.optuna_study, trial, needed=self.config.space.parameters, died=how)

    def end_trial(self, trial: int, reason: str, *, detail: str | None = None, stopped: bool = False) -> bool:
        """Ends a running trial of any worker as failed, or as `stopped`; returns False if it had already ended.

        `reason` is a short code and `detail` the message behind it.
        """
        with storage_errors(self.name), suppress(UpdateFinishedTrialError):
            found = next((left for left in running(self.optuna_study) if left.number == trial), None)
            if found is not None:
                end(self.optuna_study, found, reason, detail=detail, stopped=stopped)
                return True
        return False

    def outlast_failures(self, seconds: float) -> None:
        """Makes this object wait for a database that cannot be used for up to `seconds`, where it failed at once."""
        if isinstance(database := database_of(storage_of(self.optuna_study)), PatientStorage):
            database.patience = seconds

    def heartbeat(self) -> Heartbeat:
        """Returns a context manager that announces this worker as alive to other machines."""
        return Heartbeat(self.workers.beat, self.workers.leave)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Locks the study for one search on this machine; the lock is released when the process ends.

        Raises:
            StudyError: another search holds the lock.
        """
        with search_lock(self.folder):
            yield

    def weights_file(self, trial: int) -> Path:
        """Returns the path of a trained trial's weights."""
        return self.folder / ARTIFACTS / f"trial-{trial:05d}.safetensors"

    def confusion_file(self, trial: int) -> Path:
        """Returns the path of a trained trial's confusion matrix."""
        return self.weights_file(trial).with_suffix(".confusion.npy")

    def predictions_file(self, trial: int) -> Path:
        """Returns the path of a trained trial's predictions on the validation images."""
        return self.weights_file(trial).with_suffix(".predictions.npy")

    def checkpoint_file(self, record: TrialRecord) -> Path:
        """Returns the path of the checkpoint from which an interrupted training resumes, as another trial."""
        length = f"-{record.length}" if record.length is not None else ""
        seed = f"-seed-{record.seed}" if record.seed is not None else ""
        return self.folder / ARTIFACTS / f"checkpoint-{record.architecture.key}{length}{seed}.safetensors"

    def _record(self, trial: FrozenTrial) -> TrialRecord | None:
        if trial.number in self._ended:
            return self._ended[trial.number]
        record = record_of(trial, self.config)
        return self._ended.setdefault(trial.number, record) if record and trial.state.is_finished() else record

    def _record_at(self, number: int) -> TrialRecord:
        with storage_errors(self.name):
            trial = self.optuna_study.get_trials(deepcopy=False)[number]
            record = self._record(trial) or record_of(trial, self.config, dropped=True)  # by others, by mistake
        assert record  # its parameters were complete when `ask` returned
        return record
