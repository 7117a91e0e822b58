import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import safetensors.torch
import torch

from benchmarks.exports import random_architecture, random_data, random_network
from nas.architectures.architecture import Architecture, Input
from nas.data.images import MappedImages, Split
from nas.errors import ExportError
from nas.exporters.formats import EXACT, FORMATS, INT8, LITERT, write_formats
from nas.exporters.tolerance import TOLERANCE, allowed
from nas.exporters.verification import Logits, agreement, hand_over, verify
from nas.spaces.built_in import load_space
from nas.system.resources import ready_spaces

HERE = tuple(name for name in FORMATS if name != LITERT)  # that is tested where its extra is installed
MEAN, STD = 0.4, 0.3
LARGEST_SIZE = 32


def write(folder: Path, architecture: Architecture, images: Split, *, seed: int = 0) -> Logits:
    """A bundle of a random network, as far as it is verified; gives the logits of the network on the images."""
    network = random_network(architecture, np.random.default_rng(seed))
    folder.mkdir()
    data = random_data(architecture.input, architecture.classes, 20, np.random.default_rng(0))
    write_formats(folder, network, architecture=architecture, formats=HERE, images=data)
    (folder / "architecture.yaml").write_text(architecture.to_yaml())
    channels = architecture.input.channels
    (folder / "preprocessing.json").write_text(json.dumps({"mean": [MEAN] * channels, "std": [STD] * channels}))
    with torch.inference_mode():
        pixels = torch.from_numpy(images.images[:]).permute(0, 3, 1, 2).double() / 255
        found: Logits = network(((pixels - MEAN) / STD).float()).numpy()
    return found


def random_images(shape: Input, count: int) -> Split:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, shape.size, shape.size, shape.channels), dtype=np.uint8)
    return Split(images, rng.integers(0, 10, count))


@pytest.fixture(scope="module")
def images() -> Split:
    return random_images(Input(1, 8), 300)


@pytest.fixture(scope="module")
def written(images: Split, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Logits]:
    space, folder = load_space("digits"), tmp_path_factory.mktemp("verified") / "bundle"
    return folder, write(folder, random_architecture(space, np.random.default_rng(3)), images)


