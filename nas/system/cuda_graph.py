"""Work on a GPU as one CUDA graph, so that small networks wait for arithmetic, not for launches.

A step of a network of 1 to 50 M multiply–adds is some hundreds of kernels, each of which takes longer to launch from
Python than to run. A graph is captured once and launches all of them together ("CUDA Graphs" in torch's notes on CUDA
semantics).
"""

import gc
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ClassVar

import torch
from torch import Tensor

from nas.system.hardware import CUDA_GRAPHS
from nas.system.memory import is_out_of_memory
from nas.validation import one_of

__all__ = ["WARM_UP_STEPS", "CapturedStep", "TimedReplay", "is_wanted"]

WARM_UP_STEPS = 3
"""Eager steps before the capture, in which the optimiser makes its state and libraries choose their kernels."""

logger = logging.getLogger("nas")


def is_wanted(device: torch.device) -> bool:
    """Whether training steps on this device are to be captured.

    Raises:
        InvalidValue: the environment variable is neither 0 nor 1.
    """
    return one_of(os.environ.get(CUDA_GRAPHS, "0"), CUDA_GRAPHS, ("0", "1")) == "1" and device.type == "cuda"


class CapturedStep:
    """Calls `step(rows)` three times, and then replays it as a CUDA graph.

    Args:
        step: does the same operations on the GPU at each call, never waits for the GPU, and draws random numbers from
            `generator` alone. `rows` (B,) are indices on the GPU; B is the same at each call.
        generator: of the GPU. Each replay draws on from where it stands, as an eager step would.

    Where a capture fails, this step and all later ones of the process run eagerly; the reason is logged once.
    """

    failed: ClassVar[bool] = False

    def __init__(self, step: Callable[[Tensor], None], generator: torch.Generator) -> None:
        self._step, self._generator = step, generator
        self._stream = torch.cuda.Stream(generator.device)  # type: ignore[no-untyped-call]
        self._eager_steps = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._rows: Tensor | None = None

    @property
    def is_captured(self) -> bool:
        """Whether the next call replays the graph."""
        return self._graph is not None

    @contextmanager
    def on_its_stream(self) -> Iterator[None]:
        """The steps are called in here: a graph cannot be captured on the default stream, nor far from its warm-up."""
        outside = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(outside)
        try:
            with torch.cuda.stream(self._stream):
                yield
        finally:
            outside.wait_stream(self._stream)

    def __call__(self, rows: Tensor) -> None:
        """One step.

        Raises:
            torch.OutOfMemoryError: the GPU's memory is too small, for the capture as well as for an eager step.
        """
        if self._graph is None and self._eager_steps == WARM_UP_STEPS and not CapturedStep.failed:
            self._capture(rows)
        if self._graph is None or self._rows is None:
            self._step(rows)
            self._eager_steps += 1
        else:
            self._rows.copy_(rows)
            self._graph.replay()

    def close(self) -> None:
        """Gives the graph's memory back to torch's cache. Steps after it are eager."""
        if self._graph is not None:
            self._graph.reset()
        self._graph = self._rows = None

    def _capture(self, rows: Tensor) -> None:
        """Records a step; runs nothing."""
        static, drawn = rows.clone(), self._generator.get_state()
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self._generator)  # by itself only since torch 2.12
        collecting = gc.isenabled()
        gc.disable()  # garbage may hold another graph, and destroying one breaks a capture
        try:
            # thread_local: what other threads of this process do meanwhile is no error.
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                self._step(static)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            CapturedStep.failed = True
            logger.warning("training steps are not captured as CUDA graphs: %s", str(error).partition("\n")[0])
            # The broken capture has left the generator's state in capture mode: give it another one, as it was before.
            renewed = torch.Generator(self._generator.device)
            renewed.set_state(drawn)
            self._generator.graphsafe_set_state(renewed)
        else:
            self._graph, self._rows = graph, static
        finally:
            if collecting:
                gc.enable()


class TimedReplay:
    """What a function does on a GPU as a CUDA graph; a call replays it and returns the milliseconds that it took there.

    The function reads and writes the same memory at each call, and does not wait for the GPU.
    """

    def __init__(self, run: Callable[[], object], device: torch.device) -> None:
        self._graph = torch.cuda.CUDAGraph()
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP_STEPS):
                run()
        torch.cuda.current_stream(device).wait_stream(stream)
        with torch.cuda.graph(self._graph, stream=stream):
            run()
        self._begin, self._end = (
            torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            for _ in range(2)
        )

    def __call__(self) -> float:
        """Milliseconds of one replay."""
        self._graph.replay()  # while it runs what follows is launched, so that no gap is timed
        self._begin.record()
        self._graph.replay()
        self._end.record()
        self._end.synchronize()
        return float(self._begin.elapsed_time(self._end))
