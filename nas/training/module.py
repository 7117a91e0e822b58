"""Defines `TrainingModule`, one training as a LightningModule: a step is a run of batches."""

import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, cast

import lightning
import torch
from torch import Tensor, nn

from nas.architectures.architecture import Architecture
from nas.architectures.cost import cost
from nas.architectures.network import build_network
from nas.errors import TrainingFailed
from nas.system.cuda_graph import CapturedStep, is_wanted
from nas.training.augmentation import Augmentation
from nas.training.batches import DeviceData
from nas.training.checkpoint import Checkpoint, Progress, Trainee
from nas.training.data_parallel import ALONE, ProcessGroup
from nas.training.distillation import Teachers
from nas.training.evaluation import Evaluation
from nas.training.losses import loss_function
from nas.training.muon import Muon
from nas.training.objective import Report, Teacher
from nas.training.recipe import Recipe
from nas.training.trainer import Loader, in_float32

__all__ = ["TrainingModule", "one_cycle"]

BATCHES_PER_STEP = 50
EVALUATION_BATCH, CUDA_EVALUATION_BATCH = 256, 2048
CUDA_EVALUATION_ACTIVATIONS = 2**30
"""Limits an evaluation batch by its total activations, 4 GiB as float32, of which few are held at a time."""


class TrainingModule(lightning.LightningModule):
    """Trains with manual optimisation over runs of batches; `curve` has the validation accuracy after every epoch.

    Args:
        architecture: the architecture to train.
        data: the training and validation images.
        recipe: the training recipe.
        seed: seeds the order of the images and their augmentation, not the weights.
        report: called after every epoch.
        group: the processes that train together.
        teachers: networks that it also learns from.
    """

    def __init__(
        self,
        architecture: Architecture,
        data: DeviceData,
        recipe: Recipe,
        *,
        seed: int,
        report: Report | None,
        group: ProcessGroup = ALONE,
        teachers: Sequence[Teacher] = (),
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        # On its device from the start: `go_on_from` steps an optimiser before Lightning would move the network.
        network: Any = build_network(architecture)
        self.network = network.to(data.device, memory_format=torch.channels_last)
        self.curve: list[float] = []
        self.evaluation: Evaluation
        self.checkpoint: Checkpoint | None = None
        self._learner: nn.Module = self.network
        self._data, self._recipe, self._report, self._group = data, recipe, report, group
        self._batch_size = min(recipe.batch_size, len(data.train))
        self._evaluation_batch = _evaluation_batch(architecture, data.device)
        self._steps = recipe.epochs * (len(data.train) // self._batch_size)
        self.steps_done = 0
        self.generator = self._augmenting = torch.Generator(data.device).manual_seed(seed)
        self._loss = torch.zeros((), device=data.device)
        self._loss_of = loss_function(recipe, data.train, data.device)
        self._teachers = Teachers(teachers, data.device, multi_label=data.train.is_multi_label) if teachers else None
        self._augmentation = Augmentation(recipe, classes=architecture.classes)
        self._is_captured = is_wanted(data.device) and group.processes == 1 and not data.train.streamed
        self._captured: CapturedStep | None = None

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Returns Muon beside AdamW, AdamW alone, or SGD with Nesterov momentum; the last two as fused kernels.

        The learning rate is a tensor, so that a captured step reads the values that `learn` writes to it.
        """
        recipe, parameters, device = self._recipe, self.network.parameters(), self._data.device
        # CPU kernels take the learning rate as float64, GPU kernels as float32.
        kind = torch.float64 if device.type == "cpu" else torch.float32
        rate = torch.tensor(recipe.learning_rate, dtype=kind, device=device)
        if recipe.optimizer == "muon":
            return Muon(
                self.network,
                lr=rate,
                weight_decay=recipe.weight_decay,
                momentum=recipe.momentum,
                capturable=self._is_captured,
            )
        if recipe.optimizer == "adamw":
            return torch.optim.AdamW(
                parameters, lr=rate, weight_decay=recipe.weight_decay, fused=True, capturable=self._is_captured
            )
        return torch.optim.SGD(
            parameters,
            lr=rate,
            momentum=recipe.momentum,
            nesterov=recipe.momentum > 0,
            weight_decay=recipe.weight_decay,
            fused=True,
        )

    def go_on_from(self, checkpoint: Checkpoint) -> None:
        """Takes over and reports the curve of a matching checkpoint; `on_train_start` restores the state."""
        self.checkpoint = checkpoint
        progress = checkpoint.progress()
        if progress is None or not self._may_follow(progress):
            return
        if not checkpoint.holds(Trainee(self.network, self.configure_optimizers(), self.generator)):
            return
        self.steps_done = progress.step
        for accuracy in progress.curve:
            self.curve.append(accuracy)
            if self._report:
                self._report(len(self.curve), accuracy)

    def begin_after(self, epochs: int) -> None:
        """Begins after some epochs, whose accuracies nobody asks for: as one of several that are trained in turn."""
        self.curve = [0.0] * epochs
        self.steps_done = epochs * (self._steps // self._recipe.epochs)

    def _may_follow(self, progress: Progress) -> bool:
        """Returns whether the progress is a whole number of epochs, some done and some left."""
        epochs, steps = len(progress.curve), self._steps // self._recipe.epochs
        return 0 < epochs < self._recipe.epochs and progress.step == epochs * steps

    def on_train_start(self) -> None:
        """Restores the state of an interrupted training, and wraps the network for its process group."""
        if self.checkpoint and self.curve:
            self.checkpoint.restore(Trainee(self.network, self._optimizer, self.generator))
        self._learner = self._group.wrap(self.network)

    @property
    def _optimizer(self) -> torch.optim.Optimizer:
        return cast("torch.optim.Optimizer", self.optimizers(use_pl_optimizer=False))

    def train_dataloader(self) -> Loader[list[Tensor]]:
        """Returns runs of batches of indices, reshuffled each epoch."""

        def runs() -> Iterator[list[Tensor]]:  # lazy, so that nothing is drawn when Lightning tries iter() once
            balanced = self._recipe.sampling == "balanced"
            drawn = self._data.train.shuffled(self._batch_size, self.generator, balanced=balanced)
            batches = [self._group.shard(rows) for rows in drawn]
            self._augmenting = self._group.own_generator(self.generator)
            for start in range(0, len(batches), BATCHES_PER_STEP):
                yield batches[start : start + BATCHES_PER_STEP]

        return Loader(math.ceil(len(self._data.train) // self._batch_size / BATCHES_PER_STEP), runs)

    def val_dataloader(self) -> Loader[slice]:
        """Returns slices of the validation images."""
        images = self._data.validation
        slices = self._group.shard(images.in_order(min(self._evaluation_batch, len(images) // self._group.processes)))
        return Loader(len(slices), lambda: iter(slices))

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Returns the batch unchanged: it holds indices, so there is nothing to transfer."""
        return batch

    def training_step(self, run: list[Tensor]) -> None:
        """Trains on one run of batches."""
        self.learn(run, self._optimizer)

    def learn(self, run: Sequence[Tensor], optimizer: torch.optim.Optimizer) -> None:
        """Takes one optimiser step for each batch of row indices in `run`, at the scheduled learning rate."""
        step = partial(self._descend, optimizer=optimizer)
        if self._is_captured and self._captured is None:
            self._captured = CapturedStep(step, self.generator)
        with self._captured.on_its_stream() if self._captured else nullcontext():
            for rows in run:
                rate = self._recipe.learning_rate * one_cycle(self.steps_done / self._steps, self._recipe.warmup)
                for group in optimizer.param_groups:
                    group["lr"].fill_(rate)
                (self._captured or step)(rows)
                self.steps_done += 1

    def _descend(self, rows: Tensor, *, optimizer: torch.optim.Optimizer) -> None:
        """Runs the device part of a step, eagerly or in a graph: forward, backward, update."""
        images, labels = self._data.train.augmented(rows, augmentation=self._augmentation, generator=self._augmenting)
        logits = self._learner(images)
        loss = self._loss_of(logits, labels)
        if self._teachers is not None:
            loss = self._teachers.loss(loss, logits, images)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        self._loss += loss.detach()

    @property
    def replays(self) -> bool:
        """Whether the next step is the replay of a CUDA graph."""
        return self._captured is not None and self._captured.is_captured

    def close(self) -> None:
        """Releases the memory of a captured step; the network and the results stay."""
        if self._captured:
            self._captured.close()

    def on_train_epoch_end(self) -> None:
        """Stops a diverged training; checked once per epoch, as the check synchronises with the device.

        Raises:
            TrainingFailed: the loss is not finite (`not_finite`).
        """
        if not math.isfinite(self.wait()):
            raise TrainingFailed("not_finite", f"the loss was not finite in epoch {len(self.curve)}")

    def on_validation_epoch_start(self) -> None:
        """Begins an evaluation and averages BatchNorm statistics over the process group."""
        self.evaluation = Evaluation(
            self._data.validation,
            self.network.classifier.out_features,
            metric=self._recipe.metric,
            device=self._data.device,
            keeps_predictions=len(self.curve) == self._recipe.epochs - 1,
        )
        self._group.all_reduce_mean(self.network.buffers())

    def validation_step(self, rows: slice) -> None:
        """Adds a batch to the evaluation; in float32 as exported."""
        images, labels = self._data.validation.plain(rows)
        with in_float32(self._data.device):
            logits = self.network(images)
        self.evaluation.add(rows, logits, labels)

    def on_validation_epoch_end(self) -> None:
        """Appends the accuracy to the curve, writes the checkpoint if another epoch follows, and reports."""
        self.evaluation.join(self._group)
        self.curve.append(self.evaluation.score())
        if self.checkpoint and self._group.rank == 0 and len(self.curve) < self._recipe.epochs:
            progress = Progress(tuple(self.curve), self.steps_done)
            self.checkpoint.save(Trainee(self.network, self._optimizer, self.generator), progress=progress)
        if self._report:
            self._report(len(self.curve), self.curve[-1])

    def wait(self) -> float:
        """Waits for the device and returns the sum of the losses since the start."""
        return self._loss.item()

    def weights(self) -> dict[str, Tensor]:
        """Returns the network's state dict as contiguous tensors on the CPU."""
        return {name: value.detach().cpu().contiguous() for name, value in self.network.state_dict().items()}


def one_cycle(progress: float, warmup: float) -> float:
    """Returns the fraction of the peak learning rate at `progress` in [0, 1]: linear warm-up, then half a cosine down.

    Smith and Topin (arXiv:1708.07120), with the cosine that has become usual. Starts at 1/25 of the peak.
    """
    if progress < warmup:
        return 0.04 + 0.96 * progress / warmup
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup))) if warmup < 1 else 1.0


def _evaluation_batch(architecture: Architecture, device: torch.device) -> int:
    """Returns the evaluation batch size; large on a GPU, which would idle between small batches."""
    if device.type == "cpu":
        return EVALUATION_BATCH
    affordable = CUDA_EVALUATION_ACTIVATIONS // cost(architecture).activations
    return max(1, min(CUDA_EVALUATION_BATCH, affordable))
