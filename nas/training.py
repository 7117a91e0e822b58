"""Training one architecture with Lightning: train(architecture, data, recipe) → TrainingResult.

Lightning's cost lies in its step, not in its epoch: a training step here is a run of batches with manual
optimisation, and batches are cut from images that are there already, so that a trial runs close to a bare loop.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import lightning
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from nas.architecture import Architecture
from nas.batches import DeviceImages
from nas.checkpoint import Checkpoint, Progress
from nas.cost import cost
from nas.data import ImageData
from nas.errors import TrainingFailed
from nas.latency import device_of
from nas.machine import AUTO
from nas.network import GroupConvNet, build_network
from nas.recipe import Recipe
from nas.trainer import ALONE, Loader, Team, bare_trainer, in_half, quiet_lightning
from nas.weights import put_into

__all__ = [
    "DeviceData",
    "Report",
    "TrainingResult",
    "evaluate",
    "on_device",
    "steps",
    "threads_for",
    "train",
]

BATCHES_PER_STEP = 50
EVALUATION_BATCH = 256
CPU_PROBE_FLOPS = 20 * 10**9
SMALL_STEP_FLOPS = 10**9

Report = Callable[[int, float], None]
"""Called after every epoch with the epoch, from 1, and the validation accuracy, in [0, 1]."""


@dataclass(frozen=True)
class TrainingResult:
    """What one training gave: accuracies on the validation images in [0, 1], and float32 weights on the CPU.

    `confusion` (classes, classes) counts the validation images of class i (row) that are taken for class j (column).
    """

    accuracy: float
    curve: tuple[float, ...]
    weights: dict[str, Tensor]
    confusion: NDArray[np.int64]


@dataclass(frozen=True)
class DeviceData:
    """The splits that a search reads, for the device where it trains."""

    train: DeviceImages
    validation: DeviceImages
    accelerator: str
    device: torch.device


def on_device(data: ImageData, recipe: Recipe, device: str = AUTO, *, share: float = 1.0) -> DeviceData:
    """Readies the training and validation images for a device, once for a whole search.

    On a CPU they are used where they are, so that processes that map the same files share them. A GPU gets a copy, or,
    if that took more than half of this process's `share` of its free memory, each batch when it is needed.

    Raises:
        InvalidValue: `device` is not one of `DEVICES`, or there is no CUDA device.
    """
    device_of(device)  # refuses what is not there
    with quiet_lightning():
        chosen = bare_trainer(device, epochs=1).strategy.root_device
    streamed = not _fits(data, chosen, share)
    return DeviceData(
        DeviceImages(data.train, data.normalization, chosen, padding=recipe.crop_padding, streamed=streamed),
        DeviceImages(data.validation, data.normalization, chosen, streamed=streamed),
        device,
        chosen,
    )


def _fits(data: ImageData, device: torch.device, share: float) -> bool:
    """Whether the images leave half of this share of a GPU's free memory for training; on a CPU they are not copied."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    size = sum(math.prod(split.images.shape) for split in (data.train, data.validation))
    return size <= share * free / 2


def train(
    architecture: Architecture,
    data: DeviceData,
    recipe: Recipe,
    *,
    seed: int = 0,
    report: Report | None = None,
    checkpoint: Path | None = None,
    team: Team = ALONE,
) -> TrainingResult:
    """Trains an architecture from scratch by the recipe; on a CPU the same seed gives the same weights.

    With a `checkpoint`, the file is written after epochs; where it is there, the training goes on from it, reports
    what it had reported, and ends as if it had never been interrupted. Whoever has the result safe deletes it.

    A `team` trains together (`nas.together`): all of it calls this alike, and its first process writes the checkpoint.

    Raises:
        TrainingFailed: the loss was not finite (`not_finite`).
        KeyboardInterrupt: passed on, where Lightning alone would end the process.
    """
    with (
        quiet_lightning(),
        threads_for(architecture, recipe),
        torch.random.fork_rng(devices=[data.device] if data.device.type == "cuda" else []),
    ):
        torch.manual_seed(seed)
        module = _Trial(build_network(architecture), data, recipe, seed=seed, report=report, team=team)
        if checkpoint is not None:
            identity = {"architecture": architecture.to_dict(), "recipe": recipe.to_dict(), "seed": seed}
            identity |= {"images": len(data.train), "device": data.device.type}
            module.go_on_from(Checkpoint(checkpoint, identity))
        trainer = bare_trainer(data.accelerator, epochs=recipe.epochs - len(module.curve))
        trainer.fit(module)
    return TrainingResult(module.curve[-1], tuple(module.curve), module.weights(), module.confusion.cpu().numpy())


