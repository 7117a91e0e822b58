"""The final training of a network that was chosen: on all images but the test images, which judge it."""

from nas.analysis.confirmation import opened_repetitions
from nas.architectures.architecture import Architecture
from nas.study.catalog import DISTILLED, FINAL
from nas.study.records import TrialRecord, TrialState
from nas.study.study import Study

__all__ = ["FINAL_TIMES", "final_training"]

FINAL_TIMES = 2
"""A final training has this many times the epochs of the search's: it is one, and they are many."""


def final_training(study: Study, architecture: Architecture) -> tuple[Study, TrialRecord] | None:
    """Returns the training of an architecture on all images but the test images, and the study that holds it, if any.

    Of several it is the longest, of two that are as long that which learned from other networks too, and of its seeds
    the first one: a choice by test accuracy would make that too high.
    """
    holders = [*opened_repetitions(study, DISTILLED), *opened_repetitions(study, FINAL)]
    for holder in sorted(holders, key=lambda each: -each.config.space.recipe.epochs):
        done = [record for record in holder.records() if record.state == TrialState.COMPLETE]
        if alike := [record for record in done if record.architecture.alike(architecture)]:
            return holder, min(alike, key=lambda record: record.seed or 0)
    return None
