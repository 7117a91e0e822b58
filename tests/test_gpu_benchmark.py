"""The parts of benchmarks.gpu that can be wrong without a GPU: a wrong one costs the few minutes that there is one."""

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from benchmarks.gpu import __main__ as gpu_program
from benchmarks.gpu import kit as kit_module
from benchmarks.gpu.__main__ import measure, report
from benchmarks.gpu.kit import Kit, networks, pack
from benchmarks.gpu.parts import PARTS, part
from benchmarks.gpu.resnext import NETWORK, PARAMETERS
from benchmarks.gpu.seeds import several
from benchmarks.gpu.table import SPACE
from nas import Architecture, Input, Stage, StemConv, build_network, cost, load_space


@pytest.mark.parametrize("batched", [False, True])
def test_several_seeds_as_one_network_compute_what_each_does(batched: bool) -> None:
    torch.manual_seed(0)
    architecture = Architecture(Input(3, 8), 5, (StemConv(16),), (Stage(2, 16, 4, 32), Stage(1, 32, 8, 48, stride=2)))
    networks = [build_network(architecture) for _ in range(3)]
    for network in networks:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight)
    images = [torch.randn(4, 3, 8, 8) for _ in networks]
    joined = several(architecture, networks, batched=batched)
    logits = joined(torch.cat(images, dim=1)).view(4, 3, 5)
    for seed, network in enumerate(networks):
        assert torch.allclose(logits[:, seed], network(images[seed]), atol=1e-4)


def test_a_kit_gives_back_the_images_that_were_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    encoded = []
    for level in rng.integers(0, 256, 30).tolist():
        file = io.BytesIO()
        Image.fromarray(np.full((32, 32, 3), level, dtype=np.uint8)).save(file, "JPEG")
        encoded.append(file.getvalue())
    pack(encoded, list(range(10)) * 3, tmp_path)
    monkeypatch.setattr(kit_module, "TRAINING_IMAGES", 20)
    kit = Kit(tmp_path)
    images = kit.images(16, train=8, validation=5, test=10)
    assert [len(split.labels) for split in (images.train, images.validation, images.test)] == [8, 5, 10]
    assert images.train.images.shape == (8, 16, 16, 3)
    levels = [np.asarray(Image.open(io.BytesIO(content)))[0, 0, 0] for content in encoded]
    assert kit.images(32, train=8, validation=5, test=10).test.images[:][:, 0, 0, 0].tolist() == levels[20:]
    assert kit.references() == []
    with pytest.raises(SystemExit, match="gpu_prepare"):
        Kit(tmp_path / "elsewhere")


def test_rows_are_kept_at_once_and_only_what_is_missing_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[set[str]] = []

    def rows(_: Any, *, device: str, done: set[str], seconds: float) -> Any:
        asked.append(done)
        for key in {"a", "b"} - done:
            yield {"key": key}
            if not done:
                raise RuntimeError("the first time it fails after a row")

    monkeypatch.setattr(gpu_program, "part", lambda _: SimpleNamespace(measure=rows))
    kit: Any = None
    with pytest.raises(RuntimeError, match="the first time"):
        measure("environment", kit, tmp_path, device="cpu", seconds=1)
    measure("environment", kit, tmp_path, device="cpu", seconds=1)
    assert [len(done) for done in asked] == [0, 1]
    found = json.loads((tmp_path / "environment.json").read_text())
    assert sorted(row["key"] for row in found["rows"]) == ["a", "b"]
    assert found["device"] == "CPU"
    monkeypatch.setattr(gpu_program, "Kit", lambda _: None)
    monkeypatch.setattr(gpu_program, "_name", lambda _: "another GPU")
    gpu_program._about.cache_clear()
    with pytest.raises(SystemExit, match=r"is of CPU, .*: name another --out"):
        gpu_program.run(tmp_path, tmp_path, device="cpu", seconds=1, only=["environment"])
    gpu_program._about.cache_clear()
    monkeypatch.undo()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    measure("environment", kit, elsewhere, device="cpu", seconds=1)
    (elsewhere / "table.json").write_text("{")  # damaged, as by a transfer that broke off
    report(elsewhere)
    assert "torch" in capsys.readouterr().out


def test_parts_and_spaces_are_what_the_document_says() -> None:
    assert sum(part(name).SECONDS for name in PARTS) <= 600
    assert load_space(SPACE).valid == 512
    assert cost(NETWORK).params == PARAMETERS
    chosen = networks(load_space("digits"), 10)
    assert len({each.key for each in chosen}) == 10
    assert [cost(each).flops for each in chosen] == sorted(cost(each).flops for each in chosen)
