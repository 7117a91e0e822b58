"""Retrains the Pareto front, and trials that noise may have kept off it, from scratch on several seeds."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Unpack

from nas.analysis.confirmation import ConfirmationReport, confirmed, holds_repetitions, repetitions_of
from nas.analysis.final_training import FINAL_TIMES
from nas.analysis.significance import contenders
from nas.data.images import ImageData, train_on_all
from nas.errors import DataError, StudyError
from nas.study.artifacts import brought
from nas.study.catalog import CONFIRMED, DISTILLED, FINAL, repetitions_name
from nas.study.config import StudyConfig
from nas.study.creation import IncompleteStudy
from nas.study.images import images_of
from nas.study.records import TrialRecord
from nas.study.study import Study
from nas.system.hardware import AUTO
from nas.training.objective import CustomObjective, Evaluate, Teacher
from nas.validation import integer
from nas.workers.listeners import Listener
from nas.workers.scaling import ScalingConfig, ScalingOptions
from nas.workers.task import Task
from nas.workflows.repeat import repeat
from nas.workflows.teachers import teachers_of

__all__ = ["confirm", "repeat_trials"]


def confirm(
    study: Study,
    *,
    top: int | None = None,
    seeds: int = 3,
    epochs: int | None = None,
    test: bool = False,
    data: Any = None,
    evaluate: Evaluate | None = None,
    listener: Listener | None = None,
    **workers: Unpack[ScalingOptions],
) -> ConfirmationReport:
    """Retrains a study's Pareto front, and trials that chance may have kept off it, from scratch on several seeds.

    Calling it again trains only what is missing. The trainings are stored in a separate study inside the study's
    folder, one per number of epochs; the report shows all of them.

    Args:
        study: a search with at least one trained network.
        top: maximum number of architectures, the most accurate of the following. None: the front, and all trials
            whose probability of being on it is at least 0.2.
        seeds: number of trainings per architecture.
        epochs: overrides the recipe's epochs.
        test: also evaluate the winners, the front of the confirmed means, on the test images, each training only once.
        data: the study's images if they have moved; required if it was searched on arrays.
        evaluate: the custom training function, if the study was searched with one; it must accept `seed`.
        listener: notified of progress.
        workers: who trains, as in `nas.search`: `device`, `workers`, `ray` and so on.

    Returns:
        The report of all confirmed architectures.

    Raises:
        NasError: the study has no trained network, or its images are not available.
        KeyboardInterrupt: re-raised after the running trainings have been requeued.
    """
    integer(top if top is not None else 1, "top", maximum=10_000)
    if holds_repetitions(study):
        raise StudyError(
            f"study '{study.name}': holds trainings of one architecture, not a search; train it on more seeds where it "
            "was trained (nas train --seeds)"
        )
    chosen = contenders(study.estimated_records(), study.config.effective_images, top=top)
    if not chosen:
        raise StudyError(f"study '{study.name}' has no trained network to confirm yet")
    scaling = ScalingConfig(**workers)
    if test and evaluate is not None:
        raise DataError("test: with one's own evaluate, the test images are one's own to measure on")
    images = images_of(study.config, data) if evaluate is None else None
    repeat_trials(
        study,
        chosen,
        seeds=seeds,
        epochs=epochs,
        images=images,
        evaluate=evaluate,
        scaling=scaling,
        listener=listener,
    )
    found = confirmed(study)
    if found is None:
        raise StudyError(f"study '{study.name}': none of the trainings was completed; nas confirm begins them again")
    if test:
        assert images is not None  # `test` with a custom `evaluate` was rejected above
        _test(found, images, device=scaling.device)
        found = confirmed(study) or found
    return found


def repeat_trials(
    study: Study,
    chosen: list[TrialRecord],
    *,
    seeds: int,
    epochs: int | None,
    images: ImageData | None,
    all_images: bool = False,
    distill: bool = False,
    evaluate: Evaluate | None = None,
    scaling: ScalingConfig,
    listener: Listener | None = None,
) -> Study:
    """Trains the architectures of chosen trials on several seeds, in a study of repetitions inside `study`'s folder.

    Args:
        study: the search that the trials belong to.
        chosen: trials of `study`.
        seeds: number of trainings per architecture.
        epochs: overrides the recipe's epochs, or twice as many with `all_images`; each number of epochs has its own
            study of repetitions.
        images: the study's images; None with a custom `evaluate`.
        all_images: train on the validation images too, and judge by the test images.
        distill: with `all_images`; learn from the study's most accurate networks too.
        evaluate: a custom training function. None: the default training.
        scaling: the workers to train with.
        listener: notified of progress.

    Returns:
        The study of repetitions.
    """
    config = study.config
    usual = config.space.recipe.epochs * (FINAL_TIMES if all_images else 1)
    recipe = replace(config.space.recipe, epochs=epochs if epochs is not None else usual)
    kind, data = CONFIRMED, config.data
    if all_images:
        assert images is not None  # there are none to join with a custom `evaluate`
        images = train_on_all(images)
        kind = DISTILLED if distill else FINAL
        data = {**data, **images.describe(), "source": data["source"], "all_images": True}
    plan = study.attributes.plan
    begun = repetitions_of(study, kind)
    name = begun.get(recipe.epochs, repetitions_name(study.name, recipe.epochs, kind))
    teachers: Mapping[int, Teacher] = {}
    if distill:
        teachers = teachers_of(study, _teachers_known(study, name) if name in begun.values() else None)
        data = {**data, "teachers": sorted(teachers)}
    objective = CustomObjective(evaluate) if evaluate is not None else None
    return repeat(
        Task(name, study.folder, study.storage, images, objective, teachers=tuple(teachers.values())),
        StudyConfig(config.space.with_changes(recipe=recipe), data, config.seed),
        points=[config.space.point(record.architecture) for record in chosen],
        seeds=seeds,
        scaling=scaling,
        artifacts=plan.artifacts if plan is not None else None,
        listener=listener,
    )


def _teachers_known(study: Study, name: str) -> tuple[int, ...] | None:
    """Returns the teachers of the trainings that `study` has under this name; None if they were never written."""
    with suppress(IncompleteStudy):
        return Study.open(name, study.folder, storage=study.storage).config.teachers
    return None


def _test(found: ConfirmationReport, images: ImageData, *, device: str = AUTO) -> None:
    """Evaluates the winners' trainings that lack a test accuracy on the test images, and stores the results."""
    from nas.architectures.weights import load_weights
    from nas.training.train import evaluate, on_device

    data = None
    for member in found.members:
        missing = [training for training in member.trainings if training.trial not in member.tested]
        if not member.on_front or not missing:
            continue
        assert member.study is not None  # what was trained is stored
        recipe, tested = member.study.config.space.recipe, member.study.attributes.tested
        data = data or on_device(replace(images, validation=images.test), recipe, device)
        for training in missing:
            weights = load_weights(brought(member.study, member.study.weights_file(training.trial)))
            tested[training.trial] = evaluate(training.architecture, weights, data, recipe=recipe)
        member.study.attributes.tested = tested
