"""A trial compared with a hand-written loop over the same tensors: seconds per epoch, and their ratio."""

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F

from nas import Architecture, Recipe, build_network, load_data, load_space
from nas.data.images import ImageData, Split
from nas.training.augmentation import Augmentation
from nas.training.batches import DeviceData
from nas.training.module import one_cycle
from nas.training.train import on_device, threads_for, train

REPEATS = 5


def by_hand(architecture: Architecture, data: DeviceData, recipe: Recipe) -> list[float]:
    """What one would write for this one network without a framework; returns the curve."""
    torch.manual_seed(0)
    network = build_network(architecture).to(data.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=recipe.weight_decay, fused=True)
    generator = torch.Generator(data.device).manual_seed(0)
    size = min(recipe.batch_size, len(data.train))
    steps, step, curve = recipe.epochs * (len(data.train) // size), 0, []
    half = data.device.type == "cuda"
    augmentation = Augmentation(recipe, classes=architecture.classes)
    for _ in range(recipe.epochs):
        network.train()
        for rows in data.train.shuffled(size, generator):
            optimizer.param_groups[0]["lr"] = recipe.learning_rate * one_cycle(step / steps, recipe.warmup)
            images, labels = data.train.augmented(rows, augmentation=augmentation, generator=generator)
            with torch.autocast(data.device.type, torch.bfloat16, enabled=half):
                loss = F.cross_entropy(network(images), labels, label_smoothing=recipe.label_smoothing)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            step += 1
        network.eval()
        right = 0
        with torch.inference_mode(), torch.autocast(data.device.type, torch.bfloat16, enabled=half):
            for part in data.validation.in_order(256):
                images, labels = data.validation.plain(part)
                right += int((network(images).argmax(1) == labels).sum())
        curve.append(right / len(data.validation))
    return curve


def measure() -> Iterator[tuple[str, list[float], str]]:
    """A small network of the digits, where calls cost more than arithmetic, and a ResNeXt-29-like one."""
    digits = load_space("digits")
    small = digits.architecture(next(digits.points()))
    yield from _pair("small, digits", small, load_data("digits", digits.input), replace(digits.recipe, epochs=5))
    resnext = load_space("resnext29")
    rng = np.random.default_rng(0)
    noise = Split(rng.integers(0, 256, (128, 32, 32, 3), dtype=np.uint8), rng.integers(0, 10, 128))
    recipe = Recipe(epochs=1, batch_size=32, crop_padding=4, flip=True)
    images = ImageData("noise", tuple("0123456789"), noise, noise, noise)
    lean = resnext.architecture(next(resnext.with_changes(max_flops=resnext.least_cost[0]).affordable()))
    yield from _pair("smallest of resnext29, 128 images", lean, images, recipe)


def _pair(
    name: str, architecture: Architecture, images: ImageData, recipe: Recipe
) -> Iterator[tuple[str, list[float], str]]:
    data = on_device(images, recipe)
    train(architecture, data, recipe)  # warms up
    ours, theirs = [], []
    for _ in range(REPEATS):
        start = time.perf_counter()
        curve = list(train(architecture, data, recipe).curve)
        ours.append((time.perf_counter() - start) / recipe.epochs)
        start = time.perf_counter()
        with threads_for(architecture, recipe):
            assert by_hand(architecture, data, recipe) == curve or data.device.type == "cuda"
        theirs.append((time.perf_counter() - start) / recipe.epochs)
    yield f"{name}: `nas.training.train`", ours, "s"
    yield f"{name}: by hand", theirs, "s"
    yield f"{name}: ratio", [a / b for a, b in zip(ours, theirs, strict=True)], ""
