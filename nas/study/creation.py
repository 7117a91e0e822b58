"""Creates the Optuna study of a search's folder, and opens it again, even if some of its files are damaged."""

import uuid
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import optuna
import yaml
from optuna.storages import BaseStorage
from optuna.study import StudyDirection

from nas.errors import InvalidValue, NasWarning, StudyError
from nas.study.catalog import CONFIG_FILE, JOURNAL_FILE, is_study, list_studies, study_name
from nas.study.config import StudyConfig
from nas.study.storage.backend import open_storage, storage_errors
from nas.study.storage.journal import Journal
from nas.study.storage.locks import AskLock, creation_lock
from nas.system.files import free_name, why, write_whole
from nas.validation import nearest_name, read_yaml

__all__ = ["ARTIFACTS", "IncompleteStudy", "Opened", "config_of", "create_study", "open_study"]

ARTIFACTS = "artifacts"
MOST_NAMED = 4
FOLLOW_FROM_IMAGES = tuple(
    f"data.{name}"
    for name in ("train_images", "validation_images", "validation_counts", "skipped_images", "fingerprint")
)
CHOSEN = (
    "space.max_",
    "space.recipe",
    "data.source",
    "data.resize",
    "data.group_by",
    "data.folds",
    "data.max_images",
    "seed",
    "objective",
)
"""Parts of a configuration that people choose; others often follow from them."""
DIRECTIONS = [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]


class IncompleteStudy(StudyError):
    """The creation of a study was interrupted. It has no trials, and `create_study` completes it."""


class Opened(NamedTuple):
    """A study's folder, its Optuna study, and the URL of its database; None: a journal in the folder."""

    folder: Path
    optuna_study: optuna.Study
    storage: str | None


