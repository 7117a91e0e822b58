"""retrain(): one architecture, trained at full length on one or several seeds, as a study of its own."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from nas.architectures.architecture import Architecture
from nas.data.loading import DIGITS, load_data
from nas.errors import DataError
from nas.spaces.search_space import SearchSpace
from nas.study.config import StudyConfig
from nas.study.images import described, images_of
from nas.study.study import Study
from nas.training.recipe import Recipe
from nas.validation import integer
from nas.workers.listeners import Listener
from nas.workers.scaling import ScalingConfig
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
    **hands: Any,
) -> Study:
    """Trains an architecture from scratch, on one or several seeds; the same call again goes on where it stopped.

    The study holds one architecture, each trial one training. It can be shown, confirmed on more seeds and exported as
    any other.

    Args:
        architecture: an `Architecture`, or its YAML file. Its number of classes becomes the data's.
        data: what `nas.load_data` takes.
        name: the study's folder in `runs`. None: the file's name, or the architecture's key.
        runs: the folder of studies.
        recipe: how it is trained. None: `Recipe()`.
        epochs: in place of the recipe's.
        seeds: how many trainings.
        seed: of the splits; those of the trainings follow it.
        max_images: train on a stratified part of the images only.
        skip_bad_images: leave out images that cannot be read, instead of refusing the data.
        storage: the URL of a database for Optuna, in place of a journal file in the study's folder.
        listener: is told what happens.
        hands: who trains, by the names that `nas.search` has for it: `device`, `workers`, `ray` and so on.

    Raises:
        NasError: an argument, the architecture or the data cannot be used.
        KeyboardInterrupt: passed on, once the running training is put back; it goes on after its last epoch.
    """
    if not isinstance(architecture, Architecture):
        name, architecture = name or Path(architecture).stem, Architecture.from_yaml(architecture)
    integer(seed, "seed", minimum=0, maximum=2**32 - 1)
    scaling = ScalingConfig(**hands)
    recipe = recipe or Recipe()
    recipe = replace(recipe, epochs=epochs) if epochs is not None else recipe
    if data is None and architecture.input != DIGITS:
        raise DataError("data: name the images to train on: a folder, a parquet file or a hub data set")
    data = data if data is not None else "digits"
    images = load_data(data, architecture.input, seed=seed, max_images=max_images, skip_bad_images=skip_bad_images)
    whole = {**architecture.to_dict(), "classes": len(images.classes)}
    space = SearchSpace.from_dict({"name": architecture.name, **whole, "recipe": recipe.to_dict()})
    return repeat(
        name or architecture.key,
        runs,
        StudyConfig(space, described(images, data, max_images), seed),
        points=[{}],
        seeds=seeds,
        images=images,
        storage=storage,
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
    listener: Listener | None = None,
    **hands: Any,
) -> Study:
    """Trains the architecture of a study's trial from scratch, on the study's images; returns where the trainings are.

    As `nas.confirm` does with several trials, whose trainings these join; the arguments are as there.
    """
    scaling = ScalingConfig(**hands)
    images = images_of(study.config, data)
    chosen = [study.record(trial)]
    return repeat_trials(study, chosen, seeds=seeds, epochs=epochs, images=images, scaling=scaling, listener=listener)
