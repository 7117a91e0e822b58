"""PatientStorage: Optuna's storage in a database, which outlasts restarts of the database and cut connections."""

import math
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial, wraps
from typing import Any, TypeVar

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from nas.system.patience import outlast

__all__ = ["PatientStorage", "passing_failure"]

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
    "set_trial_user_attr",
    "_create_new_trial",
    "_get_trials",
    "_set_trial_param",
)
"""Methods that may run twice: what a cut connection has stored after all is overwritten with the same.

A trial that was created twice has neither worker nor parameters; the next worker to ask drops it.
"""

T = TypeVar("T")


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
