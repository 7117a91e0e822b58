"""One training by two processes of this machine, on the CPU: what it gives, and what becomes of it where one dies."""

import copy
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nas import Architecture, Recipe, SearchSpace, build_network
from nas.data.images import ImageData
from nas.errors import TrainingFailed
from nas.study.records import TrialState
from nas.system import hardware as hardware_module
from nas.system.memory import is_out_of_memory
from nas.system.processes import METHOD
from nas.training import default_objective as default_objective_module
from nas.training.augmentation import Augmentation
from nas.training.batches import DeviceData
from nas.training.checkpoint import SECONDS_BEFORE_FIRST
from nas.training.data_parallel import ProcessGroup
from nas.training.distributed import _again, equal_shares, train_together
from nas.training.module import one_cycle
from nas.training.train import evaluate, on_device, train
from nas.workers import scaling as scaling_module
from nas.workers.scaling import ScalingConfig
from nas.workflows.retrain import retrain

pytestmark = pytest.mark.skipif(METHOD != "forkserver", reason="signals and forks as on Linux and macOS")

PLAIN = Augmentation(Recipe(), classes=10)


class Interrupted(Exception):
    pass


@pytest.fixture
def network(tiny: SearchSpace) -> Architecture:
    return tiny.architecture(list(tiny.points())[-1])


def members() -> list[int]:
    """The processes that train together now, the first one first."""
    running = [child for child in multiprocessing.active_children() if child.name.startswith("nas training")]
    return [child.pid or 0 for child in sorted(running, key=lambda child: child.name)]


def gone(processes: list[int], seconds: float = 0) -> bool:
    until = time.monotonic() + seconds
    while any(psutil.pid_exists(process) for process in processes):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_learns_digits_and_reports_every_epoch_here(digits: ImageData, tiny: SearchSpace, network: Any) -> None:
    recipe = replace(tiny.recipe, epochs=6)
    reported: list[tuple[int, float]] = []
    at_work: set[int] = set()

    def report(epoch: int, accuracy: float) -> None:
        reported.append((epoch, accuracy))
        at_work.update(members())

    result = train_together(network, digits, recipe, processes=2, device="cpu", report=report)
    assert len(at_work) == 2
    assert gone(list(at_work))
    assert result.accuracy > 0.5  # chance is 0.1
    assert reported == list(enumerate(result.curve, start=1))
    assert len(result.curve) == 6
    data = on_device(digits, recipe, "cpu")
    assert abs(evaluate(network, result.weights, data, recipe=recipe) - result.accuracy) < 0.01  # in other batches


def test_every_validation_image_is_counted_once(digits: ImageData, tiny: SearchSpace, network: Any) -> None:
    result = train_together(network, digits, tiny.recipe, processes=2, device="cpu")
    counted = torch.bincount(torch.from_numpy(digits.validation.labels))
    assert result.confusion.sum(axis=1).tolist() == counted.tolist()
    assert result.confusion.trace() / len(digits.validation.labels) == result.accuracy


def test_same_seed_same_weights(digits: ImageData, tiny: SearchSpace, network: Any) -> None:
    first, again, other = (
        train_together(network, digits, tiny.recipe, processes=2, device="cpu", seed=seed) for seed in (1, 1, 2)
    )
    assert first.curve == again.curve
    assert same(first.weights, again.weights)
    assert not same(first.weights, other.weights)


def by_hand(network: Architecture, data: DeviceData, recipe: Recipe, seed: int) -> dict[str, Tensor]:
    """An epoch in which two models see half of each batch each, and step by the average of their gradients."""
    torch.manual_seed(seed)
    model = build_network(network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    models = [model, copy.deepcopy(model)]
    optimizers = [
        torch.optim.SGD(each.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.001) for each in models
    ]
    generator = torch.Generator().manual_seed(seed)
    batches = list(data.train.shuffled(recipe.batch_size, generator))
    for step, rows in enumerate(batches):
        for half, each in enumerate(models):
            images, labels = data.train.augmented(rows[half::2], augmentation=PLAIN, generator=generator)
            each.zero_grad()
            loss = F.cross_entropy(each(images), labels, label_smoothing=0.1)
            loss.backward()  # type: ignore[no-untyped-call]
        for pair in zip(*(each.parameters() for each in models), strict=True):
            mean = (pair[0].grad + pair[1].grad) / 2
            for parameter in pair:
                parameter.grad = mean.clone()
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] = 0.1 * one_cycle(step / len(batches), recipe.warmup)
            optimizer.step()
    first, second = (each.state_dict() for each in models)
    return {name: (value + second[name]) / 2 for name, value in first.items()}


