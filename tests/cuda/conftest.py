"""Tests that need a CUDA device; anywhere else they skip. They take about a minute: `pytest tests/cuda`.

They need torch, lightning, optuna and scikit-learn, but nothing of the extras.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from nas.architectures.architecture import Architecture, Input, Stage, StemConv
from nas.system.cuda_graph import CapturedStep
from nas.system.hardware import CUDA_GRAPHS
from nas.system.memory import release_memory
from nas.training.recipe import Recipe

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All in this folder are marked, and skipped where there is nothing to run them on."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.cuda)
            if not torch.cuda.is_available():
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(autouse=True)
def _as_if_alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test finds what another has set, or has left in the GPU's memory."""
    monkeypatch.delenv(CUDA_GRAPHS, raising=False)
    monkeypatch.setattr(CapturedStep, "failed", False)
    yield
    release_memory()


@pytest.fixture(params=["eager", "graphs"])
def graphs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether steps are captured: the test runs both ways."""
    captured: bool = request.param == "graphs"
    monkeypatch.setenv(CUDA_GRAPHS, str(int(captured)))
    return captured


@pytest.fixture
def network() -> Architecture:
    """A network that learns the digits in seconds."""
    return Architecture(Input(1, 8), 10, (StemConv(16),), (Stage(1, 16, 4, 16), Stage(2, 32, 8, 32)))


@pytest.fixture
def recipe() -> Recipe:
    return Recipe(epochs=6, batch_size=64, learning_rate=0.01, crop_padding=1)


@pytest.fixture
def in_fresh_process(tmp_path: Path) -> Callable[..., str]:
    """Runs a program that has not touched CUDA yet, and gives what it printed."""

    def run(program: str, *arguments: object) -> str:
        file = tmp_path / "program.py"
        file.write_text(program)
        command = [sys.executable, str(file), *map(str, arguments)]
        ran = subprocess.run(
            command, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT, env=_environment(tmp_path)
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    return run


def _environment(folder: Path) -> dict[str, str]:
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, "TMPDIR": str(folder)}
