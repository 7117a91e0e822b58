import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import nas
from nas import NasError, SearchSpace
from nas.study.catalog import list_studies
from nas.workflows.tune_recipe import tune_recipe
from tests.helpers import TINY, Ran

COLOUR = {**TINY, "input": {"channels": 3, "size": 8}, "recipe": {"epochs": 4}}
"""Its recipe mirrors, as is usual for colour images."""
ON: dict[str, Any] = {"flip_vertical": True, "random_augment": 0.5, "mixup": 0.2}
"""Augmentations that are tried where they are off."""


def sides(number: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Images whose class is the side that is brighter, which mirroring changes."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, number)
    images = rng.integers(0, 100, (number, 8, 8, 3)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[:, 4 * label : 4 * label + 4] += 60
    return images, labels


@pytest.mark.slow
def test_a_change_that_helps_is_kept(tmp_path: Path) -> None:
    space = SearchSpace.from_dict(COLOUR)
    found = tune_recipe(space, sides(), name="t", runs=tmp_path, device="cpu")
    assert found.base.flip
    assert not found.space.recipe.flip
    assert found.accuracy < 0.7
    flip = next(effect for effect in found.effects if effect.field == "flip")
    assert (flip.value, flip.pairs) == (False, 4)
    assert flip.mean > 0.2
    tried = {"flip", "flip_vertical", "crop_padding", "random_augment", "mixup", "learning_rate"}
    assert {effect.field for effect in found.effects} == tried
    assert SearchSpace.from_dict(found.space.to_dict()) == found.space
    assert list_studies(tmp_path) == []  # the trainings of recipes are no searches


@pytest.mark.slow
def test_it_resumes_and_gives_the_same(tmp_path: Path) -> None:
    recipe = {"epochs": 1, "learning_rate": 0.01, "crop_padding": 0} | ON
    space = SearchSpace.from_dict({**COLOUR, "recipe": recipe})
    found = tune_recipe(space, sides(), name="t", runs=tmp_path, device="cpu")
    trained = {file: file.read_bytes() for file in tmp_path.rglob("journal.log")}
    assert len(trained) == 2  # fields that the space sets stay
    again = tune_recipe(space, sides(), name="t", runs=tmp_path, device="cpu")
    assert again == found
    for file, journal in trained.items():
        assert file.read_bytes() == journal


@pytest.mark.slow
def test_a_change_at_which_trainings_fail_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice the rate diverges; the search for a recipe goes on."""
    recipe = {"epochs": 1, "optimizer": "sgd", "flip": False, "crop_padding": 0}
    space = SearchSpace.from_dict({**COLOUR, "recipe": recipe})
    extreme = [("learning_rate", 1e-3), ("learning_rate", 1000.0)]
    monkeypatch.setattr("nas.workflows.tune_recipe.recipe_changes", lambda *_: extreme)
    found = tune_recipe(space, sides(), name="t", runs=tmp_path, device="cpu")
    assert [effect.value for effect in found.effects] == [1e-3]


@pytest.mark.slow
def test_a_recipe_by_which_every_training_fails_is_one_line(tmp_path: Path) -> None:
    space = SearchSpace.from_dict({**COLOUR, "recipe": {"epochs": 1, "learning_rate": 1000, "optimizer": "sgd"}})
    with pytest.raises(NasError, match="not_finite"):
        tune_recipe(space, sides(), name="t", runs=tmp_path, device="cpu")


def test_a_space_that_leaves_nothing_open_is_refused(tmp_path: Path) -> None:
    recipe = {"epochs": 1, "learning_rate": 0.01, "flip": False, "crop_padding": 0, **ON}
    with pytest.raises(NasError, match="leave learning_rate out"):
        tune_recipe(SearchSpace.from_dict({**COLOUR, "recipe": recipe}), sides(), runs=tmp_path)
    assert not any(tmp_path.iterdir())


def test_one_seed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NasError, match="seeds=1: must be from 2"):
        tune_recipe(SearchSpace.from_dict(COLOUR), sides(), seeds=1, runs=tmp_path)
    assert nas.tune_recipe is tune_recipe


@pytest.mark.slow
def test_the_command_prints_a_table_a_space_or_json(tmp_path: Path, nas_command: Callable[..., Ran]) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(SearchSpace.from_dict({**TINY, "recipe": {"epochs": 1, "flip": False}}).to_yaml())
    common = [str(file), "--data", "digits", "--runs", tmp_path / "runs", "--max-images", 300, "--workers", 1]
    ran = nas_command("recipe", *common)
    assert ran.code == 0, ran.err
    assert "as it is" in ran.out
    assert "learning_rate: 0.0025" in ran.out  # half of what follows from batches of 8
    ran = nas_command("recipe", *common, "--json")
    found = json.loads(ran.out)
    assert {effect["field"] for effect in found["effects"]} == {*ON, "crop_padding", "learning_rate"}
    ran = nas_command("recipe", *common, "--yaml")
    space = SearchSpace.from_dict(yaml.safe_load(ran.out))
    assert space.recipe.to_dict() == found["recipe"]
    assert not space.recipe.auto
