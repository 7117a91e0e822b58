"""Chooses the networks of a search that another one learns from."""

from collections.abc import Mapping, Sequence

from nas.errors import StudyError
from nas.study.artifacts import brought
from nas.study.records import TrialState
from nas.study.study import Study
from nas.training.objective import Teacher

__all__ = ["teachers_of"]

TEACHERS = 3


def teachers_of(study: Study, known: Sequence[int] | None = None) -> Mapping[int, Teacher]:
    """Returns networks of a study to learn from, by trial: the most accurate ones, at most three.

    Args:
        study: a search.
        known: the trials that were chosen before. None: chooses them.

    Raises:
        StudyError: no weights are kept, or not those of the known trials.
    """
    trained = [record for record in study.estimated_records() if record.trained]
    if known is not None:
        trained = [record for record in trained if record.trial in known]
    found: dict[int, Teacher] = {}
    for record in sorted(trained, key=lambda each: (each.state != TrialState.COMPLETE, -each.quality, each.trial)):
        file = brought(study, study.weights_file(record.trial))
        if file.exists() and record.architecture not in [teacher.architecture for teacher in found.values()]:
            found[record.trial] = Teacher(record.architecture, file.absolute())
        if len(found) == TEACHERS:
            break
    if not found or (known is not None and set(found) != set(known)):
        which = f"of the trials {', '.join(map(str, known))}" if known is not None else "of any network"
        raise StudyError(f"study '{study.name}': the weights {which}, to learn from, are not kept")
    return found
