"""Reasons to doubt a search's result: baselines that its networks do not beat, and trainings that were too short."""

from collections.abc import Sequence

from nas.study.records import TrialRecord
from nas.study.study import Study
from nas.training.baselines import MOST_IMAGES
from nas.training.recipe import MOST_EPOCHS, STEPS
from nas.units import counted, epochs_text, percent_text

__all__ = ["baseline_sentences", "best_baseline", "undertrained_sentence"]

FEWEST_STEPS = 300
"""Number of optimiser steps of a full training below which it is called short."""


def best_baseline(study: Study) -> tuple[str, float] | None:
    """Returns the name and the validation accuracy of the most accurate baseline; None if none was trained."""
    return max(study.attributes.baselines.items(), key=lambda found: found[1], default=None)


def baseline_sentences(study: Study, front: Sequence[TrialRecord]) -> list[str]:
    """Returns what classifiers on the pixels reach, and a warning if the study's front does not beat them."""
    baselines = study.attributes.baselines
    if not baselines:
        return []
    words = ", ".join(f"{name} {percent_text(accuracy)}" for name, accuracy in baselines.items())
    images = study.config.data.get("train_images") or 0
    of_images = f"{MOST_IMAGES:,} of the same images" if images > MOST_IMAGES else "the same images"
    sentences = [f"On {of_images}, without a network: {words}."]
    best = best_baseline(study)
    if best and front and max(member.accuracy or 0.0 for member in front) < best[1]:  # both measured on these images
        sentences.append(
            f"No network of the front beats the {best[0]}: trainings may have too few epochs, networks too few FLOPs."
        )
    return sentences


def undertrained_sentence(study: Study) -> str | None:
    """Returns a warning if a full training takes few optimiser steps, with the epochs that would be enough."""
    recipe, images = study.config.space.recipe, study.config.data.get("train_images")
    if not images:
        return None
    batches = max(1, images // min(recipe.batch_size, images))
    if recipe.epochs * batches >= FEWEST_STEPS:
        return None
    steps, epochs = counted(recipe.epochs * batches, "step"), min(-(-STEPS // batches), MOST_EPOCHS)
    length = f"{steps}, {epochs_text(recipe.epochs)} of {batches} batch{'es' * (batches > 1)}"
    return (
        f"A training takes only {length}: longer ones are likely to be more accurate. With {epochs_text(epochs)} it "
        f"takes {counted(epochs * batches, 'step')}."
    )