@pytest.fixture
def bundle(written: tuple[Path, Logits], tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return Path(shutil.copytree(written[0], tmp_path / "bundle"))


@pytest.fixture
def handover(tmp_path: Path) -> Path:
    (tmp_path / "handover").mkdir()
    return tmp_path / "handover"


def test_all_formats_agree_in_a_fresh_process(written: tuple[Path, Logits], images: Split, handover: Path) -> None:
    folder, reference = written
    before = sorted(folder.iterdir())
    right = Split(images.images, reference.argmax(axis=1))
    found = verify(folder, reference, images=right, formats=HERE, handover=handover, accept_loss=1)
    assert tuple(found) == (*EXACT, INT8)
    for name in EXACT:
        assert found[name].largest_difference <= 1e-5
        assert found[name].accuracy == 1
    assert 0.5 < found[INT8].accuracy <= 1  # random weights on images that are not those of the calibration
    assert found[INT8].largest_difference > 1e-3
    assert [name for name in found if found[name].milliseconds] == ["onnx", INT8]
    assert sorted(folder.iterdir()) == before  # no compiled model.py


def test_integers_that_lose_more_than_is_accepted_are_refused(
    bundle: Path, written: tuple[Path, Logits], images: Split, handover: Path, tmp_path: Path
) -> None:
    reference = written[1]
    write(tmp_path / "other", random_architecture(load_space("digits"), np.random.default_rng(3)), images, seed=1)
    shutil.copy(tmp_path / "other" / "model.int8.onnx", bundle)  # integers of another network
    right = Split(images.images, reference.argmax(axis=1))
    given: Any = {"images": right, "formats": ["onnx", INT8], "handover": handover}
    lost = 1 - verify(bundle, reference, **given, accept_loss=1)[INT8].accuracy
    assert lost > 0.1
    with pytest.raises(ExportError, match=rf"^onnx-int8: .* {100 * lost:.1f} points lost, 10 accepted \(--acc"):
        verify(bundle, reference, **given, accept_loss=0.1)


def test_images_of_a_map_are_handed_over_in_their_own_order(handover: Path) -> None:
    images = random_images(Input(3, 4), 20)
    assert isinstance(images.images, np.ndarray)
    mapped = Split(MappedImages(images.images, np.array([7, 3, 11])), np.array([0, 1, 0]))
    hand_over(mapped, np.zeros((3, 2), dtype=np.float32), handover=handover)
    assert np.array_equal(np.load(handover / "images.npy", allow_pickle=False), images.images[[7, 3, 11]])


@pytest.mark.slow
@pytest.mark.parametrize("name", ready_spaces())
@pytest.mark.parametrize("seed", range(3))
def test_networks_of_every_ready_space_agree(name: str, seed: int, tmp_path: Path, handover: Path) -> None:
    space = load_space(name)
    drawn = random_architecture(space, np.random.default_rng(seed))
    shape = Input(drawn.input.channels, min(drawn.input.size, LARGEST_SIZE))
    architecture, images = Architecture(shape, drawn.classes, drawn.stem, drawn.stages), random_images(shape, 5)
    reference = write(tmp_path / "bundle", architecture, images, seed=seed)
    hand_over(images, reference, handover=handover)
    for kind in EXACT:
        assert agreement(tmp_path / "bundle", kind, handover=handover).largest_difference <= allowed(reference), kind


def test_the_tolerance_grows_with_the_logits() -> None:
    assert allowed(np.array([[0.1, -0.2]], dtype=np.float32)) == TOLERANCE
    assert allowed(np.array([[0.1, -50.0]], dtype=np.float32)) == 50 * TOLERANCE


def _shift_onnx(folder: Path) -> None:
    model = onnx.load(folder / "model.onnx")
    bias = next(tensor for tensor in model.graph.initializer if tensor.name == "classifier.bias")
    bias.raw_data = (np.frombuffer(bias.raw_data, dtype=np.float32) + np.float32(0.01)).tobytes()
    onnx.save(model, folder / "model.onnx")


def _change_weights(folder: Path, value: float) -> None:
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    weights["classifier.bias"] += value
    safetensors.torch.save_file(weights, folder / "model.safetensors")


@pytest.mark.slow
def test_another_format_s_numbers_are_told_by_format_and_difference(
    bundle: Path, written: tuple[Path, Logits], images: Split, handover: Path
) -> None:
    _shift_onnx(bundle)
    with pytest.raises(
        ExportError, match=r"^onnx: the logits of model\.onnx differ .* by 0\.01; allowed: 0\.000"
    ) as raised:
        verify(bundle, written[1], images=images, formats=EXACT, handover=handover)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("value", [1.0, float("nan")])
def test_other_weights_do_not_pass(
    value: float, bundle: Path, written: tuple[Path, Logits], images: Split, handover: Path
) -> None:
    _change_weights(bundle, value)
    with pytest.raises(ExportError, match=r"^safetensors: .* by (1|nan); allowed"):
        verify(bundle, written[1], images=images, formats=["safetensors", "python"], handover=handover)


def test_the_bundle_s_own_normalisation_counts(
    bundle: Path, written: tuple[Path, Logits], images: Split, handover: Path
) -> None:
    settings = json.loads((bundle / "preprocessing.json").read_text())
    (bundle / "preprocessing.json").write_text(json.dumps({**settings, "mean": [0.5]}))
    hand_over(images, written[1], handover=handover)
    assert agreement(bundle, "safetensors", handover=handover).largest_difference > allowed(written[1])


def test_a_file_that_cannot_be_loaded_is_one_line(
    bundle: Path, written: tuple[Path, Logits], images: Split, handover: Path
) -> None:
    (bundle / "model.py").write_text("raise ValueError('not\\ntoday')")
    with pytest.raises(ExportError, match=r"cannot be loaded back: python: ValueError: not today$") as raised:
        verify(bundle, written[1], images=images, formats=["python"], handover=handover)
    assert "\n" not in str(raised.value)
