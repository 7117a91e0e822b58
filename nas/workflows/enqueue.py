"""Queues networks that a person chose for training in a search."""

from nas.architectures.architecture import Architecture
from nas.errors import InvalidValue, StudyError
from nas.spaces.membership import misfits
from nas.study.records import TrialState
from nas.study.storage.backend import LENGTH
from nas.study.study import Study

__all__ = ["enqueue"]


def enqueue(study: Study, architecture: Architecture) -> None:
    """Queues a network for a full training: the running search, or the next one, trains it before anything else.

    Args:
        study: a search.
        architecture: a network of the study's space.

    Raises:
        InvalidValue: the network is not in the space; the message names the values that are not.
        StudyError: it was trained in full, is being trained, or is queued already.
    """
    space = study.config.space
    if outside := misfits(architecture, space):
        raise InvalidValue(f"architecture: is not in the space of study '{study.name}': {'; '.join(outside)}")
    with study.ask_lock():
        for record in study.records():
            if not record.architecture.alike(architecture) or record.length not in (None, space.recipe.epochs):
                continue
            states = {TrialState.COMPLETE: "was trained", TrialState.RUNNING: "is being trained"}
            states[TrialState.WAITING] = "is queued"
            if record.state in states:
                raise StudyError(f"study '{study.name}': this network {states[record.state]} as trial {record.trial}")
        study.queue([{LENGTH: space.recipe.epochs, **space.point(architecture)}], by_person=True)
        study.attributes.add_act(f"queued {architecture.name}")
