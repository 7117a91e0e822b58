"""Knowledge distillation: what a network learns from others, besides the labels."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from nas import Architecture, ImageData, Input, Recipe, Stage, StemConv
from nas.architectures.weights import save_weights
from nas.data.images import Split
from nas.errors import WeightsError
from nas.training.distillation import SHARE, TEMPERATURE, Teachers
from nas.training.distributed import train_together
from nas.training.module import TrainingModule
from nas.training.objective import Teacher
from nas.training.train import evaluate, on_device, train
from tests.helpers import checkpoint_every_epoch

CPU = torch.device("cpu")
RECIPE = Recipe(epochs=4, batch_size=64, learning_rate=0.01, crop_padding=1)
SMALL = Architecture(Input(1, 8), 10, (StemConv(8),), (Stage(1, 8, 4, 8),))
WIDE = Architecture(Input(1, 8), 10, (StemConv(16),), (Stage(1, 32, 4, 32), Stage(1, 32, 4, 64)))


@pytest.fixture(scope="module")
def teacher(digits: ImageData, tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    """A network that knows the digits."""
    recipe = replace(RECIPE, epochs=10)
    result = train(WIDE, on_device(digits, recipe, "cpu"), recipe)
    assert result.accuracy > 0.9
    file = tmp_path_factory.mktemp("teacher") / "weights.safetensors"
    save_weights(file, result.weights, WIDE)
    return Teacher(WIDE, file)


def test_the_loss_is_that_of_the_labels_and_of_the_mean_of_what_teachers_say(teacher: Teacher) -> None:
    torch.manual_seed(0)
    images, logits, labels = torch.randn(5, 1, 8, 8), torch.randn(5, 10), torch.arange(5)
    one, two = (Teachers([teacher] * number, CPU, multi_label=False) for number in (1, 2))
    assert torch.allclose(one(images), two(images))
    assert torch.allclose(one(images).sum(dim=1), torch.ones(5))
    of_labels = F.cross_entropy(logits, labels)
    # The cross-entropy of soft labels is their divergence from the student's, and an entropy that it cannot change.
    divergence = F.kl_div((logits / TEMPERATURE).log_softmax(1), one(images), reduction="batchmean")
    entropy = -(one(images) * one(images).log()).sum(1).mean()
    expected = (1 - SHARE) * of_labels + SHARE * TEMPERATURE**2 * (divergence + entropy)
    assert one.loss(of_labels, logits, images).item() == pytest.approx(expected.item(), rel=1e-5)


def test_of_several_labels_each_is_taught(teacher: Teacher) -> None:
    images, logits = torch.randn(5, 1, 8, 8), torch.randn(5, 10)
    teachers = Teachers([teacher], CPU, multi_label=True)
    said = teachers(images)
    each = -(said * F.logsigmoid(logits / TEMPERATURE) + (1 - said) * F.logsigmoid(-logits / TEMPERATURE))
    expected = SHARE * TEMPERATURE**2 * each.sum(dim=1).mean()
    assert teachers.loss(torch.zeros(()), logits, images).item() == pytest.approx(expected.item(), rel=1e-5)


def test_teachers_stay_as_they_are(digits: ImageData, teacher: Teacher) -> None:
    data = on_device(digits, RECIPE, "cpu")
    module = TrainingModule(SMALL, data, RECIPE, seed=0, report=None, teachers=[teacher])
    module.train()
    teachers = module._teachers
    assert teachers is not None
    assert not any(each.training for each in teachers.modules())
    before = {name: value.clone() for name, value in teachers.state_dict().items()}
    module.learn([torch.arange(64)] * 2, module.configure_optimizers())
    assert all(torch.equal(value, before[name]) for name, value in teachers.state_dict().items())
    assert not any(parameter.requires_grad for parameter in teachers.parameters())
    assert set(module.weights()) == set(module.network.state_dict())


def test_without_a_right_label_a_network_learns_from_its_teacher(digits: ImageData, teacher: Teacher) -> None:
    shuffled = np.random.default_rng(0).permutation(digits.train.labels)
    misled = replace(digits, train=Split(digits.train.images, shuffled))
    data = on_device(misled, RECIPE, "cpu")
    recipe = replace(RECIPE, epochs=10)
    assert train(WIDE, data, recipe).accuracy < 0.4
    taught = train(WIDE, data, recipe, teachers=[teacher])
    assert taught.accuracy > 0.7
    assert evaluate(WIDE, taught.weights, data, recipe=recipe) == taught.accuracy


def test_a_taught_training_is_resumed_as_such_alone(
    digits: ImageData, teacher: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint_every_epoch(monkeypatch)
    data, file = on_device(digits, RECIPE, "cpu"), tmp_path / "checkpoint"

    def interrupt(epoch: int, _: float) -> None:
        if epoch == 2:
            raise KeyError

    with pytest.raises(KeyError):
        train(SMALL, data, RECIPE, report=interrupt, checkpoint=file, teachers=[teacher])
    kept = file.read_bytes()
    assert train(SMALL, data, RECIPE, checkpoint=file).curve == train(SMALL, data, RECIPE).curve
    file.write_bytes(kept)
    resumed = train(SMALL, data, RECIPE, checkpoint=file, teachers=[teacher])
    assert resumed.curve == train(SMALL, data, RECIPE, teachers=[teacher]).curve


@pytest.mark.slow
def test_several_processes_learn_from_the_same_teachers(digits: ImageData, teacher: Teacher) -> None:
    shuffled = np.random.default_rng(0).permutation(digits.train.labels)
    misled = replace(digits, train=Split(digits.train.images, shuffled))
    recipe = replace(RECIPE, epochs=10)
    taught = train_together(WIDE, misled, recipe, processes=2, device="cpu", teachers=[teacher])
    assert taught.accuracy > 0.7


def test_weights_of_another_network_are_refused(digits: ImageData, teacher: Teacher) -> None:
    data = on_device(digits, RECIPE, "cpu")
    with pytest.raises(WeightsError, match="not those of its network"):
        train(SMALL, data, RECIPE, teachers=[Teacher(SMALL, teacher.weights)])
    with pytest.raises(WeightsError, match="cannot be read"):
        train(SMALL, data, RECIPE, teachers=[Teacher(WIDE, teacher.weights.with_name("nothing"))])
