from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from nas import Recipe, SearchSpace
from nas.data.images import ImageData
from nas.training import checkpoint as checkpoint_module
from nas.training.checkpoint import Checkpoint, Progress, Trainee
from nas.training.objective import TrainingResult
from nas.training.train import on_device, train
from tests.helpers import checkpoint_every_epoch

EPOCHS = 4


class Interrupted(Exception):
    pass


@pytest.fixture
def network(tiny: SearchSpace) -> Any:
    return tiny.architecture(list(tiny.points())[-1])


@pytest.fixture(autouse=True)
def _every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint_every_epoch(monkeypatch)


@pytest.mark.parametrize(("optimizer", "killed_in"), [("muon", 2), ("adamw", 2), ("adamw", EPOCHS), ("sgd", 2)])
def test_an_interrupted_training_ends_as_an_undisturbed_one(
    digits: ImageData, tiny: SearchSpace, tmp_path: Path, optimizer: str, killed_in: int
) -> None:
    network = tiny.architecture(list(tiny.points())[-1])
    recipe = replace(tiny.recipe, epochs=EPOCHS, optimizer=optimizer, learning_rate=0.01)
    data, file = on_device(digits, recipe, "cpu"), tmp_path / "new" / "checkpoint"
    undisturbed = train(network, data, recipe, seed=3)
    reported: list[tuple[int, float]] = []

    def until(epoch: int) -> TrainingResult:
        def report(number: int, accuracy: float) -> None:
            reported.append((number, accuracy))
            if number == epoch:
                raise Interrupted

        return train(network, data, recipe, seed=3, report=report, checkpoint=file)

    with pytest.raises(Interrupted):
        until(killed_in)
    reported.clear()
    resumed = until(0)
    assert reported == list(enumerate(undisturbed.curve, start=1))
    assert resumed.curve == undisturbed.curve
    assert all(torch.equal(value, resumed.weights[name]) for name, value in undisturbed.weights.items())
    assert (resumed.confusion == undisturbed.confusion).all()


def test_what_was_trained_is_not_trained_again(
    digits: ImageData, tiny: SearchSpace, network: Any, tmp_path: Path
) -> None:
    recipe = replace(tiny.recipe, epochs=3)
    data, file = on_device(digits, recipe, "cpu"), tmp_path / "checkpoint"

    def stop(epoch: int, accuracy: float) -> None:
        if epoch == 3:
            raise Interrupted

    with pytest.raises(Interrupted):
        train(network, data, recipe, report=stop, checkpoint=file)
    identity = {"architecture": network.to_dict(), "recipe": recipe.to_dict(), "seed": 0}
    kept = Checkpoint(file, identity | {"images": len(data.train), "device": "cpu"}).progress()
    assert kept is not None
    assert len(kept.curve) == 2
    steps = len(data.train) // recipe.batch_size
    assert kept.step == 2 * steps


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
        lambda file: file.write_bytes(b"\xff" * 64),
        lambda file: file.unlink(),
    ],
)
def test_a_damaged_checkpoint_counts_for_nothing(tmp_path: Path, change: Any) -> None:
    network = torch.nn.Linear(2, 2)
    optimizer, generator = torch.optim.SGD(network.parameters(), momentum=0.9), torch.Generator()
    kept = Checkpoint(tmp_path / "file", {"seed": 1})
    kept.save(Trainee(network, optimizer, generator), progress=Progress((0.5,), 7))
    assert kept.progress() == Progress((0.5,), 7)
    assert Checkpoint(tmp_path / "file", {"seed": 2}).progress() is None
    change(tmp_path / "file")
    assert kept.progress() is None


def test_a_training_of_a_moment_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_module, "SECONDS_BEFORE_FIRST", 3600.0)
    network = torch.nn.Linear(2, 2)
    kept = Checkpoint(tmp_path / "file", {})
    kept.save(Trainee(network, torch.optim.SGD(network.parameters()), torch.Generator()), progress=Progress((0.5,), 7))
    assert not (tmp_path / "file").exists()


def test_writing_takes_a_small_share_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_module, "SHARE_OF_TIME", 1e-6)
    network = torch.nn.Linear(2, 2)
    optimizer, generator = torch.optim.AdamW(network.parameters(), lr=Recipe().learning_rate), torch.Generator()
    kept = Checkpoint(tmp_path / "file", {})
    for step in range(3):
        kept.save(Trainee(network, optimizer, generator), progress=Progress((), step))
    assert kept.progress() == Progress((), 0)


@pytest.mark.parametrize("seconds", ["nan", "-1", "soon"])
def test_the_time_before_an_interruption_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: str) -> None:
    now = [0.0]
    monkeypatch.setattr("nas.training.checkpoint.time.monotonic", lambda: now[0])
    network = torch.nn.Linear(2, 2)
    trainee = Trainee(network, torch.optim.SGD(network.parameters(), momentum=0.9), torch.Generator())
    first = Checkpoint(tmp_path / "file", {})
    now[0] = 100
    first.save(trainee, progress=Progress((0.5,), 7))
    now[0] = 300
    later = Checkpoint(tmp_path / "file", {})
    assert later.progress() == Progress((0.5,), 7)
    later.restore(trainee)
    assert later.seconds_before == 100
    now[0] = 350
    later.save(trainee, progress=Progress((0.5, 0.6), 14))
    with safetensors.safe_open(tmp_path / "file", "pt") as file:
        header = file.metadata()
    assert float(header["seconds"]) == 150
    safetensors.torch.save_file({}, tmp_path / "file", metadata={**header, "seconds": seconds})
    assert later.progress() is None
