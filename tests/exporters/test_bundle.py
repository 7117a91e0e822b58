import hashlib
import json
import os
import shutil
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
from PIL import Image

import nas
from nas import NasError, SearchSpace
from nas.errors import ExportError, InvalidValue, MissingExtra
from nas.exporters.bundle import Exported, write_bundle
from nas.exporters.destination import destination
from nas.exporters.formats import EXACT, INT8
from nas.exporters.trained_network import TrainedNetwork
from nas.system.processes import this_worker
from nas.training.train import evaluate, on_device
from tests.helpers import TINY, formula

WEIGHTS = ("safetensors",)
FILES = [
    "MODEL_CARD.md",
    "architecture.yaml",
    "labels.json",
    "model.html",
    "model.onnx",
    "model.pt2",
    "model.py",
    "model.safetensors",
    "preprocessing.json",
    "verification.json",
]
KILLED = """
import os, shutil, signal, sys, time
import nas, nas.exporters.bundle, nas.architectures.network, nas.architectures.weights, nas.training.batches
runs, out = sys.argv[1:3]
for moment in map(float, sys.argv[3:]):
    child = os.fork()  # nothing but imports has run here: no thread is lost
    if child == 0:
        nas.export(nas.Study.open("s", runs), out, formats=["safetensors"])
        os._exit(0)
    time.sleep(moment)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    if os.path.exists(out):
        assert len(os.listdir(out)) == 6, os.listdir(out)
        shutil.rmtree(out)
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> nas.Study:
    space = SearchSpace.from_dict(TINY)
    return nas.search(
        space, "digits", trials=4, name="s", runs=tmp_path_factory.mktemp("runs"), device="cpu", epochs=4, keep="all"
    )


@pytest.fixture(scope="module")
def exported(study: nas.Study, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return nas.export(study, tmp_path_factory.mktemp("exports") / "new" / "best")


@pytest.fixture
def own_copy(study: nas.Study, tmp_path: Path) -> nas.Study:
    shutil.copytree(study.folder, tmp_path / "runs" / "s")
    return nas.Study.open("s", tmp_path / "runs")


@pytest.fixture
def trained(study: nas.Study) -> TrainedNetwork:
    best = study.front()[-1]
    assert best.accuracy is not None
    return TrainedNetwork(best.architecture, study.weights_file(best.trial), best.accuracy, study.config, "the best", 0)


def test_the_best_is_written_loaded_back_and_gives_the_recorded_accuracy(study: nas.Study, exported: Exported) -> None:
    best = study.front()[-1]
    assert exported.trained.architecture == best.architecture
    assert exported.accuracy == exported.trained.accuracy == best.accuracy
    assert sorted(file.name for file in exported.folder.iterdir()) == FILES
    assert [entry.name for entry in exported.folder.parent.iterdir()] == ["best"]
    assert tuple(exported.differences) == EXACT
    assert all(difference < 1e-5 for difference in exported.differences.values())


def test_what_was_verified_is_written_down(exported: Exported) -> None:
    found = json.loads((exported.folder / "verification.json").read_text())
    assert found["images"] == 287
    assert found["accuracy"] == {"recorded": exported.accuracy, "reference": exported.accuracy}
    assert found["tolerance"]["allowed"] == pytest.approx(1e-4 * max(1, found["tolerance"]["largest_logit"]))
    for name, format_found in found["formats"].items():
        assert format_found["largest_difference"] == exported.differences[name]
        assert format_found["accuracy"] == exported.accuracy
    assert {"python", "nas", "torch", "onnx", "onnxruntime"} <= found["versions"].keys()
    files = [name for name in FILES if name.startswith("model.")]
    assert found["sha256"] == {
        name: hashlib.sha256((exported.folder / name).read_bytes()).hexdigest() for name in files
    }


@pytest.mark.slow
def test_the_bundle_notices_that_its_weights_were_changed(exported: Exported, tmp_path: Path) -> None:
    folder = shutil.copytree(exported.folder, tmp_path / "copy")
    file, image = folder / "model.safetensors", tmp_path / "a.png"
    Image.new("L", (8, 8)).save(image)

    def said() -> tuple[int, str]:
        ran = subprocess.run([sys.executable, folder / "model.py", image], capture_output=True, text=True, check=False)
        return ran.returncode, ran.stderr

    assert said() == (0, "")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert said() == (
        2,
        f"{file}: is not as it was exported; it was damaged, or changed without verification.json\n",
    )
    (folder / "verification.json").write_text('{"sha256": {}}')
    assert said() == (2, f"{folder / 'verification.json'}: has no SHA-256 of model.safetensors\n")
    (folder / "verification.json").unlink()  # who changed them on purpose says so
    assert said() == (0, "")


def test_the_files_alone_classify_the_images(study: nas.Study, exported: Exported) -> None:
    network = nas.build_network(nas.Architecture.from_yaml(exported.folder / "architecture.yaml"))
    network.load_state_dict(safetensors.torch.load_file(exported.folder / "model.safetensors"))
    network.eval()
    settings = json.loads((exported.folder / "preprocessing.json").read_text())
    assert json.loads((exported.folder / "labels.json").read_text()) == list("0123456789")
    assert (settings["height"], settings["width"], settings["channels"]) == (8, 8, 1)
    with safetensors.safe_open(exported.folder / "model.safetensors", "pt") as file:
        notes = file.metadata()
    assert json.loads(notes["classes"]) == list("0123456789")
    assert json.loads(notes["mean"]) == settings["mean"]
    assert json.loads(notes["std"]) == settings["std"]
    data = nas.load_data("digits", study.config.space.input)
    images = torch.from_numpy(data.validation.images).float().permute(0, 3, 1, 2) / 255
    images = (images - settings["mean"][0]) / settings["std"][0]
    right = network(images).argmax(1).numpy() == data.validation.labels
    assert right.mean() == pytest.approx(exported.accuracy)


def test_nothing_says_where_it_was_made(study: nas.Study, exported: Exported) -> None:
    for file in exported.folder.iterdir():
        content = file.read_bytes()
        for folder in (study.folder, exported.folder.parent, Path.home() / ".cache", Path(nas.__file__).parent):
            assert str(folder).encode() not in content, file.name


@pytest.mark.slow
def test_a_trial_or_a_budget_chooses(study: nas.Study, tmp_path: Path) -> None:
    smallest = study.front()[0]
    small = nas.export(study, tmp_path / "a", max_flops=smallest.flops, formats=WEIGHTS)
    assert small.trained.origin == f"trial {smallest.trial} of the study 's'"
    record = study.records()[2]
    assert nas.export(study, tmp_path / "c", trial=2, formats=WEIGHTS).accuracy == record.accuracy
    with pytest.raises(NasError, match=f"max_flops=10; nearest is trial {smallest.trial}"):
        nas.export(study, tmp_path / "b", max_flops=10)
    with pytest.raises(NasError, match="trial=0: is a choice already; leave out max_flops"):
        nas.export(study, tmp_path / "b", trial=0, max_flops=10)
    with pytest.raises(NasError, match="has no trial 99"):
        nas.export(study, tmp_path / "b", trial=99)
    assert not (tmp_path / "b").exists()


def test_the_formats_that_are_asked_for(trained: TrainedNetwork, digits: nas.ImageData, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()  # an empty folder is as good as none
    written = write_bundle(
        trained, tmp_path / "out", images=digits, formats=["python"], command="make it", latency="1.5 ms an image"
    )
    kept = [name for name in FILES if name not in ("model.html", "model.onnx", "model.pt2")]
    assert sorted(file.name for file in written.folder.iterdir()) == kept
    card = (written.folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "1.5 ms an image" in card
    assert "make it" in card
    assert "model.onnx" not in card


def test_integers_are_written_measured_and_described(
    trained: TrainedNetwork, digits: nas.ImageData, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    written = write_bundle(trained, out, images=digits, formats=[INT8], accept_loss=0.2, command="")
    assert written.formats == ("onnx", INT8)
    found = json.loads((out / "verification.json").read_text())["formats"]
    assert found[INT8]["accuracy"] > trained.accuracy - 0.2
    assert found[INT8]["milliseconds"] > 0
    assert "In 8-bit integers" in (out / "MODEL_CARD.md").read_text(encoding="utf-8")
    with pytest.raises(InvalidValue, match="accept_loss=2"):
        write_bundle(trained, tmp_path / "other", images=digits, accept_loss=2, command="")


def test_a_folder_that_is_not_empty_is_left_alone(
    trained: TrainedNetwork, digits: nas.ImageData, tmp_path: Path
) -> None:
    (tmp_path / "note.txt").write_text("mine")
    for out in (tmp_path, tmp_path / "note.txt"):
        with pytest.raises(ExportError, match="not an empty folder"):
            write_bundle(trained, out, images=digits, command="")
    assert [file.name for file in tmp_path.iterdir()] == ["note.txt"]


def test_formats_are_settled_before_anything_else(
    trained: TrainedNetwork, digits: nas.ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(InvalidValue, match="formats='exe': must be one of onnx, pt2, safetensors, python"):
        write_bundle(trained, tmp_path, images=digits, formats=["exe"], command="")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtra, match="the ONNX format"):
        write_bundle(trained, tmp_path, images=digits, command="")


def test_a_folder_that_cannot_be_written_is_one_line(
    trained: TrainedNetwork, digits: nas.ImageData, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match=r"out=.*file/out: cannot be written: "):
        write_bundle(trained, tmp_path / "file" / "out", images=digits, formats=WEIGHTS, command="")


@pytest.mark.parametrize(("images_off", "accepted"), [(3, True), (5, False)])
def test_where_classes_are_equal_the_images_that_may_differ_are_of_the_rarest(
    study: nas.Study, digits: nas.ImageData, tmp_path: Path, *, images_off: int, accepted: bool
) -> None:
    best = study.front()[-1]
    confusion = np.load(study.confusion_file(best.trial))
    balanced = float((confusion.diagonal() / confusion.sum(axis=1)).mean())
    recorded = balanced - images_off / (len(confusion) * confusion.sum(axis=1).min())
    recipe = replace(study.config.space.recipe, metric="balanced_accuracy")
    config = replace(study.config, space=study.config.space.with_changes(recipe=recipe))
    trained = TrainedNetwork(best.architecture, study.weights_file(best.trial), recorded, config, "the best", 0)
    refused = nullcontext() if accepted else pytest.raises(ExportError, match=r"its weights give 0\.\d+, but 0")
    with refused:
        write_bundle(trained, tmp_path / "out", images=digits, formats=WEIGHTS, command="")


def test_images_of_another_kind_are_refused(trained: TrainedNetwork, digits: nas.ImageData, tmp_path: Path) -> None:
    other = replace(digits, classes=digits.classes[:3])
    with pytest.raises(ExportError, match=r"in 3 classes; the best takes .* in 10"):
        write_bundle(trained, tmp_path / "out", images=other, command="")


def test_other_weights_do_not_pass_for_the_recorded_ones(own_copy: nas.Study, tmp_path: Path) -> None:
    best = own_copy.front()[-1]
    file = own_copy.weights_file(best.trial)
    weights = safetensors.torch.load_file(file)
    safetensors.torch.save_file({name: torch.zeros_like(value) for name, value in weights.items()}, file)
    with pytest.raises(ExportError, match="was recorded"):
        nas.export(own_copy, tmp_path / "out")
    weights["classifier.bias"][0] = float("nan")
    safetensors.torch.save_file(weights, file)
    with pytest.raises(ExportError, match="not finite"):
        nas.export(own_copy, tmp_path / "out")
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


def test_nothing_is_left_where_a_file_does_not_verify(
    own_copy: nas.Study, digits: nas.ImageData, tmp_path: Path
) -> None:
    """Numbers so large that little is left of the image in them; a folded BatchNorm rounds them otherwise."""
    best = own_copy.front()[-1]
    weights = safetensors.torch.load_file(file := own_copy.weights_file(best.trial))
    weights["stem.0.1.running_mean"] += 1e5
    weights["stem.0.1.bias"] += 1e5 * weights["stem.0.1.weight"] / (weights["stem.0.1.running_var"] + 1e-5).sqrt()
    safetensors.torch.save_file(weights, file)
    data = on_device(digits, recipe := own_copy.config.space.recipe, "cpu")
    accuracy = evaluate(best.architecture, weights, data, recipe=recipe)
    trained = TrainedNetwork(best.architecture, file, accuracy, own_copy.config, "the best", 0)
    with pytest.raises(ExportError, match=r"^onnx: the logits of model\.onnx differ from the trained network's by"):
        write_bundle(trained, tmp_path / "out", images=digits, formats=["onnx"], command="")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["runs"]


def test_a_study_of_one_s_own_training_has_no_weights(tmp_path: Path, tiny: SearchSpace) -> None:
    study = nas.search(tiny, trials=1, name="own", runs=tmp_path, evaluate=formula)
    with pytest.raises(NasError, match="has no weights"):
        nas.export(study, tmp_path / "out")


def test_arrays_are_given_again(tmp_path: Path, tiny: SearchSpace, digits: nas.ImageData) -> None:
    arrays = (digits.train.images[:400].copy(), digits.train.labels[:400])
    study = nas.search(tiny, arrays, trials=1, name="arrays", runs=tmp_path, device="cpu")
    with pytest.raises(NasError, match="data="):
        nas.export(study, tmp_path / "out")
    written = nas.export(study, tmp_path / "out", data=arrays, formats=WEIGHTS)
    assert written.accuracy == study.records()[0].accuracy
    arrays[0][:] = 0
    with pytest.raises(NasError, match="have changed since the search"):
        nas.export(study, tmp_path / "again", data=arrays)


@pytest.mark.slow
def test_an_export_that_is_killed_leaves_nothing_in_the_way(study: nas.Study, tmp_path: Path) -> None:
    out, runs = tmp_path / "out", study.folder.parent
    moments = [0.1, 1.0, 2.4]
    ran = subprocess.run(
        [sys.executable, "-c", KILLED, str(runs), str(out), *map(str, moments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    host = this_worker().rpartition(":")[0]
    (tmp_path / f".out.{host}-{os.getpid()}@0123456742.partial").mkdir()  # numbers of processes come again
    others = [f".another.{host}-999999999@01234567.partial", ".out.another-host-1@0123456742.partial"]
    for name in others:
        (tmp_path / name).mkdir()
    assert nas.export(study, out, formats=WEIGHTS).folder == out
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [*others, "out"]


def test_a_second_export_to_the_same_folder_is_refused_at_its_start(study: nas.Study, tmp_path: Path) -> None:
    running = f"another export to it is running, by process {os.getpid()}$"
    with destination(tmp_path / "out"):
        with pytest.raises(ExportError, match=running):
            nas.export(study, tmp_path / "out", data="not even looked at")
        with destination(tmp_path / "another"):
            pass
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == []
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["another", "out"]
