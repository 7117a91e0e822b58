"""Parses command targets: a study, an architecture in a file, or a trial of a study."""

import re
from pathlib import Path
from typing import NamedTuple

from nas.analysis.requirements import Requirements
from nas.analysis.selection import choose
from nas.architectures.architecture import Architecture
from nas.errors import InvalidValue, StudyError
from nas.study.catalog import list_studies
from nas.study.study import Study
from nas.validation import shown

__all__ = ["Target", "read_study", "read_target"]


class Target(NamedTuple):
    """An architecture, and the study and trial that it comes from; both are None if it comes from a file."""

    architecture: Architecture
    study: Study | None
    trial: int | None


def read_study(text: str | None, *, runs: str | Path = "runs", storage: str | None = None) -> Study:
    """Opens the study that a command names.

    Args:
        text: a study's name, or an architecture's YAML file for the study of its trainings. None: the most recently
            modified study.
        runs: the folder of studies.
        storage: the URL of the study's database, if it has one.

    Raises:
        StudyError: there is no such study, or the file's study holds a different architecture.
        InvalidValue: the file cannot be read or holds no architecture.
    """
    if text is None:
        text = next(iter(list_studies(runs)), None)
        if text is None:
            raise StudyError(f"there is no study in {runs} yet; `nas search` makes one")
    if not _names_a_file(text):
        return Study.open(text, runs, storage=storage)
    architecture, name = Architecture.from_yaml(text), Path(text).stem
    if storage is None and not Study.exists(name, runs):
        raise StudyError(f"{text}: no study '{name}' in {runs} has trainings of it; nas train {text} makes one")
    study = Study.open(name, runs, storage=storage)
    if not any(record.architecture.alike(architecture) for record in study.records()):
        raise StudyError(f"{text}: the study '{name}' in {runs} is of another architecture")
    return study


def read_target(text: str, *, runs: str | Path = "runs", storage: str | None = None) -> Target:
    """Resolves a target: a YAML file written by `Architecture.to_yaml`, STUDY:TRIAL, or STUDY.

    The text names a file if that file exists, or if it ends in .yaml or .yml. STUDY without a trial stands for the one
    that `nas pick` recommends and `nas export` writes, by confirmed means if there are any.

    Args:
        text: the target as typed.
        runs: the folder of studies.
        storage: the URL of the study's database, if it has one.

    Raises:
        InvalidValue: the file cannot be read or holds no architecture, or the trial is not a number.
        StudyError: there is no such study or trial, or the study has no trained network to choose from.
    """
    if _names_a_file(text):
        return Target(Architecture.from_yaml(text), None, None)
    name, colon, number = text.partition(":")
    if colon and not re.fullmatch(r"[0-9]{1,9}", number):
        raise InvalidValue(f"trial={shown(number)}: must be the number of a trial, as in {name}:0")
    study = Study.open(name, runs, storage=storage)
    if colon:
        record = study.record(int(number))
        return Target(record.architecture, study, record.trial)
    if not study.front():
        raise StudyError(f"study '{name}' has no trained network yet; `nas trials {name}` shows what it has")
    picked = choose(study, Requirements()).pick.record
    return Target(picked.architecture, study, picked.trial)


def _names_a_file(text: str) -> bool:
    if text.endswith((".yaml", ".yml")):
        return True
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # not a valid file name
        return False
