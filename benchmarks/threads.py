"""One CPU thread or all for small training steps: seconds per epoch, alone and beside a busy program."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from unittest.mock import patch

from nas import load_data, load_space
from nas.training.train import SMALL_STEP_FLOPS, on_device, train

REPEATS = 3


def measure() -> Iterator[tuple[str, list[float], str]]:
    """The digits' first architecture; with the limit for small steps at 0, all threads are used."""
    space = load_space("digits")
    architecture = space.architecture(next(space.points()))
    recipe = replace(space.recipe, epochs=1)
    data = on_device(load_data("digits", space.input), recipe, "cpu")
    for where, busy in (("alone", contextlib.nullcontext()), ("beside a busy program", _busy())):
        with busy:
            for threads, limit in ((1, SMALL_STEP_FLOPS), (os.cpu_count(), 0)):
                seconds = []
                for _ in range(REPEATS):
                    start = time.perf_counter()
                    with patch("nas.training.train.SMALL_STEP_FLOPS", limit):
                        train(architecture, data, recipe)
                    seconds.append(time.perf_counter() - start)
                yield f"{threads} thread(s), {where}", seconds, "s"


@contextlib.contextmanager
def _busy() -> Iterator[None]:
    """A program that wants a core for itself."""
    program = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        program.kill()
        program.wait()
