"""standalone_source(): generates the source of `model.py`, which runs an architecture with only torch installed.

The template is `templates/model.py`, an ordinary module that is linted and type-checked like the rest of the code; its
example's numbers are replaced by those of the network.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from nas.architectures.architecture import Architecture

__all__ = ["standalone_source"]

TEMPLATE = Path(__file__).resolve().parent / "templates" / "model.py"
NUMBERS = re.compile(r"^# BEGIN:.*?^# END\n", re.MULTILINE | re.DOTALL)


def standalone_source(architecture: Architecture, thresholds: Sequence[float] = ()) -> str:
    """Returns the source of a program for a single network, with its widths hard-coded.

    The program reads `model.safetensors`, `labels.json` and `preprocessing.json` from its own folder.

    Args:
        architecture: the network's architecture.
        thresholds: the probability from which on each label is given; empty: an image has exactly one.
    """
    source, replaced = NUMBERS.subn(lambda _: _numbers(architecture, thresholds), TEMPLATE.read_text(encoding="utf-8"))
    assert replaced == 1  # the template has exactly one such block
    return source


def _numbers(architecture: Architecture, thresholds: Sequence[float]) -> str:
    stem = [f"    StemConv(width={conv.width}, stride={conv.stride}),\n" for conv in architecture.stem]
    stages = [
        f"    Stage(depth={stage.depth}, mid={stage.mid}, groups={stage.groups}, out={stage.out}, "
        f"stride={stage.stride}),\n"
        for stage in architecture.stages
    ]
    return (
        f"# {architecture.name}\n"
        f"CHANNELS, CLASSES = {architecture.input.channels}, {architecture.classes}\n"
        f"STEM = [\n{''.join(stem)}]\n"
        f"STAGES = [\n{''.join(stages)}]\n"
        f'SHORTCUTS = "{architecture.shortcuts}"\n'
        f"THRESHOLDS: list[float] = {[*thresholds]}\n"
    )
