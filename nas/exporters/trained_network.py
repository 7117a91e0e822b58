"""Trained: the weights of a network that was trained, and what is known of them."""

from dataclasses import dataclass
from pathlib import Path

from nas.analysis.confirmation import confirmed
from nas.architectures.architecture import Architecture
from nas.errors import ExportError
from nas.study.config import StudyConfig
from nas.study.records import COMPLETE
from nas.study.study import Study

__all__ = ["TrainedNetwork", "trained_weights"]


@dataclass(frozen=True)
class TrainedNetwork:
    """What an export makes a bundle of.

    `accuracy`, in [0, 1], is that of these weights on the validation images; `config` has the recipe and describes the
    images. `origin` says where the weights come from, for people; `seed` is that of their training. `confirmed` are the
    validation accuracies of all trainings of this architecture from scratch on several seeds, where there were any;
    `tested` those of the same trainings on the test images, and `test_accuracy` that of these weights, where the test
    images were read.
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
    """The weights of a trial: of its best confirming training, where it has any, else those of the search.

    Raises:
        ExportError: the trial is not complete.
        StudyError: there is no such trial.
    """
    record = study.record(trial)
    if record.state != COMPLETE:
        why = f" ({record.reason})" if record.reason else ""
        raise ExportError(f"trial {trial} is {record.state}{why}; only complete trials have weights")
    assert record.accuracy is not None  # a complete trial has one
    origin = f"trial {trial} of the study '{study.name}'"
    found = confirmed(study)
    member = found.of(record.architecture) if found is not None else None
    if found is None or member is None:
        return TrainedNetwork(
            record.architecture, study.weights_file(trial), record.accuracy, study.config, origin, study.config.seed
        )
    if found.study is study and trial in {training.trial for training in member.trainings}:
        best = record  # it was asked for by its number
    else:
        best = member.best
        origin += f", trained anew on seed {best.seed}"
    if len(member.trainings) > 1 and best == member.best:
        origin += f": the best of {len(member.trainings)} seeds on the validation images"
    assert best.accuracy is not None
    return TrainedNetwork(
        record.architecture,
        found.study.weights_file(best.trial),
        best.accuracy,
        found.study.config,
        origin,
        best.seed if best.seed is not None else study.config.seed,
        member.accuracies,
        tuple(member.tested.values()),
        member.tested.get(best.trial),
    )
