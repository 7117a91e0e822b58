"""LiteRT (TensorFlow Lite): writes and reads the format that phones and small boards run."""

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from nas.errors import MissingExtra

if TYPE_CHECKING:
    from torch import Tensor

    from nas.architectures.architecture import Architecture
    from nas.architectures.network import GroupConvNet

__all__ = ["load_litert", "require_litert", "write_litert"]

NEEDS = ("litert_torch", "ai_edge_litert")


def require_litert() -> None:
    """Checks that LiteRT models can be written and run.

    Raises:
        MissingExtra: the extra that is needed is not installed.
    """
    if not all(map(find_spec, NEEDS)):
        raise MissingExtra("the LiteRT format", "litert")


def write_litert(network: "GroupConvNet", architecture: "Architecture", path: Path) -> None:
    """Writes a LiteRT model of one input, images (N, channels, height, width), and one output, logits (N, classes).

    N is any number: XNNPACK, which runs such models on phones, refuses some batches of models with a fixed one.
    """
    with _silenced(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import litert_torch
        import torch

        example = torch.zeros(2, architecture.input.channels, *architecture.input.sides)
        batch = torch.export.Dim("batch")
        model = litert_torch.convert(network, (example,), dynamic_shapes=({0: batch},))
        model.export(str(path))


@contextmanager
def _silenced() -> Iterator[None]:
    """Discards the converter's progress and its libraries' greetings, which are not written by Python alone."""
    sys.stdout.flush()
    kept = [(stream, os.dup(stream)) for stream in (1, 2)]
    with Path(os.devnull).open("wb") as nowhere:
        for stream, _ in kept:
            os.dup2(nowhere.fileno(), stream)
    try:
        yield
    finally:
        sys.stdout.flush()
        for stream, copy in kept:
            os.dup2(copy, stream)
            os.close(copy)


def load_litert(path: Path) -> Callable[["Tensor"], "Tensor"]:
    """Returns a LiteRT model as a function from images to logits; it runs on one thread."""
    import torch
    from ai_edge_litert.interpreter import Interpreter

    model = Interpreter(model_path=str(path), num_threads=1)
    given, found = model.get_input_details()[0]["index"], model.get_output_details()[0]["index"]

    def run(images: "Tensor") -> "Tensor":
        model.resize_tensor_input(given, list(images.shape))
        model.allocate_tensors()
        model.set_tensor(given, images.contiguous().numpy())
        model.invoke()
        return torch.from_numpy(model.get_tensor(found))

    return run
