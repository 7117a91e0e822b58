"""What a person would write instead of nas: Optuna's example for PyTorch Lightning, turned to this task.

    python -m benchmarks.by_hand digits --trials 10 --epochs 15 --seed 0

After `pytorch/pytorch_lightning_simple.py` of optuna-examples, and like it: a LightningModule, a LightningDataModule,
automatic optimisation, no checkpoints, the defaults of Lightning and torch for precision and threads, and a study in
memory with Optuna's default sampler. From nas comes what both sides must share: the space with its recipe, the images
with their splits, and the network.

Where the example leaves time behind that nobody would miss, this leaves none: progress bar, summary and logger are off,
and the images are read once, not for each trial. It proposes architectures again that it has trained already, as the
example does. Of the budgets it keeps `max_flops`.
"""

import argparse
import logging
import math
import time
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import lightning
import numpy as np
import optuna
import torch
import torch.nn.functional as F
from optuna.trial import TrialState
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

import nas
from nas import Architecture, ImageData, Recipe, SearchSpace, Stage, StemConv
from nas.data.images import Split
from nas.training.module import one_cycle


class Trained(NamedTuple):
    """One trial: what was trained, its accuracy on the validation images in [0, 1], and its seconds from the asking."""

    architecture: Architecture
    accuracy: float
    seconds: float


class Images(Dataset[tuple[Tensor, Tensor]]):
    """One split, normalised; with `padding` and `flip` each image is cropped and mirrored at random when fetched."""

    def __init__(self, split: Split, data: ImageData, *, padding: int = 0, flip: bool = False) -> None:
        around = ((0, 0), (padding, padding), (padding, padding), (0, 0))
        self.images = torch.tensor(np.pad(split.images[:], around, mode="reflect")).permute(0, 3, 1, 2).contiguous()
        self.size, self.padding, self.flip = split.images.shape[1], padding, flip
        self.labels = torch.tensor(split.labels)
        self.mean, self.std = (torch.tensor(values).view(-1, 1, 1) for values in data.normalization)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = self.images[index]
        if self.padding:
            top, left = torch.randint(2 * self.padding + 1, (2,)).tolist()
            image = image[:, top : top + self.size, left : left + self.size]
        if self.flip and torch.rand(()) < 0.5:
            image = image.flip(-1)
        return (image / 255 - self.mean) / self.std, self.labels[index]


class Data(lightning.LightningDataModule):
    """Loaders of the training and the validation images. `loaders` is the DataLoader's `num_workers`."""

    def __init__(self, data: ImageData, recipe: Recipe, *, loaders: int = 0) -> None:
        super().__init__()
        self.train = Images(data.train, data, padding=recipe.crop_padding, flip=recipe.flip)
        self.validation = Images(data.validation, data)
        self.options: dict[str, Any] = {
            "batch_size": min(recipe.batch_size, len(self.train)),
            "num_workers": loaders,
            "persistent_workers": loaders > 0,
            "pin_memory": torch.cuda.is_available(),
        }

    def train_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        """Full batches in random order: what is left over waits for another epoch."""
        return DataLoader(self.train, shuffle=True, drop_last=True, **self.options)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        """Every image once."""
        return DataLoader(self.validation, **self.options)


class Classifier(lightning.LightningModule):
    """The network with its loss, its accuracy and its optimiser."""

    def __init__(self, architecture: Architecture, recipe: Recipe) -> None:
        super().__init__()
        self.network = nas.build_network(architecture)
        self.recipe = recipe

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """Cross-entropy with smoothed labels."""
        images, labels = batch
        return F.cross_entropy(self.network(images), labels, label_smoothing=self.recipe.label_smoothing)

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        """Logs the accuracy, which Lightning averages over all images of the epoch."""
        images, labels = batch
        self.log("val_acc", (self.network(images).argmax(dim=1) == labels).float().mean(), batch_size=len(labels))

    def configure_optimizers(self) -> Any:
        """AdamW, or SGD with Nesterov's momentum, under one cycle of the learning rate.

        The cycle is the recipe's own. torch's OneCycleLR warms up along a cosine, which costs the shortest trainings
        accuracy that the other side would be credited with.
        """
        recipe = self.recipe
        optimizer: torch.optim.Optimizer
        if recipe.optimizer != "sgd":  # a person's script has AdamW where nas has Muon
            optimizer = torch.optim.AdamW(self.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
        else:
            optimizer = torch.optim.SGD(
                self.parameters(),
                recipe.learning_rate,
                momentum=recipe.momentum,
                nesterov=recipe.momentum > 0,
                weight_decay=recipe.weight_decay,
            )
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: one_cycle(step / steps, recipe.warmup))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def train(architecture: Architecture, data: Data, recipe: Recipe, *, seed: int) -> float:
    """Trains one architecture from scratch; its accuracy on the validation images after the last epoch, in [0, 1]."""
    lightning.seed_everything(seed, verbose=False)
    return fit(Classifier(architecture, recipe), data)


