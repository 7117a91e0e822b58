import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import nas
from nas import NasError, Recipe, SearchSpace
from nas.analysis.confirmation import confirmed
from nas.analysis.final_training import final_training
from nas.study.records import TrialState
from nas.training.checkpoint import Checkpoint, Progress
from nas.workflows.retrain import retrain, retrain_trial
from tests.helpers import Ran, write_photos

RECIPE = Recipe(epochs=2, batch_size=64)


@pytest.fixture
def architecture(tiny: SearchSpace) -> nas.Architecture:
    return tiny.architecture(list(tiny.points())[-1])


@pytest.fixture
def file(architecture: nas.Architecture, tmp_path: Path) -> Path:
    (tmp_path / "net.yaml").write_text(architecture.to_yaml(), encoding="utf-8")
    return tmp_path / "net.yaml"


def test_a_file_s_architecture_becomes_a_study_of_its_trainings(file: Path, tmp_path: Path) -> None:
    study = retrain(file, "digits", runs=tmp_path / "runs", recipe=RECIPE, seeds=2, device="cpu")
    assert study.name == "net"
    assert [(record.state, record.seed) for record in study.records()] == [
        (TrialState.COMPLETE, 1),
        (TrialState.COMPLETE, 2),
    ]
    found = confirmed(study)
    assert found is not None
    [member] = found.members
    assert member.record.architecture == nas.Architecture.from_yaml(file)
    assert member.optimism is None
    before = study.records()
    again = retrain(file, "digits", runs=tmp_path / "runs", recipe=RECIPE, seeds=3, device="cpu")
    assert again.records()[:2] == before
    assert len(again.records()) == 3


def test_the_classes_are_those_of_the_images(file: Path, tmp_path: Path) -> None:
    grey = nas.Architecture.from_yaml(file)
    photos = write_photos(tmp_path / "photos", per_class=8)
    colour = nas.Architecture(nas.Input(3, 8), 10, grey.stem, grey.stages)
    study = retrain(colour, photos, runs=tmp_path / "runs", recipe=RECIPE, device="cpu")
    assert study.name == colour.key
    assert study.records()[0].architecture.classes == 2


def test_a_trial_s_architecture_joins_the_confirmations_of_its_study(tmp_path: Path, tiny: SearchSpace) -> None:
    study = nas.search(tiny, "digits", trials=2, name="s", runs=tmp_path, device="cpu")
    retrain_trial(study, 1, epochs=3, device="cpu")
    found = confirmed(study)
    assert found is not None
    assert [(member.record.trial, len(member.trainings)) for member in found.members] == [(1, 1)]
    assert found.members[0].epochs == 3
    assert len(study.records()) == 2


def test_a_chosen_trial_is_trained_on_all_images_but_the_test_s(
    tmp_path: Path, tiny: SearchSpace, nas_command: Callable[..., Ran]
) -> None:
    study = nas.search(tiny, "digits", trials=2, name="s", runs=tmp_path, device="cpu")
    images = nas.load_data("digits", tiny.input)
    final = retrain_trial(study, 1, all_images=True, seeds=2, device="cpu")
    assert final.config.data["train_images"] == len(images.train.labels) + len(images.validation.labels)
    assert final.config.validation_images == len(images.test.labels)
    trainings = final.records()
    assert [record.state for record in trainings] == [TrialState.COMPLETE] * 2
    assert confirmed(study) is None  # it says nothing of what the search compares
    retrain_trial(study, 1, all_images=True, seeds=2, device="cpu")
    assert nas.Study.open(final.name, study.folder).records() == trainings

    first = min(trainings, key=lambda record: record.seed or 0)
    written = nas.export(study, tmp_path / "out", trial=1, formats=["safetensors"])
    assert written.trained.weights_file == final.weights_file(first.trial)
    assert written.accuracy == written.trained.test_accuracy == first.accuracy
    other = nas.export(study, tmp_path / "other", trial=0, formats=["safetensors"])
    assert other.trained.config == study.config

    shown = nas_command("train", "s:1", "--all-images", "--seeds", 2, "--runs", tmp_path, "--workers", 1)
    assert tiny.recipe.epochs == 2  # and a final training is twice as long
    assert "% of the 359 test images, after 4 epochs each" in shown.out
    refused = nas_command("train", tmp_path / "out" / "architecture.yaml", "--all-images", "--runs", tmp_path)
    assert refused.code == 2
    assert "--all-images: is for a trial of a study" in refused.err


