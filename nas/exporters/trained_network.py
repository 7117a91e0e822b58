"""TrainedNetwork: the weights of a trained network and their metadata."""

from dataclasses import dataclass, replace
from pathlib import Path

from nas.analysis.confirmation import Confirmation, confirmed
from nas.analysis.final_training import final_training
from nas.architectures.architecture import Architecture
from nas.errors import ExportError
from nas.study.artifacts import brought
from nas.study.config import StudyConfig
from nas.study.records import TrialRecord
from nas.study.study import Study

__all__ = ["TrainedNetwork", "trained_weights"]


@dataclass(frozen=True)
class TrainedNetwork:
    """The input of an export: weights, their architecture, and how they were trained and evaluated.

    `accuracy`, in [0, 1], is that of these weights on the images that `config.judged_on` names. `config` has the recipe
    and describes the images. `origin` says in words where the weights come from; `seed` is the seed of their training.
    `confirmed` are the validation accuracies of all confirmation trainings of this architecture (from scratch, on
    several seeds), if any. `tested` are the test accuracies of the same trainings and `test_accuracy` is that of these
    weights, if the test images were used.
    """

    architecture: Architecture
    weights_file: Path
    accuracy: float
    config: StudyConfig
    origin: str
    seed: int
    confirmed: tuple[float, ...] = ()
    tested: tuple[float, ...] = ()
    test_accuracy: float | None = None


def trained_weights(study: Study, trial: int) -> TrainedNetwork:
    """Returns the weights of a trial: from a training on all images but the test images, if there is one.

    Otherwise they are those of its best confirmation training, unless that was shorter, else those of the search.

    Raises:
        ExportError: the trial is not complete.
        StudyError: there is no such trial.
    """
    record = study.record(trial)
    if not record.trained:
        why = f" ({record.reason})" if record.reason else ""
        raise ExportError(f"trial {trial} is {record.state}{why}; only trials trained to their end have weights")
    assert record.accuracy is not None  # a trained one has it
    origin = f"trial {trial} of the study '{study.name}'"
    member = _confirmation(study, record)
    if (final := final_training(study, record.architecture)) is not None:
        trained, last = final
        assert last.accuracy is not None
        return TrainedNetwork(
            record.architecture,
            brought(trained, trained.weights_file(last.trial)),
            last.accuracy,
            trained.config,
            f"{origin}, retrained on all images but the test images, seed {last.seed}",
            last.seed or 0,
            member.accuracies if member else (),
            tuple(member.tested.values()) if member else (),
            last.accuracy,
        )
    _refuse_folds(study, trial)
    if member is None or member.study is None:
        config = study.config
        if record.length is not None:
            recipe = replace(config.space.recipe, epochs=record.length)
            config = replace(config, space=config.space.with_changes(recipe=recipe))
        file = brought(study, study.weights_file(trial))
        return TrainedNetwork(record.architecture, file, record.accuracy, config, origin, config.seed)
    if member.study is study and trial in {training.trial for training in member.trainings}:
        best = record  # requested by its number
    else:
        best = member.best
        origin += f", retrained on seed {best.seed}"
    if len(member.trainings) > 1 and best == member.best:
        origin += f": the best of {len(member.trainings)} seeds on the validation images"
    assert best.accuracy is not None
    return TrainedNetwork(
        record.architecture,
        brought(member.study, member.study.weights_file(best.trial)),
        best.accuracy,
        member.study.config,
        origin,
        best.seed if best.seed is not None else study.config.seed,
        member.accuracies,
        tuple(member.tested.values()),
        member.tested.get(best.trial),
    )


def _confirmation(study: Study, record: TrialRecord) -> Confirmation | None:
    """Returns the longest confirmation of a trial's network; None if it is shorter than the trial's own training."""
    found = confirmed(study)
    member = found.of(record.architecture) if found is not None else None
    own = record.length or study.config.space.recipe.epochs
    return member if member is not None and member.epochs >= own else None


def _refuse_folds(study: Study, trial: int) -> None:
    if (folds := study.config.folds) > 1:
        raise ExportError(
            f"trial {trial} of '{study.name}': its accuracy is that of {folds} networks, one for each fold; train one "
            f"on all images first: nas train {study.name}:{trial} --all-images"
        )
