"""Writes a network as an ONNX model, for ONNX Runtime on any device."""

import copy
import logging
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from nas.architectures.architecture import Architecture
from nas.errors import MissingExtra

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from nas.architectures.network import GroupConvNet

__all__ = ["INPUT", "OUTPUT", "require_onnx", "traced", "write_onnx"]

INPUT, OUTPUT = "images", "logits"
"""Names of the model's input and output."""
OPSET = 18
NEEDS = ("onnx", "onnxruntime", "onnxscript")


def require_onnx() -> None:
    """Checks that ONNX models can be written.

    Raises:
        MissingExtra: the extra that is needed is not installed.
    """
    if not all(map(find_spec, NEEDS)):
        raise MissingExtra("the ONNX format", "export")


def write_onnx(network: "GroupConvNet", architecture: Architecture, path: Path) -> None:
    """Writes ONNX with each BatchNorm folded into its convolution: the same function with less computation.

    Args:
        network: the network, in evaluation mode and on the CPU.
        architecture: its architecture.
        path: the file to write.
    """
    import torch

    program = traced(_folded(network), architecture)
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it warns that torchvision is missing, which is not used
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # raised by torch about its own names
            onnx = torch.onnx.export(
                program,
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: "batch"},),
            )
    finally:
        logger.setLevel(level)
    assert onnx is not None  # it is None only for the older exporter
    for node in onnx.model.graph:
        node.metadata_props.clear()  # source locations in torch and in nas
    onnx.save(path, external_data=False)


def traced(network: "GroupConvNet", architecture: Architecture) -> "ExportedProgram":
    """Traces the network with torch.export for any batch size, dropping the example input and source paths."""
    import torch

    example = torch.zeros(2, architecture.input.channels, *architecture.input.sides)
    program = torch.export.export(network, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},), strict=False)
    program.example_inputs = None
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    return program


def _folded(network: "GroupConvNet") -> "GroupConvNet":
    """Returns a copy with each BatchNorm folded into its convolution."""
    from nas.architectures.network import fold

    network = copy.deepcopy(network)
    fold(network)
    return network