def fit(network: Classifier, data: Data) -> float:
    """Trains a network that is there; its accuracy on the validation images after the last epoch, in [0, 1]."""
    trainer = lightning.Trainer(
        max_epochs=network.recipe.epochs,
        accelerator="auto",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(network, datamodule=data)
    return trainer.callback_metrics["val_acc"].item()


def count_flops(architecture: Architecture) -> int:
    """Multiply–adds of one image, as torch counts them (it counts a multiplication and an addition as two)."""
    network = nas.build_network(architecture).eval()
    channels, size = architecture.input.channels, architecture.input.size
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, channels, size, size))
    return int(counter.get_total_flops()) // 2


def suggest(trial: optuna.Trial, space: SearchSpace, classes: int) -> Architecture:
    """One choice from every list of the space; groups that do not divide the width become their common divisor."""
    stem = [
        StemConv(trial.suggest_categorical(f"stem{number}.width", conv.width), conv.stride)
        for number, conv in enumerate(space.stem, start=1)
    ]
    stages = []
    for number, choices in enumerate(space.stages, start=1):

        def choose(field: str, values: Sequence[int], number: int = number) -> int:
            return trial.suggest_categorical(f"stage{number}.{field}", values)

        depth, mid, groups = (
            choose("depth", choices.depth),
            choose("mid", choices.mid),
            choose("groups", choices.groups),
        )
        out = mid if choices.out is None else choose("out", choices.out)
        stages.append(Stage(depth, mid, math.gcd(mid, groups), out, choices.stride))
    return Architecture(space.input, classes, tuple(stem), tuple(stages), space.shortcuts)


def search(
    space: str | SearchSpace,
    data: Any,
    *,
    trials: int,
    epochs: int,
    seed: int,
    architectures: Sequence[Architecture] | None = None,
    max_images: int | None = None,
    loaders: int = 0,
) -> list[Trained]:
    """Searches for the front of accuracy and FLOPs; returns the trials that were trained, in their order.

    `data` is what `nas.load_data` takes, split by the same seed as there. With `architectures` exactly those are
    trained, in that order, and `trials` must be their number. A proposal above the space's `max_flops` is pruned
    before it is trained, and counts for nothing.
    """
    space = nas.load_space(space) if isinstance(space, str) else space
    images = nas.load_data(data, space.input, seed=seed, max_images=max_images)
    recipe = space.recipe.with_values(epochs=epochs).for_images(len(images.train.labels), images.input)
    module = Data(images, recipe, loaders=loaders)
    proposed: dict[int, Architecture] = {}

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        architecture = proposed[trial.number] = suggest(trial, space, len(images.classes))
        flops = count_flops(architecture)
        if space.max_flops is not None and flops > space.max_flops:
            raise optuna.TrialPruned
        return train(architecture, module, recipe, seed=seed), flops

    study = optuna.create_study(directions=["maximize", "minimize"], sampler=optuna.samplers.TPESampler(seed=seed))
    for architecture in architectures or ():
        study.enqueue_trial(space.point(architecture))
    whole = optuna.study.MaxTrialsCallback(trials, states=(TrialState.COMPLETE,))
    study.optimize(objective, callbacks=[whole])
    ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [
        Trained(proposed[trial.number], trial.values[0], trial.duration.total_seconds())
        for trial in ended
        if trial.duration is not None
    ]


def quiet() -> None:
    """Keeps the messages of Optuna and Lightning about each trial out of the output of this process."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")


def main() -> None:
    """Searches as the command line says, and prints the trials and the time."""
    parser = argparse.ArgumentParser(description="A search with Optuna and Lightning, written by hand.")
    parser.add_argument("space", help="a space's YAML file, or the name of a ready space")
    parser.add_argument("--data", default="digits", help="what nas.load_data takes")
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-images", type=int)
    parser.add_argument("--loaders", type=int, default=0, help="num_workers of the DataLoaders")
    options = vars(parser.parse_args())
    quiet()
    start = time.perf_counter()
    trained = search(options.pop("space"), options.pop("data"), **options)
    for number, trial in enumerate(trained):
        flops = nas.cost(trial.architecture).flops / 1e6
        print(
            f"{number:3}  {100 * trial.accuracy:6.2f} %  {flops:8.3f} MFLOPs  {trial.seconds:7.2f} s  "
            f"{trial.architecture.name}"
        )
    print(f"{len(trained)} trials in {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
