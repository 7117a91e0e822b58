"""PatientStorage: Optuna's storage in a database, which outlasts restarts of the database and cut connections."""

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial, wraps
from typing import Any, NamedTuple, TypeVar

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from nas.study.storage.optuna_private import (
    UserAttribute,
    database_of,
    insert_parameters,
    parameter_row,
    storage_of,
    transaction,
)
from nas.system.patience import outlast

__all__ = ["PatientStorage", "gathered", "passing_failure"]

LIBPQ = ("postgresql://", "postgresql+psycopg")
KEEPALIVES = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
"""Seconds of silence before a connection is probed, seconds between probes, and the number of unanswered ones."""
UNANSWERED = {"tcp_user_timeout": 60_000}
"""Milliseconds until a connection is given up whose other end confirms nothing that was sent.

Both ends so notice within a minute that the other one is gone. By the defaults, PostgreSQL would hold the locks of a
machine that is gone for hours.
"""
REPEATED = (
    "get_all_studies",
    "get_study_directions",
    "get_study_id_from_name",
    "get_study_name_from_id",
    "get_study_system_attrs",
    "get_study_user_attrs",
    "get_trial",
    "get_trial_id_from_study_id_trial_number",
    "set_study_system_attr",
    "set_study_user_attr",
    "set_trial_intermediate_value",
    "set_trial_system_attr",
    "_create_new_trial",
    "_get_trials",
)
"""Methods that may run twice: what a cut connection has stored after all is overwritten with the same.

A trial that was created twice has neither worker nor parameters; the next worker to ask drops it.
"""

T = TypeVar("T")


class _Writes(NamedTuple):
    """What is still to be written: rows of parameters, and a trial's ID, name and value of each attribute."""

    parameters: list[dict[str, Any]]
    attributes: list[tuple[int, str, Any]]


