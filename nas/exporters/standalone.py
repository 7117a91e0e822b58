"""standalone_source(): an architecture → the source of `model.py`, which runs it with torch alone.

The program is `templates/model.py`, a module like any other, which is checked as all code is; the numbers of the one
network stand in place of the example's.
"""

import re
from pathlib import Path

from nas.architectures.architecture import Architecture

__all__ = ["standalone_source"]

TEMPLATE = Path(__file__).resolve().parent / "templates" / "model.py"
NUMBERS = re.compile(r"^# BEGIN:.*?^# END\n", re.MULTILINE | re.DOTALL)


def standalone_source(architecture: Architecture) -> str:
    """A program for this one network, its widths written out in it.

    It reads `model.safetensors`, `labels.json` and `preprocessing.json` in its own folder.
    """
    source, replaced = NUMBERS.subn(lambda _: _numbers(architecture), TEMPLATE.read_text(encoding="utf-8"))
    assert replaced == 1  # the template has the one place
    return source


def _numbers(architecture: Architecture) -> str:
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
    )
