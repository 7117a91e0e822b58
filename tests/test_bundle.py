import json
import shutil
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch

import nas
from nas import NasError, SearchSpace
from tests.conftest import TINY, formula


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> nas.Study:
    space = SearchSpace.from_dict(TINY)
    return nas.search(space, "digits", trials=4, name="s", runs=tmp_path_factory.mktemp("runs"), device="cpu", epochs=4)


@pytest.fixture
def own_copy(study: nas.Study, tmp_path: Path) -> nas.Study:
    shutil.copytree(study.folder, tmp_path / "runs" / "s")
    return nas.Study.open("s", tmp_path / "runs")


def test_the_best_is_written_loaded_back_and_gives_the_recorded_accuracy(study: nas.Study, tmp_path: Path) -> None:
    exported = nas.export(study, tmp_path / "new" / "best", device="cpu")
    best = study.front()[-1]
    assert exported.record == best
    assert exported.accuracy == best.accuracy
    assert sorted(file.name for file in exported.folder.iterdir()) == ["architecture.yaml", "model.safetensors"]
    assert [entry.name for entry in exported.folder.parent.iterdir()] == ["best"]


def test_the_files_alone_classify_the_images(study: nas.Study, tmp_path: Path) -> None:
    exported = nas.export(study, tmp_path / "best", device="cpu")
    network = nas.build_network(nas.Architecture.from_yaml(exported.folder / "architecture.yaml"))
    network.load_state_dict(safetensors.torch.load_file(exported.folder / "model.safetensors"))
    network.eval()
    with safetensors.safe_open(exported.folder / "model.safetensors", "pt") as file:
        notes = file.metadata()
    assert json.loads(notes["classes"]) == list("0123456789")
    data = nas.load_data("digits", network_input := study.config.space.input)
    assert network_input.channels == 1
    images = torch.from_numpy(data.validation.images).float().permute(0, 3, 1, 2) / 255
    images = (images - json.loads(notes["mean"])[0]) / json.loads(notes["std"])[0]
    right = network(images).argmax(1).numpy() == data.validation.labels
    assert right.mean() == pytest.approx(exported.record.accuracy)


def test_a_trial_or_a_budget_chooses(study: nas.Study, tmp_path: Path) -> None:
    smallest = study.front()[0]
    assert nas.export(study, tmp_path / "a", max_flops=smallest.flops, device="cpu").record == smallest
    for record in study.records():
        assert nas.export(study, tmp_path / str(record.trial), trial=record.trial, device="cpu").record == record
    with pytest.raises(NasError, match=f"max_flops=10.*the smallest has {smallest.flops}"):
        nas.export(study, tmp_path / "b", max_flops=10)
    with pytest.raises(NasError, match="give one of them"):
        nas.export(study, tmp_path / "b", trial=0, max_flops=10)
    with pytest.raises(NasError, match="has no trial 99"):
        nas.export(study, tmp_path / "b", trial=99)
    assert not (tmp_path / "b").exists()


def test_a_folder_that_is_not_empty_is_left_alone(study: nas.Study, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(NasError, match="not an empty folder"):
        nas.export(study, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["note.txt"]


def test_other_weights_do_not_pass_for_the_recorded_ones(own_copy: nas.Study, tmp_path: Path) -> None:
    best = own_copy.front()[-1]
    file = own_copy.weights_file(best.trial)
    weights = safetensors.torch.load_file(file)
    safetensors.torch.save_file({name: torch.zeros_like(value) for name, value in weights.items()}, file)
    with pytest.raises(NasError, match="was recorded"):
        nas.export(own_copy, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["runs"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda file: file.unlink(), "has no weights"),
        (lambda file: file.write_bytes(file.read_bytes()[:1000]), "cannot be read"),
        (lambda file: file.write_bytes(b""), "cannot be read"),
        (lambda file: safetensors.torch.save_file({"stem": torch.zeros(3)}, file), "not those of"),
    ],
)
def test_weights_that_cannot_be_used_are_one_line(
    own_copy: nas.Study, tmp_path: Path, damage: object, message: str
) -> None:
    damage(own_copy.weights_file(own_copy.front()[-1].trial))  # type: ignore[operator]
    with pytest.raises(NasError, match=message) as raised:
        nas.export(own_copy, tmp_path / "out")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_a_study_of_one_s_own_training_has_no_weights(tmp_path: Path, tiny: SearchSpace) -> None:
    study = nas.search(tiny, trials=1, name="own", runs=tmp_path, evaluate=formula)
    with pytest.raises(NasError, match="has no weights"):
        nas.export(study, tmp_path / "out")


def test_arrays_are_given_again(tmp_path: Path, tiny: SearchSpace, digits: nas.ImageData) -> None:
    arrays = (digits.train.images[:400].copy(), digits.train.labels[:400])
    study = nas.search(tiny, arrays, trials=1, name="arrays", runs=tmp_path, device="cpu")
    with pytest.raises(NasError, match="data="):
        nas.export(study, tmp_path / "out")
    assert nas.export(study, tmp_path / "out", data=arrays).accuracy == study.records()[0].accuracy
    arrays[0][:] = 0
    with pytest.raises(NasError, match="have changed since the search"):
        nas.export(study, tmp_path / "again", data=arrays)