def test_a_step_is_by_the_average_of_the_gradients(digits: ImageData, network: Any) -> None:
    recipe = Recipe(epochs=1, batch_size=64, optimizer="sgd", learning_rate=0.1, weight_decay=0.001)
    result = train_together(network, digits, recipe, processes=2, device="cpu", seed=3)
    expected = by_hand(network, on_device(digits, recipe, "cpu"), recipe, 3)
    for name, value in result.weights.items():
        torch.testing.assert_close(value.float(), expected[name].float(), rtol=1e-5, atol=1e-6)
    alone = train(network, on_device(digits, recipe, "cpu"), recipe, seed=3)
    assert not same(alone.weights, result.weights)


def test_one_process_together_is_a_training_alone(digits: ImageData, tiny: SearchSpace, network: Any) -> None:
    together = train_together(network, digits, tiny.recipe, processes=1, device="cpu", seed=4)
    alone = train(network, on_device(digits, tiny.recipe, "cpu"), tiny.recipe, seed=4)
    assert together.curve == alone.curve
    assert same(together.weights, alone.weights)


@pytest.mark.slow
def test_an_interrupted_training_ends_as_an_undisturbed_one(
    digits: ImageData, tiny: SearchSpace, network: Any, tmp_path: Path
) -> None:
    recipe, file = replace(tiny.recipe, epochs=4, flip=True), tmp_path / "checkpoint"
    undisturbed = train_together(network, digits, recipe, processes=2, device="cpu", seed=3)
    reported: list[tuple[int, float]] = []

    def until(epoch: int) -> Any:
        def report(number: int, accuracy: float) -> None:
            reported.append((number, accuracy))
            if number == epoch:
                raise Interrupted
            if epoch:
                time.sleep(SECONDS_BEFORE_FIRST)  # before that nothing is worth keeping

        return train_together(
            network, digits, recipe, processes=2, device="cpu", seed=3, report=report, checkpoint=file
        )

    with pytest.raises(Interrupted):
        until(2)
    assert not members()
    kept = file.read_bytes()
    reported.clear()
    resumed = until(0)
    assert reported == list(enumerate(undisturbed.curve, start=1))
    assert same(resumed.weights, undisturbed.weights)
    assert (resumed.confusion == undisturbed.confusion).all()
    file.write_bytes(kept)  # what two have begun, one can end
    alone = train(network, on_device(digits, recipe, "cpu"), recipe, seed=3, checkpoint=file)
    assert alone.curve[0] == undisturbed.curve[0]
    assert len(alone.curve) == 4


@pytest.mark.parametrize(
    ("victim", "number", "message"),
    [
        (0, signal.SIGKILL, "process 1 of the 2 that .* signal 9"),
        (1, signal.SIGKILL, "process 2 of the 2 that .* signal 9"),
        (1, signal.SIGTERM, "a signal to end"),
    ],
)
def test_one_that_is_ended_ends_all(
    digits: ImageData, tiny: SearchSpace, network: Any, *, victim: int, number: signal.Signals, message: str
) -> None:
    at_work: list[int] = []

    def report(epoch: int, accuracy: float) -> None:
        if not at_work:
            at_work.extend(members())
            os.kill(at_work[victim], number)

    began = time.monotonic()
    with pytest.raises(TrainingFailed, match=message) as raised:
        train_together(network, digits, replace(tiny.recipe, epochs=500), processes=2, device="cpu", report=report)
    assert raised.value.reason == "worker_died"
    assert time.monotonic() - began < 20
    assert len(at_work) == 2
    assert gone(at_work)


def test_an_interruption_leaves_no_process(digits: ImageData, tiny: SearchSpace, network: Any) -> None:
    at_work: list[int] = []

    def report(epoch: int, accuracy: float) -> None:
        at_work.extend(members())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_together(network, digits, replace(tiny.recipe, epochs=500), processes=2, device="cpu", report=report)
    assert len(at_work) == 2
    assert gone(at_work)


KILLED = """
import multiprocessing, os, signal
from nas import Recipe, load_data, load_space
from nas.training.distributed import train_together

def report(epoch, accuracy):
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    space = load_space("digits")
    images = load_data("digits", space.input)
    network = space.architecture(next(space.points()))
    train_together(network, images, Recipe(epochs=500), processes=2, device="cpu", report=report)
"""