@pytest.mark.parametrize("workers", [{"workers": 2}, {"workers": 1, "ray": "local"}])
def test_workers_of_other_processes_train_on_all_images_but_the_test_s(
    workers: dict[str, Any], tmp_path: Path, tiny: SearchSpace
) -> None:
    """For they once joined the images again, and the test images with them."""
    if "ray" in workers:
        pytest.importorskip("ray")
    curves = []
    for number, options in enumerate((workers, {"workers": 1})):
        study = nas.search(tiny, "digits", trials=1, name="s", runs=tmp_path / str(number), device="cpu")
        final = retrain_trial(study, 0, all_images=True, seeds=2, device="cpu", **options)
        curves.append({record.seed: record.curve for record in final.records()})
    assert curves[0] == curves[1]


def test_a_chosen_trial_learns_from_the_best_networks_of_its_search(
    tmp_path: Path, tiny: SearchSpace, nas_command: Callable[..., Ran]
) -> None:
    study = nas.search(tiny, "digits", trials=4, name="s", runs=tmp_path, device="cpu", keep="all")
    best = sorted(study.estimated_records(), key=lambda record: -record.quality)[:3]
    plain = retrain_trial(study, 1, all_images=True, device="cpu")
    command = ("train", "s:1", "--all-images", "--distill", "--runs", tmp_path, "--workers", 1)
    shown = nas_command(*command)
    assert (shown.code, shown.err) == (0, "")
    teachers = sorted(record.trial for record in best)
    assert f"Taught by the trials {', '.join(map(str, teachers))} of the search." in shown.out
    taught = nas.Study.open("s.distilled-4", study.folder)
    assert list(taught.config.teachers) == teachers
    assert taught.records()[0].curve != plain.records()[0].curve  # of the same seed

    written = nas.export(study, tmp_path / "out", trial=1, formats=["safetensors"])
    assert written.trained.weights_file == taught.weights_file(0)
    longer = retrain_trial(study, 1, all_images=True, epochs=5, device="cpu")
    found = final_training(study, written.trained.architecture)
    assert found is not None
    assert found[0].name == longer.name
    assert f"nas export takes those of {longer.name}." in nas_command(*command).out
    card = (tmp_path / "out" / "MODEL_CARD.md").read_text()
    assert "and on what 3 networks of the search say of them (knowledge distillation)" in card

    nas.search(tiny, "digits", trials=6, name="s", runs=tmp_path, device="cpu", keep="all")  # may find better ones
    assert nas_command(*command, "--seeds", 2).code == 0
    assert [record.state for record in taught.records()] == [TrialState.COMPLETE] * 2
    for trial in teachers:
        study.weights_file(trial).unlink()
    refused = nas_command(*command, "--seeds", 3)
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "the weights of the trials" in refused.err
    alone = nas_command("train", "s:1", "--distill", "--runs", tmp_path)
    assert "add all_images (--all-images)" in alone.err
    elsewhere = nas_command(*command[:-1], 0)
    assert "leave out ray and workers=0" in elsewhere.err
    joined = nas_command("worker", "s.distilled-4", "--runs", study.folder)
    assert "its trainings learn from other networks" in joined.err


@pytest.mark.slow
def test_what_was_trained_is_exported_by_the_file_or_the_study(
    file: Path, tmp_path: Path, nas_command: Callable[..., Ran]
) -> None:
    runs = tmp_path / "runs"
    trained = nas_command("train", file, "--runs", runs, "--epochs", 2, "--seeds", 2, "--workers", 1)
    assert trained.code == 0
    assert trained.out.count("net/artifacts/trial-0000") == 2
    assert "% of the 287 validation images, after 2 epochs each" in trained.out
    for number, target in enumerate((file, "net")):
        out = tmp_path / f"out{number}"
        ran = nas_command("export", target, "--runs", runs, "--out", out, "--formats", "safetensors")
        assert (ran.code, ran.err) == (0, "")
        card = (out / "MODEL_CARD.md").read_text()
        assert "mean ± standard deviation of 2 trainings from scratch" in card
    found = confirmed(nas.Study.open("net", runs))
    assert found is not None
    assert f"seed {found.members[0].best.seed}: 2 epochs" in card