class PatientStorage(RDBStorage):
    """A storage in a database that may restart, fill its disk for a while, or lose its connections.

    Args:
        url: the database's URL.
        skip_table_creation: do not create what is missing.
        patience: seconds for which opening it, and every call, waits for the database; 0: errors are raised at once.

    Attributes:
        patience: as above; it may be changed.
    """

    _last_failure = -math.inf

    def __init__(self, url: str, *, skip_table_creation: bool, patience: float = 0.0) -> None:
        self.patience = patience
        self._gathered: dict[int, _Writes] = {}
        self.lasting(partial(self._open, url, skip_table_creation=skip_table_creation))

    def _open(self, url: str, *, skip_table_creation: bool) -> None:
        # pre-ping: a connection may be lost between two trials
        options: dict[str, Any] = {"pool_pre_ping": True}
        if url.startswith(LIBPQ):
            options["connect_args"] = {"connect_timeout": 10, **KEEPALIVES, **UNANSWERED}
        try:
            super().__init__(url, engine_kwargs=options, skip_table_creation=skip_table_creation)
        except BaseException:
            if hasattr(self, "engine"):
                self.engine.dispose()  # nothing else closes its connections
            raise
        if self.engine.dialect.name == "postgresql":
            from sqlalchemy import event

            event.listen(self.engine, "connect", _set_keepalives)
            self.engine.dispose()  # its first connection lacks them

    @property
    def seconds_since_failure(self) -> float:
        """Seconds since this process last could not reach the database; infinite if it always could."""
        return time.monotonic() - self._last_failure

    def clock(self) -> float:
        """Returns the time by the database's clock, in seconds since 1970; UTC is assumed if it names no time zone."""
        return self.lasting(self._clock)

    def _clock(self) -> float:
        from sqlalchemy import func, select

        with self.engine.connect() as connection:
            now: datetime = connection.execute(select(func.now())).scalar_one()
        return (now if now.tzinfo else now.replace(tzinfo=UTC)).timestamp()

    def lasting(self, act: Callable[[], T]) -> T:
        """Calls `act`, and again with growing pauses while the database cannot be used, for up to `patience` seconds.

        Raises:
            Exception: what `act` raised, if it is no passing failure of the database or the time is up.
        """

        def passing(error: Exception) -> str | None:
            if (why := passing_failure(error)) is not None:
                self._last_failure = time.monotonic()
            return why

        return outlast(act, patience=self.patience, passing=passing, what="the database")

    @contextmanager
    def gathered(self) -> Iterator[Callable[[], None]]:
        """Gathers the parameters and attributes of trials that this thread sets; yields what writes them.

        One transaction takes a fraction of the time of one for each. Before, reads do not see them, and if it is not
        called, nothing is written.
        """
        thread = threading.get_ident()
        writes = self._gathered[thread] = _Writes([], [])
        try:
            yield lambda: self.lasting(partial(self._write, writes))
        finally:
            del self._gathered[thread]

    def _write(self, writes: _Writes) -> None:
        with transaction(self) as session:
            for trial_id, key, value in writes.attributes:  # refused if another process has ended the trial
                self._set_trial_attr_without_commit(session, UserAttribute, trial_id, key, value)
            if writes.parameters:
                session.execute(insert_parameters(), writes.parameters)

    def _set_trial_param(self, trial_id: int, name: str, value: float, kind: Any, known: Any) -> None:
        if (writes := self._gathered.get(threading.get_ident())) is not None:
            writes.parameters.append(parameter_row(trial_id, name, value=value, distribution=kind))
        else:
            self.lasting(partial(super()._set_trial_param, trial_id, name, value, kind, known))

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Writes it, or keeps it while it is `gathered`."""
        if (writes := self._gathered.get(threading.get_ident())) is not None:
            writes.attributes.append((trial_id, key, value))
        else:
            self.lasting(partial(super().set_trial_user_attr, trial_id, key, value))

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Ends or begins a trial. An attempt that was cut off may have done so; the next one finds it done."""
        attempts = 0

        def act() -> bool:
            nonlocal attempts
            attempts += 1
            try:
                return super(PatientStorage, self).set_trial_state_values(trial_id, state, values)
            except UpdateFinishedTrialError:
                if attempts > 1 and self.get_trial(trial_id).state == state:
                    return True
                raise

        return self.lasting(act)


@contextmanager
def gathered(study: optuna.Study) -> Iterator[Callable[[], None]]:
    """`PatientStorage.gathered` of a study in a database; elsewhere everything is written at once."""
    database = database_of(storage_of(study))
    if not isinstance(database, PatientStorage):
        yield lambda: None
        return
    with database.gathered() as write:
        yield write


def passing_failure(error: BaseException) -> str | None:
    """Returns the first line of a database's failure that may pass, such as a restart; None for other errors.

    DB-API calls these operational: lost connections, a full disk, too many clients (PEP 249).
    """
    from sqlalchemy.exc import DBAPIError, OperationalError, PendingRollbackError

    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, DBAPIError | PendingRollbackError):
        cause = cause.__cause__  # Optuna wraps it
    if isinstance(cause, PendingRollbackError):
        return "a connection was lost"
    if isinstance(cause, OperationalError) or (cause is not None and cause.connection_invalidated):
        return next(iter(str(cause.orig).strip().splitlines()), "no reason given")
    return None


def _repeated(method: Callable[..., T]) -> Callable[..., T]:
    @wraps(method)
    def lasting(self: PatientStorage, *args: Any, **named: Any) -> T:
        return self.lasting(lambda: method(self, *args, **named))

    return lasting


def _set_keepalives(connection: Any, _: object) -> None:
    """Has PostgreSQL watch a new connection, too."""
    settings = {**{f"tcp_{name}": value for name, value in KEEPALIVES.items()}, **UNANSWERED}
    with connection.cursor() as cursor:
        for name, value in settings.items():
            cursor.execute(f"SET {name} = {value}")
    connection.commit()


for _name in REPEATED:
    setattr(PatientStorage, _name, _repeated(getattr(RDBStorage, _name)))
