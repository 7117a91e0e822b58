"""Study: one search's folder, and the only door to Optuna's storage.

    runs/NAME/study.yaml      space with recipe, data, seed, versions: for people, and to find the storage by
    runs/NAME/journal.log     Optuna's journal, unless the study was given another storage
    runs/NAME/*.dropped       what was not whole of the journal; *.damaged: a study.yaml that could not be read
    runs/NAME/artifacts/      trial-00012.safetensors and trial-00012.confusion.npy: of each complete trial, its trained
                              weights, and how often an image of class i (row) was taken for class j (column)
    runs/NAME/workers/        a file for each worker, touched while it is there, so that other machines can tell
    runs/NAME/*.lock          locked by the search that runs, the worker that asks, the one that writes

The configuration is also in the storage, among the study's attributes; that copy is the one that counts.
"""

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState

from nas.errors import StudyError
from nas.study.catalog import JOURNAL_FILE, is_study, study_name
from nas.study.config import StudyConfig
from nas.study.creation import ARTIFACTS, config_of, create_study, open_study
from nas.study.records import FAILED, INTERRUPTED, RUNNING, Outcome, SearchState, TrialRecord, front_of, with_latencies
from nas.study.storage.backend import NOT_PROPOSED, storage_errors
from nas.study.storage.heartbeat import Heartbeat, WorkerRegistry
from nas.study.storage.locks import ask_lock, search_lock
from nas.study.storage.recovery import UNSEEN, end, queue_again, requeue_stale, running, worker_of
from nas.study.storage.schema import checked_study
from nas.study.storage.trials import distributions, record_of
from nas.system.processes import is_alive, this_worker

__all__ = ["Study"]


