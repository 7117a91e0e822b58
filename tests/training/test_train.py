import logging
import subprocess
import sys
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from nas import NasError, Recipe, SearchSpace, build_network
from nas.data.cache import open_shared, save_shared
from nas.data.images import ImageData
from nas.errors import TrainingFailed
from nas.system.hardware import HALF_ON_CPU_FROM, device_of
from nas.training import train as train_module
from nas.training import train as training_module
from nas.training.augmentation import Augmentation
from nas.training.module import TrainingModule, one_cycle
from nas.training.train import evaluate, on_device, threads_for, train
from nas.training.trainer import bare_trainer, in_half, quiet_lightning

PLAIN = Augmentation(Recipe(), classes=10)


@pytest.fixture
def network(tiny: SearchSpace) -> Any:
    return tiny.architecture(list(tiny.points())[-1])


def test_learns_digits_and_reports_every_epoch(digits: ImageData, tiny: SearchSpace, network: Any) -> None:
    recipe = replace(tiny.recipe, epochs=6)
    reported: list[tuple[int, float]] = []
    result = train(
        network, on_device(digits, recipe, "cpu"), recipe, report=lambda epoch, value: reported.append((epoch, value))
    )
    assert result.accuracy > 0.5  # chance is 0.1
    assert reported == list(enumerate(result.curve, start=1))
    assert len(result.curve) == 6
    assert result.accuracy == result.curve[-1]


