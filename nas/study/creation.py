"""Making Optuna's study for a search's folder, and finding it again, also where files of it are damaged."""

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
from nas.study.storage.locks import ask_lock, creation_lock
from nas.system.files import why, write_whole
from nas.validation import nearest_name, read_yaml

__all__ = ["ARTIFACTS", "IncompleteStudy", "Opened", "config_of", "create_study", "open_study"]

ARTIFACTS = "artifacts"
DIRECTIONS = [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]


class IncompleteStudy(StudyError):
    """The making of a study was cut short. It holds no trial, and `create_study` goes on with it."""


class Opened(NamedTuple):
    """A study's folder, what Optuna has of it, and the URL of its database; None: a journal in the folder."""

    folder: Path
    optuna_study: optuna.Study
    storage: str | None


def create_study(name: str, runs: str | Path, config: StudyConfig, *, storage: str | None = None) -> Opened:
    """A new study, or the one of that name if its configuration is the same.

    What is damaged of it is set aside and never written over: the torn end of a journal as `journal.log.dropped`,
    study.yaml as `study.yaml.damaged`; a `NasWarning` says so.

    Raises:
        StudyError: there is one with another configuration (the line says what differs), or that nas did not write;
            or the folder cannot be written.
    """
    folder = Path(runs) / study_name(name)
    _place(folder, _described(folder), storage)  # refuses what cannot be, before anything is written
    try:
        (folder / ARTIFACTS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StudyError(f"study '{name}': the folder {folder} cannot be written: {why(error)}") from None
    with creation_lock(folder):
        return _made(folder, name, config, storage)


def _made(folder: Path, name: str, config: StudyConfig, storage: str | None) -> Opened:
    """What `create_study` does while nobody else does it in that folder."""
    described = _described(folder)
    url = _place(folder, described, storage)
    if url is None:
        _drop_torn_end(folder)
    with storage_errors(name):
        opened = open_storage(folder / JOURNAL_FILE, url)
        with ask_lock(opened, folder, name):  # a database may be reached from other folders at the same time
            there = _found(opened, name, url)
            if there is None and url is not None and described:
                raise _not_in_database(name)
            optuna_study = _begun(there, opened, name, config)
    found = Opened(folder, optuna_study, url)
    if differing := config_of(optuna_study, name).differences(config):
        raise StudyError(
            f"study '{name}' exists with another configuration: {'; '.join(differing)}; "
            "use its settings, or another --study name"
        )
    if described is None:
        _describe(found)
    return found


def open_study(name: str, runs: str | Path, *, storage: str | None = None) -> Opened:
    """An existing study. Nothing is written.

    Raises:
        StudyError: there is none of that name, or its storage cannot be read.
    """
    folder = Path(runs) / study_name(name)
    if storage is None:
        if not is_study(folder):
            known = list_studies(runs)
            what = f"; studies there: {', '.join(known)}" if known else "; there are none yet: nas search makes one"
            raise StudyError(f"no study '{name}' in {runs}{nearest_name(name, known)}{what}")
        storage = _place(folder, _described(folder), None)
    with storage_errors(name):
        optuna_study = _found(open_storage(folder / JOURNAL_FILE, storage, there=True), name, storage)
        if optuna_study is None:
            raise _not_begun(name) if storage is None else _not_in_database(name)
        return Opened(folder, optuna_study, storage)


def config_of(optuna_study: optuna.Study, name: str) -> StudyConfig:
    """What makes the trials of a study comparable, as its storage has it; `name` is what messages call it.

    Raises:
        IncompleteStudy: it is not written yet.
        StudyError: nas did not write the study.
    """
    attributes = optuna_study.user_attrs
    if "nas" not in attributes and _is_ours_without_trials(optuna_study):
        raise _not_begun(name)
    try:
        return StudyConfig.from_dict(attributes["nas"])
    except (KeyError, TypeError, InvalidValue) as error:
        raise StudyError(f"study '{name}': its storage holds a study that nas did not write ({error})") from None


def _described(folder: Path) -> Mapping[str, Any] | None:
    """What study.yaml says; None where there is none, or it is damaged."""
    file = folder / CONFIG_FILE
    with suppress(OSError, InvalidValue):
        written = read_yaml(file)
        if isinstance(written, Mapping) and "storage" in written and file.read_bytes().endswith(b"\n"):
            return written  # whole: its last line, to the end, is that of the storage
    return None


def _place(folder: Path, described: Mapping[str, Any] | None, storage: str | None) -> str | None:
    """The URL of a study's database; None for a journal."""
    if storage is not None:
        return storage
    if described and described["storage"] is not None:
        return str(described["storage"])
    journal, file = folder / JOURNAL_FILE, folder / CONFIG_FILE
    if journal.is_symlink():  # what is appended to it might go into any file of a person's own
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
    """Optuna's study of that name; a journal has one alone, whose name may be another where a folder was copied."""
    names = optuna.get_all_study_names(opened)
    if url is None:
        name = next(iter(names), name)
    return optuna.load_study(study_name=name, storage=opened) if name in names else None


def _begun(found: optuna.Study | None, opened: BaseStorage, name: str, config: StudyConfig) -> optuna.Study:
    """The study with all that is written into it at its beginning; an earlier attempt may have written some of it."""
    study = found or optuna.create_study(storage=opened, study_name=name, directions=DIRECTIONS, load_if_exists=True)
    if "nas" not in study.user_attrs:
        if not _is_ours_without_trials(study):
            raise StudyError(f"study '{name}': there is one of another program in that storage; use another name")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # metric names are still one
            study.set_metric_names(["accuracy", config.objective])
        study.set_user_attr("nas", config.to_dict())
    if "id" not in study.user_attrs:
        study.set_user_attr("id", uuid.uuid4().hex)
    return study


def _is_ours_without_trials(study: optuna.Study) -> bool:
    """Whether it is as `_begun` makes it before it writes the configuration."""
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
    """Writes study.yaml; a damaged one is set aside."""
    file = opened.folder / CONFIG_FILE
    text = yaml.safe_dump(
        {**opened.optuna_study.user_attrs["nas"], "storage": opened.storage}, sort_keys=False, allow_unicode=True
    )
    try:
        if file.exists():
            aside = _free_name(file.with_name(file.name + ".damaged"))
            file.rename(aside)
            warnings.warn(
                f"study '{opened.folder.name}': {file} was damaged; it is kept as {aside.name}, and written anew",
                NasWarning,
                stacklevel=2,
            )
        write_whole(file, text.encode())
    except OSError as error:
        raise StudyError(f"study '{opened.folder.name}': {file} cannot be written: {why(error)}") from None


def _free_name(wanted: Path) -> Path:
    """That name, or one with a number, of which there is no file yet."""
    number, name = 1, wanted
    while name.exists():
        number += 1
        name = wanted.with_name(f"{wanted.name}-{number}")
    return name


def _not_begun(name: str) -> IncompleteStudy:
    return IncompleteStudy(
        f"study '{name}': its making was cut short, before it had a trial; the same nas search command begins it again"
    )


def _not_in_database(name: str) -> StudyError:
    return StudyError(f"study '{name}': there is none of that name in its database")
