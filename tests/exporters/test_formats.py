import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import nas.exporters.formats
from benchmarks.exports import random_data, random_network
from nas.architectures.architecture import Architecture, Input, Stage, StemConv
from nas.architectures.network import GroupConvNet
from nas.errors import InvalidValue, MissingExtra
from nas.exporters.formats import FILES, FORMATS, LITERT, USUAL, checked_formats, write_formats
from nas.exporters.litert import load_litert

# Projections and identities, groups of one and of many channels, strides that do not divide the map.
ARCHITECTURE = Architecture(
    Input(3, 9), 5, (StemConv(8, 2),), (Stage(2, 12, 4, 16, 1), Stage(1, 16, 16, 24, 2), Stage(2, 8, 1, 24, 1))
)
DATA = random_data(ARCHITECTURE.input, 5, 40, np.random.default_rng(0))
HERE = tuple(name for name in FORMATS if name != LITERT)
Model = Callable[[torch.Tensor], torch.Tensor]


@pytest.fixture(scope="module")
def network() -> GroupConvNet:
    return random_network(ARCHITECTURE, np.random.default_rng(1))


@pytest.fixture(scope="module")
def folder(network: GroupConvNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("formats")
    write_formats(folder, network, architecture=ARCHITECTURE, formats=HERE, images=DATA, notes={"classes": "[]"})
    return folder


def test_a_format_is_a_file(folder: Path) -> None:
    assert sorted(file.name for file in folder.iterdir()) == sorted(FILES[name] for name in HERE)


@pytest.mark.parametrize("images", [1, 2, 7])
def test_onnx_and_pt2_take_any_number_of_images(images: int, folder: Path, network: GroupConvNet) -> None:
    batch = torch.randn(images, 3, 9, 9)
    with torch.inference_mode():
        expected = network(batch).numpy()
        exported = torch.export.load(folder / "model.pt2").module()(batch).numpy()
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(exported, expected, atol=1e-5)
    np.testing.assert_allclose(session.run(["logits"], {"images": batch.numpy()})[0], expected, atol=1e-5)


def test_onnx_is_one_file_of_convolutions_without_batchnorms(folder: Path) -> None:
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    kinds = [node.op_type for node in model.graph.node]
    assert set(kinds) == {"Conv", "Relu", "Add", "AveragePool", "ReduceMean", "Gemm"}
    assert kinds.count("Conv") == 1 + 5 * 3 + 2  # the stem, five blocks, two projections
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 18)]
    assert all(tensor.data_location == onnx.TensorProto.DEFAULT for tensor in model.graph.initializer)
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert shapes == {"images": ["batch", 3, 9, 9], "logits": ["batch", 5]}


def test_integers_take_a_fraction_of_the_room(folder: Path) -> None:
    model = onnx.load(folder / "model.int8.onnx")
    weights = [tensor for tensor in model.graph.initializer if len(tensor.dims) > 1]
    assert len(weights) == 1 + 5 * 3 + 2 + 1
    assert {tensor.data_type for tensor in weights} == {onnx.TensorProto.INT8}


def test_the_same_network_gives_the_same_bytes(folder: Path, network: GroupConvNet, tmp_path: Path) -> None:
    write_formats(tmp_path, network, architecture=ARCHITECTURE, formats=HERE, images=DATA)
    for name in set(HERE) - {"safetensors"}:  # has other notes
        assert (tmp_path / FILES[name]).read_bytes() == (folder / FILES[name]).read_bytes(), name


def test_no_file_is_or_holds_a_pickle_or_a_path_of_this_machine(folder: Path, network: GroupConvNet) -> None:
    """A pickle begins with 0x80 and names what it builds; in an archive whatever is not text is a tensor's bytes."""
    for file in folder.iterdir():
        content = file.read_bytes()
        assert not content.startswith(b"\x80")
        assert b"cbuiltins" not in content
        assert b"site-packages" not in content
        assert str(Path(nas.exporters.formats.__file__).parent).encode() not in content
    state = network.state_dict()
    with zipfile.ZipFile(folder / "model.pt2") as archive:
        members = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    tensors = json.loads(members["data/weights/model_weights_config.json"])["config"]
    assert tensors.keys() == state.keys()
    for name, about in tensors.items():
        assert about["use_pickle"] is False
        assert members.pop(f"data/weights/{about['path_name']}") == state[name].numpy().tobytes()
    assert json.loads(members["data/constants/model_constants_config.json"]) == {"config": {}}
    for content in members.values():
        assert content.decode("utf-8").isprintable() or content.decode("utf-8").strip().isprintable()