@pytest.mark.slow
def test_no_process_outlives_the_one_that_started_it(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(KILLED)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, tmp_path / "program.py"], stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout is not None
        processes = [int(word) for word in parent.stdout.readline().split()]
    assert len(processes) == 2
    assert gone(processes, seconds=10)


def test_a_loss_that_is_not_finite_ends_the_training_with_that_reason(
    digits: ImageData, tiny: SearchSpace, network: Any
) -> None:
    recipe = replace(tiny.recipe, optimizer="sgd", learning_rate=1000.0, weight_decay=1000.0)
    with pytest.raises(TrainingFailed, match="epoch 1") as raised:
        train_together(network, digits, recipe, processes=2, device="cpu")
    assert raised.value.reason == "not_finite"
    assert not members()


def test_failures_reach_another_process_as_what_they_are() -> None:
    def there(error: BaseException) -> Exception:
        make = pickle.loads(pickle.dumps(_again(error)))
        made = make()
        assert isinstance(made, Exception)
        return made

    failed = there(TrainingFailed("not_finite", "the loss"))
    assert isinstance(failed, TrainingFailed)
    assert (failed.reason, str(failed)) == ("not_finite", "the loss")
    assert is_out_of_memory(there(torch.OutOfMemoryError("none left")))
    assert is_out_of_memory(there(MemoryError()))
    other = there(KeyError("lost"))
    assert type(other) is RuntimeError
    assert "KeyError: 'lost'" in str(other)


@pytest.mark.parametrize(
    ("batch_size", "most", "expected"),
    [(64, 1, 1), (64, 2, 2), (64, 3, 2), (64, 8, 4), (96, 3, 3), (97, 8, 1), (16, 2, 1), (60_000, 8, 1)],
)
def test_shares_are_equal_and_not_too_small(digits: ImageData, batch_size: int, most: int, expected: int) -> None:
    assert len(digits.train.labels) == 1151  # a prime, and the batch where it is larger
    assert equal_shares(Recipe(batch_size=batch_size), digits, most) == expected


def test_a_team_draws_in_step_what_is_common_and_apart_what_is_not() -> None:
    common = [torch.Generator().manual_seed(7) for _ in range(2)]
    own = [ProcessGroup(rank, 2).own_generator(generator) for rank, generator in enumerate(common)]
    drawn = [torch.randint(1000, (20,), generator=generator) for generator in own]
    assert not torch.equal(*drawn)
    assert torch.equal(*(torch.randint(1000, (20,), generator=generator) for generator in common))
    generator = torch.Generator()
    assert ProcessGroup().own_generator(generator) is generator


@pytest.mark.parametrize(
    ("options", "processes"),
    [
        ({"workers": "auto"}, 4),
        ({"workers": 3}, 3),
        ({"workers": 8}, 4),
        ({"workers": 1}, 1),
        ({"workers": 0}, 1),
        ({"workers": "auto", "device": "cpu"}, 1),
        ({"workers": "auto", "ray": "auto"}, 1),
    ],
)
def test_how_many_share_the_only_training(
    options: dict[str, Any], processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scaling_module, "gpu_count", lambda: 4)
    assert ScalingConfig(**options).together == processes


def test_the_only_training_left_is_shared(network: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine with two GPUs, but on its CPU."""
    shared: list[int] = []

    def spy(*args: Any, **options: Any) -> Any:
        shared.append(options["processes"])
        return train_together(*args, **options)

    monkeypatch.setattr(default_objective_module, "train_together", spy)
    for module in (scaling_module, hardware_module):
        monkeypatch.setattr(module, "gpu_count", lambda: 2)

    def trained(seeds: int) -> list[tuple[str, int | None, int]]:
        recipe = Recipe(epochs=2, batch_size=64)
        study = retrain(network, "digits", name="s", runs=tmp_path, recipe=recipe, seeds=seeds, workers=2)
        return [(record.state, record.seed, len(record.curve)) for record in study.records()]

    assert trained(1) == [(TrialState.COMPLETE, 1, 2)]
    assert shared == [2]
    assert trained(3) == [(TrialState.COMPLETE, 1, 2), (TrialState.COMPLETE, 2, 2), (TrialState.COMPLETE, 3, 2)]
    assert shared == [2]  # two were left, and each GPU had one
