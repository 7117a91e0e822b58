"""Trains a single architecture at full length, on one or several seeds, as its own study."""

from pathlib import Path
from typing import Any, Unpack

from nas.architectures.architecture import Architecture
from nas.data.loading import DIGITS
from nas.errors import DataError, InvalidValue
from nas.spaces.search_space import SearchSpace
from nas.study.config import StudyConfig
from nas.study.images import images_of, load_described
from nas.study.study import Study
from nas.training.recipe import Recipe
from nas.validation import integer
from nas.workers.listeners import Listener
from nas.workers.scaling import ScalingConfig, ScalingOptions
from nas.workers.task import Task
from nas.workflows.confirm import repeat_trials
from nas.workflows.repeat import repeat

__all__ = ["retrain", "retrain_trial"]


def retrain(
    architecture: Architecture | str | Path,
    data: Any,
    *,
    name: str | None = None,
    runs: str | Path = "runs",
    recipe: Recipe | None = None,
    epochs: int | None = None,
    seeds: int = 1,
    seed: int = 0,
    max_images: int | None = None,
    skip_bad_images: bool = False,
    storage: str | None = None,
    listener: Listener | None = None,
    **workers: Unpack[ScalingOptions],
) -> Study:
    """Trains an architecture from scratch on one or several seeds; calling it again resumes where it stopped.

    The study holds one architecture, and each trial is one training. It can be shown and exported like any
    other study; another call with a larger number of seeds trains the missing ones.

    Args:
        architecture: an `Architecture` or the path of its YAML file; its number of classes is set to the data's.
        data: anything that `nas.load_data` accepts.
        name: the study's folder in `runs`. None: the file's stem, or the architecture's key.
        runs: the folder of studies.
        recipe: the training recipe. None: one that follows from the images.
        epochs: overrides the recipe's epochs.
        seeds: number of trainings.
        seed: the seed of the splits; the trainings use the seeds that follow it.
        max_images: use a stratified subset of about this many training and validation images.
        skip_bad_images: skip unreadable images instead of rejecting the data.
        storage: the URL of a database for Optuna, instead of a journal file in the study's folder.
        listener: notified of progress.
        workers: who trains, as in `nas.search`: `device`, `workers`, `ray` and so on.

    Returns:
        The study that holds the trainings.

    Raises:
        NasError: an argument, the architecture or the data cannot be used.
        KeyboardInterrupt: re-raised after the running training has been requeued; it resumes after its last epoch.
    """
    if not isinstance(architecture, Architecture):
        name, architecture = name or Path(architecture).stem, Architecture.from_yaml(architecture)
    integer(seed, "seed", minimum=0, maximum=2**32 - 1)
    scaling = ScalingConfig(**workers)
    recipe = recipe or Recipe.from_dict({})
    recipe = recipe.with_values(epochs=epochs) if epochs is not None else recipe
    if data is None and architecture.input != DIGITS:
        raise DataError("data: name the images to train on: a folder, a parquet file or a hub data set")
    data = data if data is not None else "digits"
    images, description = load_described(
        data, architecture.input, seed=seed, max_images=max_images, skip_bad_images=skip_bad_images
    )
    recipe = recipe.for_images(len(images.train.labels), images.input, multi_label=images.is_multi_label)
    whole = {**architecture.to_dict(), "classes": len(images.classes)}
    space = SearchSpace.from_dict({"name": architecture.name, **whole, "recipe": recipe.to_dict()})
    return repeat(
        Task(name or architecture.key, Path(runs), storage, images),
        StudyConfig(space, description, seed),
        points=[{}],
        seeds=seeds,
        scaling=scaling,
        listener=listener,
    )


def retrain_trial(
    study: Study,
    trial: int,
    *,
    data: Any = None,
    epochs: int | None = None,
    seeds: int = 1,
    all_images: bool = False,
    distill: bool = False,
    listener: Listener | None = None,
    **workers: Unpack[ScalingOptions],
) -> Study:
    """Trains the architecture of a study's trial from scratch on the study's images.

    The trainings are stored with those of `nas.confirm`, whose other arguments are the same; those on all images by
    themselves.

    Args:
        study: the search that the trial belongs to.
        trial: the trial's number.
        data: the study's images if they have moved; required if it was searched on arrays.
        epochs: overrides the recipe's epochs, or twice as many with `all_images`.
        seeds: number of trainings.
        all_images: train on the validation images too, for a network that was chosen: it is judged by the test images,
            and `nas.export` takes its weights.
        distill: with `all_images`; learn from the study's three most accurate networks too (Hinton et al.,
            arXiv:1503.02531).
        listener: notified of progress.
        workers: who trains, as in `nas.search`: `device`, `workers`, `ray` and so on.

    Returns:
        The study that holds the trainings.
    """
    scaling = ScalingConfig(**workers)
    if distill and not all_images:
        raise InvalidValue(
            "distill: is for a network to take home, trained on all images; add all_images (--all-images)"
        )
    if distill and (scaling.ray is not None or scaling.workers in (0, "0")):
        raise InvalidValue("distill: workers elsewhere may lack the weights to learn from; leave out ray and workers=0")
    images = images_of(study.config, data)
    chosen = [study.record(trial)]
    return repeat_trials(
        study,
        chosen,
        seeds=seeds,
        epochs=epochs,
        images=images,
        all_images=all_images,
        distill=distill,
        scaling=scaling,
        listener=listener,
    )
