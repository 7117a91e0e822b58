"""Optuna's storages: opening one, its failures as one line, and a space's parameters in Optuna's terms."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from nas.errors import NasError, StudyError
from nas.space import SearchSpace

__all__ = ["LENGTH", "cut_torn_line", "distributions", "open_storage", "storage_errors", "write_whole"]

LENGTH = "epochs"
"""The parameter of a trial that says how long it is trained; a trial without it is trained for the recipe's epochs."""


def open_storage(journal: Path, url: str | None) -> BaseStorage:
    """The database of that URL, or the journal file.

    By its absolute path: Optuna's lock is a link to it, which would dangle, and never be taken for stale, if relative.
    """
    return RDBStorage(url) if url else JournalStorage(JournalFileBackend(str(journal.absolute())))


def cut_torn_line(journal: Path) -> None:
    """Drops a last line that a killed writer left unfinished; what is appended to it would be lost with it."""
    with journal.open("r+b") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            file.truncate(whole)


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


def distributions(space: SearchSpace, *, lengths: bool = False) -> dict[str, BaseDistribution]:
    """The parameters of a space for Optuna: evenly spaced values as integers with a step, others as categories.

    With `lengths`, how long to train is one more: a range, as the lengths in it may change when a search goes on.
    """
    epochs: dict[str, BaseDistribution] = {LENGTH: IntDistribution(1, space.recipe.epochs)} if lengths else {}
    return {name: _distribution(values) for name, values in space.parameters.items()} | epochs


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