def evaluate(architecture: Architecture, weights: Mapping[str, Tensor], data: DeviceData, *, recipe: Recipe) -> float:
    """The accuracy of trained weights on the validation images, in [0, 1], by the code that a trial is scored with.

    Raises:
        WeightsError: the weights are not those of the architecture.
    """
    network = build_network(architecture)
    put_into(network, weights, of=architecture.name)
    module = _Trial(network, data, recipe, seed=0, report=None)
    with quiet_lightning(), threads_for(architecture, recipe):
        bare_trainer(data.accelerator, epochs=1).validate(module, verbose=False)
    return module.curve[-1]


def steps(architecture: Architecture, data: DeviceData, recipe: Recipe) -> Iterator[int]:
    """Trains without end, optimiser included: how many images a step took, once it is done; the first warms up.

    The batch is the recipe's on a GPU; on a CPU no larger than takes about a second a step.
    """
    module = _Trial(build_network(architecture), data, recipe, seed=0, report=None).to(data.device)
    optimizer = module.configure_optimizers()
    affordable = len(data.train) if data.device.type == "cuda" else CPU_PROBE_FLOPS // (3 * cost(architecture).flops)
    rows = torch.arange(max(2, min(affordable, len(data.train))), device=data.device)
    while True:
        with (
            threads_for(architecture, recipe),
            torch.autocast(data.device.type, torch.bfloat16, enabled=in_half(data.device)),
        ):
            module.learn(rows, optimizer)
        module.wait()
        yield len(rows)