@pytest.mark.slow
def test_curves_are_logged(file: Path, tmp_path: Path, nas_command: Callable[..., Ran]) -> None:
    for logger, written in (("csv", "metrics.csv"), ("tensorboard", "events.out.*"), ("none", None)):
        runs = tmp_path / logger
        ran = nas_command("train", file, "--runs", runs, "--epochs", 3, "--workers", 1, "--logger", logger)
        assert ran.code == 0
        study = nas.Study.open("net", runs)
        files = list((study.folder / "logs").rglob(written)) if written else []
        assert len(files) == (written is not None)
        assert (study.folder / "logs").exists() == (written is not None)
        if logger == "csv":
            header, *lines = files[0].read_text().splitlines()
            assert header == "step,validation_accuracy"
            curve = study.records()[0].curve
            assert [tuple(map(float, line.split(","))) for line in lines] == list(enumerate(curve, start=1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--epochs", "0"], "epochs=0"),
        (["--seeds", "0"], "seeds=0"),
        (["--seed", "-1"], "seed=-1"),
        (["--data", "nowhere"], "nowhere"),
        (["--recipe", "digit"], "did you mean 'digits'"),
        (["--logger", "wandb"], "wandb"),
        (["--device", "tpu"], "device='tpu'"),
    ],
)
def test_mistakes_are_one_line(
    file: Path, tmp_path: Path, nas_command: Callable[..., Ran], options: list[str], message: str
) -> None:
    ran = nas_command("train", file, "--runs", tmp_path / "runs", "--workers", 1, *options)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert message in ran.err


def test_a_study_s_trial_has_its_own_recipe_and_another_length_another_study(
    file: Path, tmp_path: Path, tiny: SearchSpace, nas_command: Callable[..., Ran]
) -> None:
    nas.search(tiny, "digits", trials=1, name="s", runs=tmp_path, device="cpu")
    ran = nas_command("train", "s:0", "--runs", tmp_path, "--recipe", "digits")
    assert ran.err == "nas: --recipe: is for the architecture of a file; a study has its own\n"
    assert nas_command("train", "s:0", "--runs", tmp_path, "--workers", 1).code == 0
    assert nas_command("train", file, "--runs", tmp_path, "--epochs", 1, "--workers", 1).code == 0
    ran = nas_command("train", file, "--runs", tmp_path, "--epochs", 2, "--workers", 1)
    assert "exists with another configuration: space.recipe.epochs is 1 there and 2 now" in ran.err


def test_images_are_named_unless_the_digits_fit(tmp_path: Path, architecture: nas.Architecture) -> None:
    colour = nas.Architecture(nas.Input(3, 32), 10, architecture.stem, architecture.stages)
    with pytest.raises(NasError, match="data: name the images"):
        retrain(colour, None, runs=tmp_path)
    assert not any(tmp_path.iterdir())


KILLED = """
import sys
from nas import Recipe
from nas.workflows.retrain import retrain

retrain(sys.argv[1], "digits", runs=sys.argv[2], recipe=Recipe(epochs=40, batch_size=64), device="cpu")
"""


@pytest.mark.slow
def test_killed_in_the_middle_it_goes_on_after_its_last_epoch(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    restored: list[Progress | None] = []
    restore = Checkpoint.restore

    def restore_and_tell(checkpoint: Checkpoint, *state: Any) -> None:
        restored.append(checkpoint.progress())
        restore(checkpoint, *state)

    monkeypatch.setattr(Checkpoint, "restore", restore_and_tell)
    process = subprocess.Popen([sys.executable, "-c", KILLED, file, tmp_path / "runs"])
    checkpoints = tmp_path / "runs" / "net" / "artifacts"
    while not list(checkpoints.glob("checkpoint-*.safetensors")):
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(0.2)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    recipe = Recipe(epochs=40, batch_size=64)
    resumed = retrain(file, "digits", runs=tmp_path / "runs", recipe=recipe, device="cpu")
    interrupted, trained = resumed.records()
    assert interrupted.reason == "interrupted"
    undisturbed = retrain(file, "digits", runs=tmp_path / "again", recipe=recipe, device="cpu").records()[0]
    assert trained.curve == undisturbed.curve
    assert len(restored) == 1
    assert restored[0] is not None
    assert 0 < len(restored[0].curve) < 40
    assert not list(checkpoints.glob("checkpoint*"))