@pytest.mark.slow
def test_pt2_needs_nothing_of_ours(folder: Path, network: GroupConvNet) -> None:
    program = (
        "import sys, torch; sys.modules['nas'] = None\n"
        "network = torch.export.load(sys.argv[1]).module()\n"
        "print(network(torch.ones(3, 3, 9, 9)).tolist())"
    )
    command = [sys.executable, "-W", "error", "-c", program, str(folder / "model.pt2")]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    np.testing.assert_allclose(json.loads(ran.stdout), network(torch.ones(3, 3, 9, 9)).tolist(), atol=1e-5)


def test_the_network_itself_stays_as_it_was(network: GroupConvNet, tmp_path: Path) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    write_formats(tmp_path, network, architecture=ARCHITECTURE, formats=HERE, images=DATA)
    assert before.keys() == network.state_dict().keys()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_formats_are_checked_and_bring_what_they_read() -> None:
    assert checked_formats(HERE, 3) == HERE
    assert checked_formats(["safetensors", "onnx"], 3) == ("onnx", "safetensors")
    assert checked_formats(["python"], 3) == ("safetensors", "python")
    assert checked_formats(["onnx-int8"], 3) == ("onnx", "onnx-int8")


@pytest.mark.parametrize(
    ("formats", "message"),
    [
        ([], r"formats=\[\]: must have at least one"),
        ("onnx", "formats='onnx': must be a list"),
        (
            ["onx"],
            "formats='onx': must be one of onnx, pt2, safetensors, python, onnx-int8, web, litert; did you mean 'onnx'",
        ),
        ([3], "formats=3: must be one of onnx"),
        (["pt2", "pt2"], "each at most once; allowed: onnx, pt2, safetensors, python, onnx-int8, web, litert"),
    ],
)
def test_other_formats_are_one_line(formats: list[str], message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        checked_formats(formats, 3)


def test_without_the_extra_there_is_no_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingExtra, match=r"the ONNX format needs the extra 'export': pip install .*onnxruntime>="):
        checked_formats(HERE, 3)
    assert checked_formats(["pt2", "python"], 3) == ("pt2", "safetensors", "python")


def test_without_the_extra_there_is_no_litert(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.exporters.litert.NEEDS", ("no_such_package",))
    with pytest.raises(MissingExtra, match=r"the LiteRT format needs the extra 'litert': pip install .*litert-torch>="):
        checked_formats(["litert"], 3)


def test_litert_maps_any_number_of_images_to_the_same_logits(network: GroupConvNet, tmp_path: Path) -> None:
    """Where its packages are installed, which is not where the others' versions are fixed (constraints.txt)."""
    pytest.importorskip("litert_torch")
    assert checked_formats(["litert"], 3) == ("litert",)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_formats(tmp_path / name, network, architecture=ARCHITECTURE, formats=["litert"], images=DATA)
    file, again = (tmp_path / name / FILES["litert"] for name in ("one", "two"))
    assert file.read_bytes() == again.read_bytes()
    model = load_litert(file)
    for number in (1, 3, 64):
        images = torch.randn(number, 3, 9, 9)
        with torch.inference_mode():
            assert torch.allclose(model(images), network(images), atol=1e-5)


def test_a_page_for_browsers_is_of_networks_that_take_pictures() -> None:
    assert checked_formats(USUAL, 4) == tuple(name for name in USUAL if name != "web")
    assert checked_formats(USUAL, 1) == USUAL
    with pytest.raises(
        InvalidValue, match="formats=web: a page reads pictures, and the network's images have 2 channels"
    ):
        checked_formats(["web", "onnx"], 2)