def test_same_seed_same_weights(digits: ImageData, tiny: SearchSpace, network: Any) -> None:
    data = on_device(digits, tiny.recipe, "cpu")
    state = torch.random.get_rng_state()
    first, again, other = (train(network, data, tiny.recipe, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)  # the caller's random numbers are the caller's
    assert first.curve == again.curve
    assert all(torch.equal(value, again.weights[name]) for name, value in first.weights.items())
    assert any(not torch.equal(value, other.weights[name]) for name, value in first.weights.items())


def test_weights_evaluate_to_the_accuracy_they_were_recorded_with(
    digits: ImageData, tiny: SearchSpace, network: Any
) -> None:
    data = on_device(digits, tiny.recipe, "cpu")
    result = train(network, data, tiny.recipe)
    assert evaluate(network, result.weights, data, recipe=tiny.recipe) == result.accuracy


def test_weights_after_an_epoch_are_those_of_a_loop_written_by_hand(
    digits: ImageData, tiny: SearchSpace, network: Any
) -> None:
    recipe = Recipe(epochs=1, batch_size=64, optimizer="sgd", learning_rate=0.1, weight_decay=0.001)
    data = on_device(digits, recipe, "cpu")
    result = train(network, data, recipe, seed=3)

    with threads_for(network, recipe):
        torch.manual_seed(3)
        model = build_network(network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = torch.optim.SGD(
            model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.001, fused=True
        )
        generator = torch.Generator().manual_seed(3)
        steps = len(data.train) // 64
        for step, rows in enumerate(list(data.train.shuffled(64, generator))):
            optimizer.param_groups[0]["lr"] = 0.1 * one_cycle(step / steps, recipe.warmup)
            images, labels = data.train.augmented(rows, augmentation=PLAIN, generator=generator)
            loss = F.cross_entropy(model(images), labels, label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    assert all(torch.equal(value, result.weights[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("has_instructions", [True, False])
def test_large_networks_are_trained_in_bfloat16_on_cpus_with_instructions_for_it(
    monkeypatch: pytest.MonkeyPatch, has_instructions: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": has_instructions, "amx_bf16": False})
    cpu = torch.device("cpu")
    assert in_half(cpu, HALF_ON_CPU_FROM) == has_instructions
    assert not in_half(cpu, HALF_ON_CPU_FROM - 1)


@pytest.fixture
def _in_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings on the CPU run as on a GPU that computes in bfloat16."""
    monkeypatch.setattr(train_module, "in_half", lambda *_: True)


@pytest.mark.usefixtures("_in_bfloat16")
def test_each_step_under_autocast_sees_the_weights_of_the_one_before(
    digits: ImageData, tiny: SearchSpace, network: Any
) -> None:
    """Lightning enters autocast once for a run of batches; its cache of converted weights has to be off."""
    recipe = Recipe(epochs=1, batch_size=64, optimizer="sgd", learning_rate=0.1, weight_decay=0.0)
    data = on_device(digits, recipe, "cpu")
    result = train(network, data, recipe, seed=3)

    with threads_for(network, recipe):
        torch.manual_seed(3)
        model = build_network(network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, fused=True)
        generator = torch.Generator().manual_seed(3)
        steps = len(data.train) // 64
        for step, rows in enumerate(list(data.train.shuffled(64, generator))):
            optimizer.param_groups[0]["lr"] = 0.1 * one_cycle(step / steps, recipe.warmup)
            images, labels = data.train.augmented(rows, augmentation=PLAIN, generator=generator)
            with torch.autocast("cpu", torch.bfloat16):  # a fresh one for each step
                loss = F.cross_entropy(model(images), labels, label_smoothing=0.1)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    assert all(torch.equal(value, result.weights[name]) for name, value in model.state_dict().items())


def test_an_accuracy_of_a_training_in_bfloat16_is_that_of_its_weights_in_float32(
    digits: ImageData, tiny: SearchSpace, network: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an export computes: it is in float32 on whatever machine, and is checked against what was recorded."""
    data, recipe = on_device(digits, tiny.recipe, "cpu"), replace(tiny.recipe, epochs=2)
    in_float32 = train(network, data, recipe)
    monkeypatch.setattr(train_module, "in_half", lambda *_: True)
    result = train(network, data, recipe)
    assert any(not torch.equal(value, in_float32.weights[name]) for name, value in result.weights.items())

    model = build_network(network).eval()
    model.load_state_dict(result.weights)
    images, labels = data.validation.plain(slice(None))
    with torch.inference_mode():
        exact = model(images).argmax(dim=1)
        with torch.autocast("cpu", torch.bfloat16):
            rough = model(images).argmax(dim=1)
    assert not torch.equal(exact, rough)  # else this shows nothing
    counted = np.zeros((10, 10), dtype=int)
    np.add.at(counted, (labels.numpy(), exact.numpy()), 1)
    assert abs(result.confusion - counted).sum() <= 2  # another batch size may turn an image that lies on the border
    assert abs(result.accuracy - float((exact == labels).float().mean())) * len(labels) <= 1


class _NeverWaits(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuses what makes the CPU wait for a GPU: a value, or a size that depends on one."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        aten = torch.ops.aten
        assert func.overloadpacket not in (aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten.is_nonzero)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_no_operation_of_a_step_or_of_a_validation_waits_for_the_device(
    digits: ImageData, tiny: SearchSpace, network: Any, optimizer: str
) -> None:
    """Or a GPU would idle; and a step could not be captured as a graph."""
    recipe = replace(tiny.recipe, flip=True, optimizer=optimizer)
    data = on_device(digits, recipe, "cpu")
    module = TrainingModule(network, data, recipe, seed=0, report=None)
    made = module.configure_optimizers()
    with _NeverWaits():  # type: ignore[no-untyped-call]
        module.learn([torch.arange(64)] * 3, made)
        module.on_validation_epoch_start()
        for rows in module.val_dataloader():
            module.validation_step(rows)
        with pytest.raises(AssertionError):
            module.wait()  # which asks for a value


def test_the_confusion_matrix_counts_every_validation_image(digits: ImageData, tiny: SearchSpace, network: Any) -> None:
    data = on_device(digits, tiny.recipe, "cpu")
    result = train(network, data, tiny.recipe)
    assert result.confusion.sum(axis=1).tolist() == np.bincount(digits.validation.labels).tolist()
    assert result.confusion.trace() / len(digits.validation.labels) == result.accuracy
    built = build_network(network).eval()
    built.load_state_dict(result.weights)
    with torch.inference_mode():
        images, _ = data.validation.plain(slice(None))
        taken_for = built(images).argmax(dim=1).numpy()
    counted = np.zeros((10, 10), dtype=int)
    np.add.at(counted, (digits.validation.labels, taken_for), 1)
    assert abs(result.confusion - counted).sum() <= 2  # another batch size may turn an image that lies on the border


def test_the_predictions_are_those_of_the_trained_network_in_the_order_of_the_images(
    digits: ImageData, tiny: SearchSpace, network: Any
) -> None:
    data, recipe = on_device(digits, tiny.recipe, "cpu"), replace(tiny.recipe, epochs=3)
    result = train(network, data, recipe)
    assert result.predictions["label"].tolist() == digits.validation.labels.tolist()
    counted = np.zeros((10, 10), dtype=int)
    np.add.at(counted, (result.predictions["label"], result.predictions["predicted"]), 1)
    assert (counted == result.confusion).all()
    built = build_network(network).eval()
    built.load_state_dict(result.weights)
    with torch.inference_mode():
        images, labels = data.validation.plain(slice(None))
        shares = built(images).softmax(dim=1)
    assert result.predictions["confidence"] == pytest.approx(shares.max(dim=1).values.numpy(), abs=1e-4)
    of_labels = shares.gather(1, labels[:, None])[:, 0].numpy()
    assert result.predictions["label_confidence"] == pytest.approx(of_labels, abs=1e-4)


def test_a_loss_that_is_not_finite_ends_the_training_with_that_reason(
    digits: ImageData, tiny: SearchSpace, network: Any
) -> None:
    recipe = replace(tiny.recipe, optimizer="sgd", learning_rate=1000.0, weight_decay=1000.0)
    with pytest.raises(TrainingFailed, match="epoch 1") as raised:
        train(network, on_device(digits, recipe, "cpu"), recipe)
    assert raised.value.reason == "not_finite"


def test_lightning_is_silent(
    digits: ImageData, tiny: SearchSpace, network: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    level = logging.getLogger("lightning.pytorch").level
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train(network, on_device(digits, tiny.recipe, "cpu"), tiny.recipe)
    assert capfd.readouterr() == ("", "")
    assert not caught
    assert logging.getLogger("lightning.pytorch").level == level


def test_a_batch_larger_than_the_data_is_the_data(digits: ImageData, tiny: SearchSpace, network: Any) -> None:
    recipe = replace(tiny.recipe, batch_size=60_000)
    assert len(train(network, on_device(digits, recipe, "cpu"), recipe).curve) == recipe.epochs


@pytest.mark.parametrize(("device", "message"), [("gpu", "must be one of auto, cpu, cuda"), ("cuda", "no CUDA device")])
def test_devices_that_are_not_there(digits: ImageData, device: str, message: str) -> None:
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(NasError, match=message):
        on_device(digits, Recipe(), device)


def test_auto_is_one_device_for_all_where_lightning_would_take_another(
    digits: ImageData, tiny: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a Mac Lightning takes Metal, of which nothing else here knows."""
    monkeypatch.setattr("lightning.pytorch.accelerators.mps.MPSAccelerator.is_available", lambda: True)
    data = on_device(digits, tiny.recipe)
    assert data.device == device_of("auto")
    with quiet_lightning():
        assert bare_trainer(data.device, epochs=1).strategy.root_device == data.device


def test_streamed_training_gives_the_weights_of_resident_training(
    digits: ImageData, tiny: SearchSpace, network: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    resident = on_device(digits, tiny.recipe, "cpu")
    monkeypatch.setattr(training_module, "_fits", lambda *_: False)
    recipe = replace(tiny.recipe, flip=True)
    expected = train(network, resident, recipe, seed=5)
    for images in (digits, open_shared(save_shared(digits))):
        streamed = on_device(images, tiny.recipe, "cpu")
        assert streamed.train.streamed and streamed.validation.streamed
        result = train(network, streamed, recipe, seed=5)
        assert result.curve == expected.curve
        assert np.array_equal(result.confusion, expected.confusion)
        assert all(torch.equal(value, result.weights[name]) for name, value in expected.weights.items())
        assert evaluate(network, result.weights, streamed, recipe=recipe) == expected.accuracy


def test_images_are_resident_where_they_take_half_of_what_a_process_may_count_on(
    digits: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 64 * (len(digits.train.labels) + len(digits.validation.labels))
    cuda = torch.device("cuda", 0)
    free = {cuda: 4 * size}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free[device], 100 * size))
    assert training_module._fits(digits, cuda, 1.0)
    assert training_module._fits(digits, cuda, 0.5)
    assert not training_module._fits(digits, cuda, 0.49)
    free[cuda] = 2 * size - 1
    assert not training_module._fits(digits, cuda, 1.0)
    assert training_module._fits(digits, torch.device("cpu"), 0.01)  # nothing is copied there


def test_on_device_passes_on_the_share(digits: ImageData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_module, "_fits", lambda data, device, share: share > 0.3)
    assert not on_device(digits, Recipe(), "cpu").train.streamed
    assert on_device(digits, Recipe(), "cpu", share=0.25).train.streamed


def test_one_cycle_rises_to_its_peak_and_anneals_to_nothing() -> None:
    shares = [one_cycle(step / 100, 0.25) for step in range(100)]
    assert max(shares) == shares[25] == 1
    assert shares[:26] == sorted(shares[:26])
    assert shares[25:] == sorted(shares[25:], reverse=True)
    assert shares[-1] < 0.001
    assert one_cycle(0.0, 0.0) == 1


@pytest.mark.slow
def test_ctrl_c_in_a_training_is_a_keyboard_interrupt() -> None:
    """In a process of its own, as Lightning answers it by ending the process."""
    program = """
import signal, os
from nas import Recipe, load_data, load_space
from nas.training.train import on_device, train
space = load_space("digits")
recipe = Recipe(epochs=50)
data = on_device(load_data("digits", space.input), recipe, "cpu")
try:
    train(space.architecture(next(space.points())), data, recipe, report=lambda *_: os.kill(os.getpid(), signal.SIGINT))
except KeyboardInterrupt:
    print("interrupted", signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=360, check=False)
    assert (ran.returncode, ran.stdout.split(), ran.stderr) == (0, ["interrupted", "True"], "")


def test_small_steps_take_one_thread_and_large_ones_all(tiny: SearchSpace, network: Any) -> None:
    threads = torch.get_num_threads()
    with threads_for(network, tiny.recipe):
        assert torch.get_num_threads() == 1
    with threads_for(network, replace(tiny.recipe, batch_size=60_000)):
        assert torch.get_num_threads() == threads
    assert torch.get_num_threads() == threads
