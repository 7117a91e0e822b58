"""Runs GPU work as one CUDA graph, so that small networks are bound by arithmetic, not by kernel launches.

A training step of a network of 1 to 50 M multiply–adds is hundreds of kernels, each of which takes longer to launch
from Python than to run. A graph is captured once and launches all of them together ("CUDA Graphs" in torch's notes on
CUDA semantics).
"""

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ClassVar

import torch
from torch import Tensor

from nas.system.hardware import CUDA_GRAPHS
from nas.system.logs import logger
from nas.system.memory import is_out_of_memory
from nas.validation import one_of

__all__ = ["WARM_UP_STEPS", "CapturedStep", "TimedReplay", "is_wanted"]

WARM_UP_STEPS = 3
"""Eager steps before the capture, in which the optimiser creates its state and libraries select their kernels."""


def is_wanted(device: torch.device) -> bool:
    """Returns whether to capture training steps on this device: it is a GPU, and `NAS_CUDA_GRAPHS` is not 0.

    Raises:
        InvalidValue: the environment variable is neither 0 nor 1.
    """
    return one_of(os.environ.get(CUDA_GRAPHS, "1"), CUDA_GRAPHS, ("0", "1")) == "1" and device.type == "cuda"


class CapturedStep:
    """Runs `step(rows)` eagerly three times, and then replays it as a CUDA graph.

    If a capture fails, this step and all later ones of the process run eagerly; the reason is logged once.

    Args:
        step: performs the same GPU operations at each call, never synchronises with the GPU, and draws random numbers
            only from `generator`. `rows` (B,) are indices on the GPU; B is the same at each call.
        generator: a generator on the GPU. Each replay advances its state, as an eager step would.
    """

    failed: ClassVar[bool] = False

    def __init__(self, step: Callable[[Tensor], None], generator: torch.Generator) -> None:
        self._step, self._generator = step, generator
        self._stream = torch.cuda.Stream(generator.device)  # type: ignore[no-untyped-call]
        self._eager_steps, self._is_closed = 0, False
        self._graph: torch.cuda.CUDAGraph | None = None
        self._rows: Tensor | None = None

    @property
    def is_captured(self) -> bool:
        """Whether the next call replays the graph."""
        return self._graph is not None

    @contextmanager
    def on_its_stream(self) -> Iterator[None]:
        """Provides the stream to call steps on: capture needs a non-default one, the same as for the warm-up."""
        outside = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(outside)
        try:
            with torch.cuda.stream(self._stream):
                yield
        finally:
            outside.wait_stream(self._stream)

    def __call__(self, rows: Tensor) -> None:
        """Runs one step.

        Raises:
            torch.OutOfMemoryError: the GPU's memory is too small for an eager step or for its capture.
        """
        if self._eager_steps == WARM_UP_STEPS and not (self._graph or self._is_closed or CapturedStep.failed):
            self._capture(rows)
        if self._graph is None or self._rows is None:
            self._step(rows)
            self._eager_steps += 1
        else:
            self._rows.copy_(rows)
            self._graph.replay()

    def close(self) -> None:
        """Returns the graph's memory to torch's cache. Later steps run eagerly."""
        if self._graph is not None:
            self._graph.reset()
        self._graph = self._rows = None
        self._is_closed = True

    def _capture(self, rows: Tensor) -> None:
        """Captures a step without running it."""
        static, drawn = rows.clone(), self._generator.get_state()
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self._generator)  # automatic only since torch 2.12
        collecting = gc.isenabled()
        gc.disable()  # garbage may hold another graph, and destroying that would break the capture
        try:
            # thread_local: CUDA calls from other threads of this process are no error.
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                self._step(static)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            CapturedStep.failed = True
            logger.warning("training steps are not captured as CUDA graphs: %s", str(error).partition("\n")[0])
            # The failed capture left the generator's state in capture mode: replace it with the state from before.
            renewed = torch.Generator(self._generator.device)
            renewed.set_state(drawn)
            self._generator.graphsafe_set_state(renewed)
        else:
            self._graph, self._rows = graph, static
        finally:
            if collecting:
                gc.enable()


class TimedReplay:
    """Captures `run` as a CUDA graph; each call replays it and returns its GPU time in milliseconds.

    `run` must read and write the same memory at each call, and must not synchronise with the GPU.
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
        """Replays the graph and returns its GPU time in milliseconds."""
        self._graph.replay()  # while this runs the timed replay is launched, so that no launch gap is timed
        self._begin.record()
        self._graph.replay()
        self._end.record()
        self._end.synchronize()
        return float(self._begin.elapsed_time(self._end))