class Study:
    """A search's configuration and trials, by `Study.create` or `Study.open`. Reading takes no lock."""

    def __init__(self, folder: Path, optuna_study: optuna.Study, storage: str | None) -> None:
        self.folder, self.name = folder, folder.name
        self.optuna_study, self.storage = optuna_study, storage
        self._journal = folder / JOURNAL_FILE if storage is None else None
        self._attendance = WorkerRegistry(optuna_study, folder / "workers" if storage is None else None)
        self._read: tuple[int, int] | None = None  # the journal's inode and size when last asked for
        self._ended: dict[int, TrialRecord] = {}  # a trial that has ended changes no more
        with storage_errors(self.name):
            self.config, self._id = config_of(optuna_study, self.name), optuna_study.user_attrs.get("id")

    @classmethod
    def create(cls, name: str, runs: str | Path, config: StudyConfig, *, storage: str | None = None) -> "Study":
        """A new study, or the one of that name if its configuration is the same.

        Raises:
            StudyError: there is one with another configuration (the line says what differs), or that nas did not write;
                or the folder cannot be written.
        """
        return cls(*create_study(name, runs, config, storage=storage))

    @classmethod
    def open(cls, name: str, runs: str | Path = "runs", *, storage: str | None = None) -> "Study":
        """An existing study.

        Raises:
            StudyError: there is none of that name, or its storage cannot be read.
        """
        return cls(*open_study(name, runs, storage=storage))

    @staticmethod
    def exists(name: str, runs: str | Path) -> bool:
        """Whether the runs folder has a study of that name, however damaged."""
        with suppress(StudyError):
            return is_study(Path(runs) / study_name(name))
        return False

    def records(self) -> list[TrialRecord]:
        """All trials by number, those whose parameters are still being written left out.

        What was read before is not read again, so that asking often is cheap. A trial whose worker is no more counts as
        interrupted, as it will be once the search goes on.
        """
        with storage_errors(self.name):
            trials = self.optuna_study.get_trials(deepcopy=False)
            found = (record for trial in trials if (record := self._record(trial)) is not None)
            records = with_latencies(found, self.attribute("latencies"))
            workers = {record.worker for record in records if record.state == RUNNING}
            if not workers:
                return records
            gone, search = self._attendance.gone(workers), self.search_state()
        if search is not None and not search.live:
            gone |= {None, this_worker()}
        return [
            replace(r, state=FAILED, reason=INTERRUPTED) if r.state == RUNNING and r.worker in gone else r
            for r in records
        ]

    def version(self) -> Hashable:
        """Another value whenever the trials or the search's state may have changed.

        Raises:
            StudyError: the study is gone, or is another one than was read so far.
        """
        if self._journal is None:
            with storage_errors(self.name):
                replaced = self.optuna_study.user_attrs.get("id") != self._id
            if replaced:
                raise StudyError(f"study '{self.name}': was replaced; open it anew")
            state, measured = self.search_state(), len(self.attribute("latencies") or ())
            return tuple(record for record in self.records() if not record.ended), len(self._ended), state, measured
        try:
            status = self._journal.stat()
        except OSError:
            raise StudyError(f"study '{self.name}': its journal {self._journal} is missing") from None
        if self._read and (status.st_ino != self._read[0] or status.st_size < self._read[1]):
            raise StudyError(f"study '{self.name}': was replaced; open it anew")
        self._read = (status.st_ino, status.st_size)
        return status.st_ino, status.st_size, status.st_mtime_ns

    def search_state(self) -> SearchState | None:
        """How the last search stands; None before the first."""
        return SearchState(**written) if (written := self.attribute("search")) else None

    def set_search_state(self, trials: int, state: str, *, before: int = 0) -> None:
        """Records that a search of this process, which is to reach so many trials, stands so."""
        self.set_attribute("search", SearchState(trials, state, this_worker(), before)._asdict())

    def plan(self) -> dict[str, Any]:
        """By what the last search chooses what is trained: a `nas.study.plan.SearchPlan` as plain values.

        Raises:
            StudyError: no search was begun on it.
        """
        if (written := self.attribute("plan")) is None:
            raise StudyError(f"study '{self.name}': no search was begun on it; nas search begins one")
        return dict(written)

    def attribute(self, name: str) -> Any:
        """What `set_attribute` wrote; None where nothing was."""
        with storage_errors(self.name):
            return checked_study(name, self.optuna_study.user_attrs.get(name))

    def set_attribute(self, name: str, value: Any) -> None:
        """Keeps a plain value of the whole study: `search`, `plan`, `tested` (`confirmed`), those of `stopwatch`."""
        with storage_errors(self.name):
            self.optuna_study.set_user_attr(name, value)

    def record(self, trial: int) -> TrialRecord:
        """One trial.

        Raises:
            StudyError: there is no trial of that number.
        """
        records = {record.trial: record for record in self.records()}
        if trial in records:
            return records[trial]
        there = f"they go from {min(records)} to {max(records)}" if records else "it has none yet"
        raise StudyError(f"study '{self.name}' has no trial {trial}; {there}")

    def front(self) -> list[TrialRecord]:
        """The front of accuracy and what the study weighs it against, from the least to the most costly."""
        return front_of(self.records())

    @contextmanager
    def ask_lock(self, *, died: Mapping[str, str] = MappingProxyType({})) -> Iterator[None]:
        """Held while a worker looks at the trials and asks for one: one worker at a time, on whatever machines.

        So no two are given the same architecture. What dead workers left running is put back first (`requeue_stale`).
        """
        with ExitStack() as held:
            with storage_errors(self.name):
                held.enter_context(ask_lock(self.optuna_study._storage, self.folder, self.name))
            self.requeue_stale(died=died)
            yield

    def ask(self, sampler: optuna.samplers.BaseSampler, **also: bool) -> tuple[Trial, TrialRecord]:
        """Starts a trial: one that waits, else what the sampler proposes; `also`: lengths, seeds (`distributions`)."""
        self.optuna_study.sampler = sampler
        try:
            trial = self.optuna_study.ask(distributions(self.config.space, **also))
            _ = trial.relative_params  # asks the sampler also where there is no parameter, or all are fixed
        except OSError as error:
            raise StudyError(f"study '{self.name}': its storage cannot be written: {error}") from None
        except Exception:
            for left in running(self.optuna_study):
                if worker_of(left) is None:  # the one that was just made: one asks at a time
                    end(self.optuna_study, left, NOT_PROPOSED)
            raise
        with storage_errors(self.name):
            trial.set_user_attr("worker", this_worker())
            if avoided := getattr(sampler, "avoided", None):
                trial.set_user_attr("avoided", avoided)
        return trial, self._record_at(trial.number)

    def queue(self, points: Iterable[Mapping[str, int]]) -> None:
        """Has these points trained before anything that a sampler would propose."""
        with storage_errors(self.name):
            for point in points:
                self.optuna_study.enqueue_trial(dict(point))

    def report(self, trial: Trial, curve: Sequence[float]) -> None:
        """Records how far a running trial has come: its accuracy after each epoch."""
        with storage_errors(self.name), suppress(UpdateFinishedTrialError):  # by others, who took this worker for dead
            trial.set_user_attr("curve", list(curve))

    def tell(self, trial: Trial, outcome: Outcome) -> TrialRecord:
        """Ends a trial, well or badly. An interrupted one is queued to be trained again.

        Where the others took this worker for dead and ended the trial, it stays as they ended it.
        """
        if (record := self._record_at(trial.number)).state != RUNNING:
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
        with storage_errors(self.name):
            for key, value in attrs.items():
                if value is not None:
                    trial.set_user_attr(key, value)
            if outcome.reason == INTERRUPTED:
                queue_again(self.optuna_study, self.optuna_study.get_trials(deepcopy=False)[trial.number])
            if outcome.accuracy is None and not outcome.stopped:
                self.optuna_study.tell(trial, state=TrialState.FAIL)
            elif outcome.accuracy is None or not whole:
                self.optuna_study.tell(trial, state=TrialState.PRUNED)
            else:
                self.optuna_study.tell(trial, [outcome.accuracy, record.expense_by(outcome.measures)])
        return self._record_at(trial.number)

    def requeue_stale(self, *, ended: Collection[str] = (), died: Mapping[str, str] = MappingProxyType({})) -> None:
        """Ends the trials whose workers are no more as interrupted, and queues them to be trained again.

        `ended` names some that are, and `died` how others ended. What has killed several in a running search is given
        up (`nas.study.storage.recovery`).
        """
        with storage_errors(self.name):
            if not (left := running(self.optuna_study)):
                return
            gone = self._attendance.gone({worker_of(trial) for trial in left}) | {None, *ended, *died}
            search = self.search_state()
            for trial in left:
                if (worker := worker_of(trial)) in gone:
                    by_itself = search is not None and search.live and worker not in {None, *ended}
                    how = died.get(worker or "", UNSEEN) if by_itself else None
                    requeue_stale(self.optuna_study, trial, needed=self.config.space.parameters, died=how)

    def fail_trial(self, trial: int, reason: str, detail: str) -> bool:
        """Ends a running trial of any worker as failed; False if it had ended by then."""
        with storage_errors(self.name), suppress(UpdateFinishedTrialError):
            found = next((left for left in running(self.optuna_study) if left.number == trial), None)
            if found is not None:
                end(self.optuna_study, found, reason, detail=detail)
                return True
        return False

    def heartbeat(self) -> Heartbeat:
        """While it is entered, other machines can tell that this worker is there."""
        return Heartbeat(self._attendance.beat, self._attendance.leave)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the study for one search at a time on this machine; the lock goes with the process.

        Raises:
            StudyError: another search holds it.
        """
        with search_lock(self.folder):
            yield

    def refuse_second_search(self) -> None:
        """What a lock on the folder cannot: keeps searches apart that share a database, or a folder across machines.

        Raises:
            StudyError: another one is at work, as far as can be told.
        """
        state = self.search_state()
        if state is None or state.state != RUNNING or state.worker == this_worker():
            return
        if self.storage is None and is_alive(state.worker) is not None:
            return  # the lock on the folder has told already
        with storage_errors(self.name):
            if self._attendance.gone([state.worker]):
                return
        where = f" --storage {self.storage}" if self.storage else ""
        raise StudyError(
            f"study '{self.name}': another search is running on it, by {state.worker.partition('@')[0]}; wait for it "
            f"or end it, or lend it a hand: nas worker {self.name}{where}"
        )

    def weights_file(self, trial: int) -> Path:
        """Where the trained weights of a complete trial are."""
        return self.folder / ARTIFACTS / f"trial-{trial:05d}.safetensors"

    def confusion_file(self, trial: int) -> Path:
        """Where the confusion matrix of a complete trial is."""
        return self.weights_file(trial).with_suffix(".confusion.npy")

    def checkpoint_file(self, record: TrialRecord) -> Path:
        """What a training goes on from after an interruption, as another trial."""
        seed = f"-{record.seed}" if record.seed is not None else ""
        return self.folder / ARTIFACTS / f"checkpoint-{record.architecture.key}{seed}.safetensors"

    def _record(self, trial: FrozenTrial) -> TrialRecord | None:
        if trial.number in self._ended:
            return self._ended[trial.number]
        record = record_of(trial, self.config)
        return self._ended.setdefault(trial.number, record) if record and trial.state.is_finished() else record

    def _record_at(self, number: int) -> TrialRecord:
        with storage_errors(self.name):
            record = self._record(self.optuna_study.get_trials(deepcopy=False)[number])
        assert record is not None  # its parameters were complete when it was asked for
        return record
