"""The final training of the network to export: on all images but the test images."""

import access
import follow_up
import live
import messages
import streamlit as st

from nas.analysis.confirmation import repetitions_underway
from nas.analysis.final_training import FINAL_TIMES, final_training
from nas.study.catalog import DISTILLED, FINAL
from nas.study.records import TrialRecord
from nas.units import counted, percent_text


def show(seen: live.Snapshot, record: TrialRecord, *, data: list[str]) -> bool:
    """Shows the final training of a trial's network, or offers it; returns whether there are weights to export.

    Args:
        seen: the study.
        record: the trial.
        data: the options that name the images, if they were moved.
    """
    study, folds = seen.study, seen.study.config.folds
    found = final_training(study, record.architecture)
    if found is not None:
        holder, last = found
        st.text(
            f"Trained on all images for {counted(holder.config.space.recipe.epochs, 'epoch')}: "
            f"{holder.config.scored(percent_text(last.accuracy or 0.0))}. "
            "These weights are exported."
        )
    elif folds > 1:
        messages.calm(
            "To be trained on all images first",
            f"Its accuracy is that of {folds} networks, one for each fold. This trains the one to export:",
        )
    elif not (study.config.has_source or data):
        return True  # the images, and perhaps the training, are one's own
    else:
        images = study.config.validation_images
        st.text(
            f"Its weights were trained without the {f'{images:,} ' if images else ''}validation images. Trained on all "
            "of them it is usually more accurate; the test images judge it then."
        )

    def underway() -> follow_up.Underway | None:
        holder = repetitions_underway(study, FINAL, DISTILLED)
        trainings = holder.records() if holder is not None else []
        alike = [each for each in trainings if not each.finished and each.architecture.alike(record.architecture)]
        if holder is None or not alike:
            return None
        done, epochs = len(alike[0].curve), holder.config.space.recipe.epochs
        return follow_up.Underway(holder, done / epochs, f"Training on all images: epoch {done} of {epochs}")

    def offer() -> list[str]:
        options = _fields(FINAL_TIMES * study.config.space.recipe.epochs) if access.may_act() else []
        return ["nas", "train", f"{study.name}:{record.trial}", "--all-images", *options, *data, *seen.place.options]

    key = f"final training of {record.architecture.key}"
    offered = offer if found is None else None
    follow_up.show(study, "Train on all images", underway, now=underway(), key=key, offer=offered)
    return found is not None or folds == 1


def _fields(usual: int) -> list[str]:
    """Shows the fields of the training; returns the options that say the same."""
    left, right = st.columns([1, 1.6], vertical_alignment="bottom")
    epochs = left.number_input("Epochs", 1, 100_000, None, placeholder=f"{usual}, more than in the search")
    taught = right.checkbox(
        "Learn from the three most accurate networks too",
        help="Distillation: it learns what they say of each image, beside its label. This takes longer, and helps "
        "networks that are much smaller than those.",
    )
    return [*(["--distill"] if taught else []), *(["--epochs", str(epochs)] if epochs else [])]