def create_study(name: str, runs: str | Path, config: StudyConfig, *, storage: str | None = None) -> Opened:
    """Creates a study, or opens the existing one of that name if its configuration is the same.

    Damaged parts are moved aside with a `NasWarning`, never overwritten: the torn end of a journal to
    `journal.log.dropped`, study.yaml to `study.yaml.damaged`.

    Args:
        name: the study's name.
        runs: the runs folder.
        config: the study's configuration.
        storage: URL of a database; None: the one that study.yaml names, or a journal in the study's folder.

    Raises:
        StudyError: the existing study has another configuration (the message lists the differences) or was not written
            by nas; or the folder cannot be written.
    """
    folder = Path(runs) / study_name(name)
    _place(folder, _described(folder), storage)  # fails early, before anything is written
    try:
        (folder / ARTIFACTS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StudyError(f"study '{name}': the folder {folder} cannot be written: {why(error)}") from None
    with creation_lock(folder):
        return _made(folder, name, config, storage)


def _made(folder: Path, name: str, config: StudyConfig, storage: str | None) -> Opened:
    """Creates or opens the study; the caller holds the folder's creation lock."""
    described = _described(folder)
    url = _place(folder, described, storage)
    if url is None:
        _drop_torn_end(folder)
    with storage_errors(name):
        opened = open_storage(folder / JOURNAL_FILE, url)
        with AskLock(opened, folder, name):  # other folders may use the same database concurrently
            there = _found(opened, name, url)
            if there is None and url is not None and described:
                raise _not_in_database(name)
            optuna_study = _begun(there, opened, name, config)
    found = Opened(folder, optuna_study, url)
    known = config_of(optuna_study, name)
    if differing := known.differences(config):
        differing.sort(key=lambda line: not line.startswith(CHOSEN))  # what follows from these is of less help
        shares = [each.data.get("validation_share") for each in (known, config)]
        if shares[0] == shares[1] and all(line.startswith(FOLLOW_FROM_IMAGES) for line in differing):
            counts = [line for line in differing if not line.startswith("data.fingerprint")]
            raise StudyError(
                f"study '{name}': its images have changed since it began{f' ({counts[0]})' if counts else ''}: put "
                "back what was removed, take out what was added, or use another --study name"
            )
        more = f"; and {len(differing) - MOST_NAMED} more" if len(differing) > MOST_NAMED else ""
        raise StudyError(
            f"study '{name}' exists with another configuration: {'; '.join(differing[:MOST_NAMED])}{more}; "
            "use its settings, or another --study name"
        )
    if described is None:
        _describe(found)
    return found


def open_study(name: str, runs: str | Path, *, storage: str | None = None, patience: float = 0.0) -> Opened:
    """Opens an existing study without writing anything.

    Args:
        name: the study's name.
        runs: the runs folder.
        storage: URL of a database; None: the one that study.yaml names, or the journal in the study's folder.
        patience: seconds to wait for a database that cannot be used, then and later.

    Raises:
        StudyError: there is no study of that name, or its storage cannot be read.
    """
    folder = Path(runs) / study_name(name)
    if storage is None:
        if not is_study(folder):
            known = list_studies(runs)
            what = f"; studies there: {', '.join(known)}" if known else "; there are none yet: nas search makes one"
            raise StudyError(f"no study '{name}' in {runs}{nearest_name(name, known)}{what}")
        storage = _place(folder, _described(folder), None)
    with storage_errors(name):
        optuna_study = _found(
            open_storage(folder / JOURNAL_FILE, storage, there=True, patience=patience), name, storage
        )
        if optuna_study is None:
            raise _not_begun(name) if storage is None else _not_in_database(name)
        return Opened(folder, optuna_study, storage)


def config_of(optuna_study: optuna.Study, name: str) -> StudyConfig:
    """Returns the configuration in a study's storage; `name` is the study's name in error messages.

    Raises:
        IncompleteStudy: the configuration is not written yet.
        StudyError: the study was not written by nas.
    """
    if "nas" not in optuna_study.user_attrs and _is_ours_without_trials(optuna_study):
        raise _not_begun(name)
    try:
        return StudyConfig.from_dict(optuna_study.user_attrs["nas"])  # read again: another process may be creating it
    except (KeyError, TypeError, InvalidValue) as error:
        raise StudyError(f"study '{name}': its storage holds a study that nas did not write ({error})") from None


def _described(folder: Path) -> Mapping[str, Any] | None:
    """Returns the content of study.yaml; None if it is missing or damaged."""
    file = folder / CONFIG_FILE
    with suppress(OSError, InvalidValue):
        written = read_yaml(file)
        if isinstance(written, Mapping) and "storage" in written and file.read_bytes().endswith(b"\n"):
            return written  # complete: its last line is that of `storage`
    return None


def _place(folder: Path, described: Mapping[str, Any] | None, storage: str | None) -> str | None:
    """Returns the URL of a study's database; None for a journal."""
    if storage is not None:
        return storage
    if described and described["storage"] is not None:
        return str(described["storage"])
    journal, file = folder / JOURNAL_FILE, folder / CONFIG_FILE
    if journal.is_symlink():  # appending would write to an arbitrary file of the user
        raise StudyError(f"study '{folder.name}': its journal {journal} is a link; copy there what it leads to")
    if not journal.is_file() and described:
        raise StudyError(f"study '{folder.name}': its journal {journal} is missing")
    if not journal.is_file() and file.exists():
        raise StudyError(
            f"study '{folder.name}': {file} is damaged and there is no {JOURNAL_FILE} beside it; if its trials are in "
            "a database, say which with --storage"
        )
    return None


def _found(opened: BaseStorage, name: str, url: str | None) -> optuna.Study | None:
    """Loads the Optuna study, if any; a journal has only one, whose name may differ if the folder was copied."""
    names = optuna.get_all_study_names(opened)
    if url is None:
        name = next(iter(names), name)
    return optuna.load_study(study_name=name, storage=opened) if name in names else None


def _begun(found: optuna.Study | None, opened: BaseStorage, name: str, config: StudyConfig) -> optuna.Study:
    """Creates the Optuna study if needed, and writes those initial attributes that are still missing."""
    study = found or optuna.create_study(storage=opened, study_name=name, directions=DIRECTIONS, load_if_exists=True)
    if "nas" not in study.user_attrs:
        if not _is_ours_without_trials(study):
            raise StudyError(f"study '{name}': there is one of another program in that storage; use another name")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # metric names are experimental
            study.set_metric_names(["accuracy", config.objective])
        study.set_user_attr("nas", config.to_dict())
    if "id" not in study.user_attrs:
        study.set_user_attr("id", uuid.uuid4().hex)
    return study


def _is_ours_without_trials(study: optuna.Study) -> bool:
    """Returns whether the study is in the state in which `_begun` leaves it before writing the configuration."""
    accuracy = (study.metric_names or ["accuracy"])[0] == "accuracy"
    return accuracy and study.directions == DIRECTIONS and not study.user_attrs and not study.get_trials(deepcopy=False)


def _drop_torn_end(folder: Path) -> None:
    file = folder / JOURNAL_FILE
    if not file.is_file():
        return
    try:
        dropped = Journal(file.absolute()).drop_torn_end()
    except OSError as error:
        raise StudyError(f"study '{folder.name}': its journal cannot be written: {error}") from None
    if dropped:
        warnings.warn(
            f"study '{folder.name}': the end of its journal was cut short, as by a loss of power; {dropped} bytes that "
            f"were no whole line are kept in {file.name}.dropped",
            NasWarning,
            stacklevel=2,
        )


def _describe(opened: Opened) -> None:
    """Writes study.yaml; a damaged one is moved aside."""
    file = opened.folder / CONFIG_FILE
    text = yaml.safe_dump(
        {**opened.optuna_study.user_attrs["nas"], "storage": opened.storage}, sort_keys=False, allow_unicode=True
    )
    try:
        if file.exists():
            aside = free_name(file.with_name(file.name + ".damaged"))
            file.rename(aside)
            warnings.warn(
                f"study '{opened.folder.name}': {file} was damaged; it is kept as {aside.name}, and was rewritten",
                NasWarning,
                stacklevel=2,
            )
        write_whole(file, text.encode())
    except OSError as error:
        raise StudyError(f"study '{opened.folder.name}': {file} cannot be written: {why(error)}") from None


def _not_begun(name: str) -> IncompleteStudy:
    return IncompleteStudy(
        f"study '{name}': its making was cut short, before it had a trial; the same nas search command begins it again"
    )


def _not_in_database(name: str) -> StudyError:
    return StudyError(f"study '{name}': there is none of that name in its database")
