"""Defines `FoldsModule`, the training of a network for each fold of a cross-validation.

Where images are few, a share of them held out for validation says little about a network. Each fold's network is judged
by the images of that fold, which it has not seen, so that all images together judge the architecture (Stone, "Cross-
validatory choice and assessment of statistical predictions", J. R. Stat. Soc. B, 1974).
"""

from collections.abc import Iterator, Sequence
from typing import Any, cast

import lightning
import torch
from torch import Tensor, nn

from nas.architectures.architecture import Architecture
from nas.training.batches import DeviceData
from nas.training.checkpoint import Checkpoint, Progress, Trainee
from nas.training.evaluation import Evaluation
from nas.training.module import TrainingModule
from nas.training.objective import Report
from nas.training.recipe import Recipe
from nas.training.trainer import Loader

__all__ = ["FoldsModule"]


class FoldsModule(lightning.LightningModule):
    """Trains the networks of all folds, an epoch of each in turn, so that a training can be stopped and resumed.

    `curve` has the accuracy after every epoch on the images of all folds, each judged by the network that has not seen
    it.

    Args:
        architecture: the architecture of all networks.
        folds: the training and validation images of each fold.
        recipe: the training recipe.
        seed: seeds the order of the images and their augmentation, not the weights.
        report: called after every epoch of all networks.
    """

    def __init__(
        self,
        architecture: Architecture,
        folds: Sequence[DeviceData],
        recipe: Recipe,
        *,
        seed: int,
        report: Report | None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        modules = [TrainingModule(architecture, data, recipe, seed=seed, report=None) for data in folds]
        self._modules_of_folds = nn.ModuleList(modules)
        self.curve: list[float] = []
        self.evaluation: Evaluation
        self.checkpoint: Checkpoint | None = None
        self._epochs, self._report = recipe.epochs, report

    @property
    def parts(self) -> list[TrainingModule]:
        """The training of each fold."""
        return [cast("TrainingModule", module) for module in self._modules_of_folds]

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Returns the optimiser of each fold."""
        return [part.configure_optimizers() for part in self.parts]

    def _trainees(self, optimizers: Sequence[torch.optim.Optimizer]) -> list[Trainee]:
        return [
            Trainee(part.network, optimizer, part.generator)
            for part, optimizer in zip(self.parts, optimizers, strict=True)
        ]

    @property
    def _optimizers(self) -> list[torch.optim.Optimizer]:
        return cast("list[torch.optim.Optimizer]", self.optimizers(use_pl_optimizer=False))

    def go_on_from(self, checkpoint: Checkpoint) -> None:
        """Takes over and reports the curve of a matching checkpoint; `on_train_start` restores the state."""
        self.checkpoint = checkpoint
        progress = checkpoint.progress()
        if progress is None or not 0 < len(progress.curve) < self._epochs:
            return
        if not checkpoint.holds(*self._trainees(self.configure_optimizers())):
            return
        for part in self.parts:
            part.begin_after(len(progress.curve))
        for accuracy in progress.curve:
            self.curve.append(accuracy)
            if self._report:
                self._report(len(self.curve), accuracy)

    def on_train_start(self) -> None:
        """Restores the state of an interrupted training."""
        if self.checkpoint and self.curve:
            self.checkpoint.restore(*self._trainees(self._optimizers))

    def train_dataloader(self) -> Loader[tuple[int, list[Tensor]]]:
        """Returns the runs of batches of each fold in turn, with the number of the fold."""
        loaders = [part.train_dataloader() for part in self.parts]
        return Loader(sum(map(len, loaders)), lambda: _in_turn(loaders))

    def val_dataloader(self) -> Loader[tuple[int, slice]]:
        """Returns the slices of the validation images of each fold, with the number of the fold."""
        loaders = [part.val_dataloader() for part in self.parts]
        return Loader(sum(map(len, loaders)), lambda: _in_turn(loaders))

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Returns the batch unchanged: it holds indices, so there is nothing to transfer."""
        return batch

    def training_step(self, batch: tuple[int, list[Tensor]]) -> None:
        """Trains the network of a fold on one run of batches."""
        fold, run = batch
        self.parts[fold].learn(run, self._optimizers[fold])

    def on_train_epoch_end(self) -> None:
        """Stops a diverged training.

        Raises:
            TrainingFailed: the loss of one of the networks is not finite (`not_finite`).
        """
        for part in self.parts:
            part.on_train_epoch_end()

    def on_validation_epoch_start(self) -> None:
        """Begins the evaluation of each fold."""
        for part in self.parts:
            part.on_validation_epoch_start()

    def validation_step(self, batch: tuple[int, slice]) -> None:
        """Adds a batch to the evaluation of its fold."""
        fold, rows = batch
        self.parts[fold].validation_step(rows)

    def on_validation_epoch_end(self) -> None:
        """Appends the accuracy on all images to the curve, writes the checkpoint if another epoch follows, reports."""
        for part in self.parts:
            part.on_validation_epoch_end()
        self.evaluation = Evaluation.pooled([part.evaluation for part in self.parts])
        self.curve.append(self.evaluation.score())
        if self.checkpoint and len(self.curve) < self._epochs:
            progress = Progress(tuple(self.curve), sum(part.steps_done for part in self.parts))
            self.checkpoint.save(*self._trainees(self._optimizers), progress=progress)
        if self._report:
            self._report(len(self.curve), self.curve[-1])

    def weights(self) -> dict[str, Tensor]:
        """Returns the weights of the first fold's network."""
        return self.parts[0].weights()

    def close(self) -> None:
        """Releases the memory of captured steps."""
        for part in self.parts:
            part.close()


def _in_turn(loaders: Sequence[Loader[Any]]) -> Iterator[tuple[int, Any]]:
    return ((fold, batch) for fold, loader in enumerate(loaders) for batch in loader)
