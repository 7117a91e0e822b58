"""Tunes a recipe for a data set: trains networks with one field changed at a time, and keeps the changes that help."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Unpack

from nas.analysis.recipe_effects import RecipeEffect, kept_effects, recipe_effects
from nas.architectures.architecture import Architecture, Input
from nas.errors import InvalidValue, StudyError
from nas.spaces.preflight import preflight
from nas.spaces.search_space import SearchSpace
from nas.study.catalog import trial_recipe_name, usual_study_name
from nas.study.config import StudyConfig
from nas.study.images import ImageOptions, load_described
from nas.study.records import TrialState
from nas.study.study import Study
from nas.training.recipe import Recipe
from nas.validation import integer
from nas.workers.listeners import Listener
from nas.workers.scaling import ScalingConfig, ScalingOptions
from nas.workers.task import Task
from nas.workflows.repeat import repeat

__all__ = ["TunedRecipe", "TuningOptions", "recipe_changes", "tune_recipe"]

BASE = "base"
AUGMENTATIONS = {"flip_vertical": True, "mixup": 0.5}
"""Augmentations that are tried where they are off."""


class TuningOptions(ImageOptions, ScalingOptions, total=False):
    """How images are chosen, prepared and split, and who trains."""


@dataclass(frozen=True)
class TunedRecipe:
    """The outcome: `space` has the tuned recipe; `base` is the one that follows from the images."""

    space: SearchSpace
    base: Recipe
    networks: tuple[Architecture, ...]
    accuracy: float
    effects: tuple[RecipeEffect, ...]

    @property
    def kept(self) -> list[RecipeEffect]:
        """The changes that the tuned recipe has."""
        return kept_effects(self.effects)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values, with the accuracy of the base recipe and the effects in [0, 1]."""
        return {
            "recipe": self.space.recipe.to_dict(),
            "base": {"recipe": self.base.to_dict(), "accuracy": self.accuracy},
            "networks": [network.to_dict() for network in self.networks],
            "effects": [{**effect._asdict(), "kept": effect in self.kept} for effect in self.effects],
        }


def tune_recipe(
    space: SearchSpace,
    data: Any,
    *,
    name: str | None = None,
    runs: str | Path = "runs",
    seeds: int = 2,
    seed: int = 0,
    storage: str | None = None,
    listener: Listener | None = None,
    **options: Unpack[TuningOptions],
) -> TunedRecipe:
    """Trains two networks of a space by its recipe and by recipes that differ in one field (`recipe_changes`).

    Trainings are of full length, as short ones misjudge augmentation, and are paired by network and seed. Calling it
    again resumes where it stopped. The validation images judge; they are those of a search with the same seed.

    Args:
        space: the space; only fields of its recipe that are `auto`, and augmentations that are off, are tuned.
        data: anything that `nas.load_data` accepts.
        name: the folder in `runs` for the trainings, one study for each recipe. None: derived from the names of the
            space and the data.
        runs: the folder of studies.
        seeds: number of trainings of each network by each recipe, at least 2, as their spread tells chance from effect.
        seed: the seed of the splits; the trainings use the seeds that follow it.
        storage: the URL of a database for Optuna, instead of journal files.
        listener: notified of progress.
        options: as in `nas.search`: how images are chosen, prepared and split (`ImageOptions`), and who trains
            (`ScalingOptions`).

    Raises:
        NasError: an argument, the space or the data cannot be used; or no training by the base recipe was completed.
        KeyboardInterrupt: re-raised after the running trainings have been requeued.
    """
    integer(seeds, "seeds", minimum=2, maximum=1000)
    of_images: Any = {key: value for key, value in options.items() if key in ImageOptions.__annotations__}
    of_workers: Any = {key: value for key, value in options.items() if key not in of_images}
    scaling = ScalingConfig(**of_workers)
    images, description = load_described(data, space.input, seed=seed, **of_images)
    space, tuned = space.with_changes(classes=len(images.classes)), open_fields(space.recipe)
    name = name or usual_study_name(space.name, description["source"])
    base = space.recipe.for_images(len(images.train.labels), space.input, multi_label=images.is_multi_label)
    changes = [(field, value) for field, value in recipe_changes(base, space.input) if field in tuned]
    if not changes:
        raise InvalidValue("recipe: the space itself sets all that could be tried; leave learning_rate out, or flip")
    networks = tuple(dict.fromkeys(preflight(space).examples[::2]))  # of low and of high FLOPs
    points = [space.point(network) for network in networks]

    def accuracies(label: str, recipe: Recipe) -> Mapping[tuple[str, int], float]:
        config = StudyConfig(space.with_changes(recipe=recipe), description, seed)
        task = Task(trial_recipe_name(name, label), Path(runs) / name, storage, images)
        try:
            study = repeat(task, config, points=points, seeds=seeds, scaling=scaling, listener=listener)
        except StudyError:
            study = Study.open(task.study, task.runs, storage=storage)
            ended = [record.state for record in study.records() if record.finished]
            if label == BASE or set(ended) != {TrialState.FAILED}:
                raise
        return _accuracies(study)  # none of a rate at which every training fails

    found = accuracies(BASE, base)
    if not found:
        raise StudyError(f"{name}: no training by the recipe as it is was completed, so none can be compared with it")
    changed = {
        (field, value): accuracies(f"{field}-{value}", base.with_values(**{field: value})) for field, value in changes
    }
    effects = recipe_effects(found, changed, images=len(images.judged.labels))
    return TunedRecipe(
        space.with_changes(recipe=base.with_values(**{effect.field: effect.value for effect in kept_effects(effects)})),
        base,
        networks,
        fmean(found.values()),
        tuple(effects),
    )


def open_fields(recipe: Recipe) -> frozenset[str]:
    """Returns the fields of a recipe that may be tuned: those that are `auto`, and augmentations that are off."""
    return recipe.auto | {name for name in AUGMENTATIONS if not getattr(recipe, name)}


def recipe_changes(recipe: Recipe, shape: Input) -> Iterator[tuple[str, Any]]:
    """Yields the fields to change and their values: augmentations or none, half and twice the learning rate."""
    yield "flip", not recipe.flip
    yield "crop_padding", 0 if recipe.crop_padding else max(1, shape.size // 16)
    yield "random_augment", 0.0 if recipe.random_augment else 1.0
    for name, value in AUGMENTATIONS.items():
        if not getattr(recipe, name) and not (name == "mixup" and recipe.cutmix):  # which mix images already
            yield name, value
    yield "learning_rate", recipe.learning_rate / 2
    yield "learning_rate", recipe.learning_rate * 2


def _accuracies(study: Study) -> Mapping[tuple[str, int], float]:
    return {
        (record.architecture.key, record.seed): record.accuracy
        for record in study.records()
        if record.state == TrialState.COMPLETE and record.seed is not None and record.accuracy is not None
    }