@contextmanager
def threads_for(architecture: Architecture, recipe: Recipe) -> Iterator[None]:
    """One CPU thread where a training step is small, all of them where it is large.

    On small steps a second thread gains little; but where another program wants the cores, threads that wait for each
    other at every operation take several times as long as one (docs/benchmarks.md).
    """
    threads = torch.get_num_threads()
    if 3 * cost(architecture).flops * recipe.batch_size < SMALL_STEP_FLOPS:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class _Trial(lightning.LightningModule):
    """Manual optimisation over runs of batches; validation accuracy after every epoch in `curve`."""

    def __init__(
        self,
        network: GroupConvNet,
        data: DeviceData,
        recipe: Recipe,
        *,
        seed: int,
        report: Report | None,
        team: Team = ALONE,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.curve: list[float] = []
        self.confusion = torch.zeros(0)
        self.checkpoint: Checkpoint | None = None
        self._learner: nn.Module = self.network
        self._data, self._recipe, self._report, self._team = data, recipe, report, team
        self._batch_size = min(recipe.batch_size, len(data.train))
        self._steps = recipe.epochs * (len(data.train) // self._batch_size)
        self._step = 0
        self._generator = self._augmenting = torch.Generator(data.device).manual_seed(seed)
        self._loss = torch.zeros((), device=data.device)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW, or SGD with Nesterov's momentum; fused into one kernel on every device."""
        recipe, parameters = self._recipe, self.network.parameters()
        if recipe.optimizer == "adamw":
            return torch.optim.AdamW(parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True)
        return torch.optim.SGD(
            parameters,
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            nesterov=recipe.momentum > 0,
            weight_decay=recipe.weight_decay,
            fused=True,
        )

    def go_on_from(self, checkpoint: Checkpoint) -> None:
        """Takes over how far the training had come; its state follows once there is an optimiser."""
        self.checkpoint = checkpoint
        progress = checkpoint.progress()
        if progress is None or not self._may_follow(progress):
            return
        if not checkpoint.holds(self.network, self.configure_optimizers(), self._generator):
            return
        self._step = progress.step
        for accuracy in progress.curve:
            self.curve.append(accuracy)
            if self._report:
                self._report(len(self.curve), accuracy)

    def _may_follow(self, progress: Progress) -> bool:
        """Whether some epochs are done and some are left, by that many steps each."""
        epochs, steps = len(progress.curve), self._steps // self._recipe.epochs
        return 0 < epochs < self._recipe.epochs and progress.step == epochs * steps

    def on_train_start(self) -> None:
        """Puts back the state of a training that was interrupted."""
        if self.checkpoint and self.curve:
            self.checkpoint.restore(self.network, self._optimizer, self._generator)
        self._learner = self._team.averaging(self.network)

    @property
    def _optimizer(self) -> torch.optim.Optimizer:
        return cast("torch.optim.Optimizer", self.optimizers(use_pl_optimizer=False))

    def train_dataloader(self) -> Loader[list[Tensor]]:
        """Runs of batches of indices, drawn anew each epoch."""

        def runs() -> Iterator[list[Tensor]]:  # draws only when the first is asked for: Lightning tries iter() once
            batches = [self._team.share(rows) for rows in self._data.train.shuffled(self._batch_size, self._generator)]
            self._augmenting = self._team.own(self._generator)
            for start in range(0, len(batches), BATCHES_PER_STEP):
                yield batches[start : start + BATCHES_PER_STEP]

        return Loader(math.ceil(len(self._data.train) // self._batch_size / BATCHES_PER_STEP), runs)

    def val_dataloader(self) -> Loader[slice]:
        """Slices of the validation images."""
        images = self._data.validation
        slices = self._team.share(images.in_order(min(EVALUATION_BATCH, len(images) // self._team.processes)))
        return Loader(len(slices), lambda: iter(slices))

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Nothing to transfer: the images are there."""
        return batch

    def training_step(self, run: list[Tensor]) -> None:
        """One run of batches."""
        optimizer = self._optimizer
        for rows in run:
            self.learn(rows, optimizer)

    def learn(self, rows: Tensor, optimizer: torch.optim.Optimizer) -> None:
        """One step of the optimiser on the images of these rows."""
        for group in optimizer.param_groups:
            group["lr"] = self._recipe.learning_rate * one_cycle(self._step / self._steps, self._recipe.warmup)
        images, labels = self._data.train.augmented(rows, flip=self._recipe.flip, generator=self._augmenting)
        loss = F.cross_entropy(self._learner(images), labels, label_smoothing=self._recipe.label_smoothing)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        self._loss += loss.detach()
        self._step += 1

    def on_train_epoch_end(self) -> None:
        """Stops a training that diverged; asked once an epoch, as asking waits for the device."""
        if not math.isfinite(self.wait()):
            raise TrainingFailed("not_finite", f"the loss was not finite in epoch {len(self.curve)}")

    def on_validation_epoch_start(self) -> None:
        """Nothing is counted yet."""
        classes = self.network.classifier.out_features
        self.confusion = torch.zeros(classes, classes, device=self._data.device, dtype=torch.long)
        self._team.average(self.network.buffers())

    def validation_step(self, rows: slice) -> None:
        """Counts which class the images of each class are taken for."""
        images, labels = self._data.validation.plain(rows)
        ones = torch.ones_like(labels)
        self.confusion.index_put_((labels, self.network(images).argmax(dim=1)), ones, accumulate=True)

    def on_validation_epoch_end(self) -> None:
        """Adds to the curve, keeps what may have to go on from here, and reports."""
        self._team.add_up(self.confusion)
        self.curve.append(self.confusion.diagonal().sum().item() / len(self._data.validation))
        if self.checkpoint and self._team.rank == 0 and len(self.curve) < self._recipe.epochs:
            progress = Progress(tuple(self.curve), self._step)
            self.checkpoint.save(self.network, self._optimizer, self._generator, progress=progress)
        if self._report:
            self._report(len(self.curve), self.curve[-1])

    def wait(self) -> float:
        """The sum of the losses since the start; asking for it waits for the device."""
        return self._loss.item()

    def weights(self) -> dict[str, Tensor]:
        """The network's state as contiguous tensors on the CPU."""
        return {name: value.detach().cpu().contiguous() for name, value in self.network.state_dict().items()}


def one_cycle(progress: float, warmup: float) -> float:
    """The share of the peak learning rate at a share of the training: up in a line, then down half a cosine.

    Smith and Topin (arXiv:1708.07120), with the cosine that is usual since. Starts at 1/25 of the peak.
    """
    if progress < warmup:
        return 0.04 + 0.96 * progress / warmup
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup))) if warmup < 1 else 1.0
