"""web_page(): generates `model.html`, a page that classifies images in any browser, without a server or a network.

The template is `templates/model.html`, which holds the program; the network, its weights included, is put into it as
JSON. As no browser is at hand when a bundle is written, the page verifies itself: whenever it is opened, it compares
its logits for a few images of noise with those of the trained network.
"""

import base64
import copy
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nas.architectures.architecture import Architecture
from nas.data.images import ImageData
from nas.exporters.tolerance import allowed

if TYPE_CHECKING:
    from nas.architectures.network import GroupConvNet

__all__ = ["web_page"]

TEMPLATE = Path(__file__).resolve().parent / "templates" / "model.html"
NETWORK = re.compile(r"^<!-- BEGIN:.*?^<!-- END -->\n", re.MULTILINE | re.DOTALL)
CHECKED, SEED = 2, 1
CLASSES_NAMED = 12


def web_page(
    network: "GroupConvNet", architecture: Architecture, images: ImageData, *, thresholds: Sequence[float] = ()
) -> str:
    """Returns the source of the page.

    Args:
        network: the network, in evaluation mode and on the CPU.
        architecture: its architecture.
        images: the images that it was trained with: the names of the classes and the normalisation.
        thresholds: the probability from which on each label is given; empty: an image has exactly one.
    """
    content = {
        "about": _about(architecture, images),
        "input": {"channels": architecture.input.channels, "sides": architecture.input.sides},
        "resize": images.resize,
        "classes": list(images.classes),
        "thresholds": list(thresholds),
        "mean": list(images.normalization.mean),
        "std": list(images.normalization.std),
        "stem": [{"width": conv.width, "stride": conv.stride} for conv in architecture.stem],
        "stages": [
            {"depth": stage.depth, "mid": stage.mid, "groups": stage.groups, "out": stage.out, "stride": stage.stride}
            for stage in architecture.stages
        ],
        "shortcuts": architecture.shortcuts,
        "check": _check(network, architecture, images),
        "weights": base64.b64encode(_weights(network).tobytes()).decode("ascii"),
    }
    text = json.dumps(content, ensure_ascii=False).replace("<", "\\u003c") + "\n"  # no name may end the script
    source, replaced = NETWORK.subn(lambda _: text, TEMPLATE.read_text(encoding="utf-8"))
    assert replaced == 1  # the template has exactly one such block
    return source


def noise(count: int, architecture: Architecture) -> NDArray[np.uint8]:
    """Returns images (count, channels, height, width) of the noise that the page makes, too.

    Its generator is the linear congruential one of Numerical Recipes, whose high bits are random enough.
    """
    shape = (count, architecture.input.channels, *architecture.input.sides)
    state, bytes_ = SEED, np.empty(int(np.prod(shape)), np.uint8)
    for place in range(len(bytes_)):
        state = (state * 1664525 + 1013904223) % 2**32
        bytes_[place] = state >> 24
    return bytes_.reshape(shape)


def _about(architecture: Architecture, images: ImageData) -> str:
    classes = images.classes
    kind = {1: "grey ", 3: "colour "}.get(architecture.input.channels, "")
    named = ", ".join(classes[:CLASSES_NAMED])
    more = f" and {len(classes) - CLASSES_NAMED} more" if len(classes) > CLASSES_NAMED else ""
    if images.is_multi_label:
        does = f"Says which of {len(classes)} labels {kind}images have, seen at {architecture.input} pixels"
    else:
        does = f"Sorts {kind}images, seen at {architecture.input} pixels, into {len(classes)} classes"
    return f"{does}: {named}{more}."


def _check(network: "GroupConvNet", architecture: Architecture, images: ImageData) -> dict[str, object]:
    import torch

    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in images.normalization)
    with torch.inference_mode():
        logits = network((torch.from_numpy(noise(CHECKED, architecture)) / 255 - mean) / std).numpy()
    return {"seed": SEED, "logits": logits.tolist(), "tolerance": allowed(logits)}


def _weights(network: "GroupConvNet") -> NDArray[np.float32]:
    """Returns all weights as the page reads them: of each convolution, then its bias; last those of the classifier."""
    from torch import nn

    from nas.architectures.network import GroupResBlock, fold

    network = copy.deepcopy(network)
    fold(network)
    chains = list(network.stem)
    for block in network.modules():
        if isinstance(block, GroupResBlock):
            chains += [block.reduce, block.grouped, block.expand, block.projection]
    layers = [*(chain[0] for chain in chains if isinstance(chain, nn.Sequential)), network.classifier]
    flat = [part.numpy().ravel() for layer in layers for part in layer.state_dict().values()]  # weight, then bias
    return np.concatenate(flat).astype("<f4")
