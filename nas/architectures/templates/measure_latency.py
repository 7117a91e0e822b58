"""Measures ONNX models on the device that runs it; needs Python 3.8 and onnxruntime.

nas/architectures/latency_elsewhere.py sends it with the models; the last line that it prints is its result as JSON.
"""

import base64
import json
import platform
import statistics
import sys
import time
from pathlib import Path

ROUNDS, SECONDS_PER_ROUND, RUNS_PER_ROUND = 5, 0.05, 3
WARM_UP_RUNS = 3
MODEL_FILE, CPU_FILE = Path("/proc/device-tree/model"), Path("/proc/cpuinfo")


def main(models: "list[str]") -> None:
    """Prints the device's name, and the median milliseconds that each model (base64) takes for one image.

    The models are measured in turn, in rounds, so that a device that heats up affects all alike.
    """
    try:
        import numpy as np
        import onnxruntime
    except ImportError as error:
        sys.exit(f"{error.name} is not installed there: python3 -m pip install onnxruntime")
    sessions, images = [], []
    for model in models:
        session = onnxruntime.InferenceSession(base64.b64decode(model), providers=["CPUExecutionProvider"])
        shape = [1 if isinstance(length, str) else length for length in session.get_inputs()[0].shape]
        sessions.append(session)
        images.append({session.get_inputs()[0].name: np.zeros(shape, np.float32)})
    times = [[] for _ in sessions]  # type: list[list[float]]
    for session, image in zip(sessions, images):  # noqa: B905  # strict= needs a newer Python
        for _ in range(WARM_UP_RUNS):
            session.run(None, image)
    for _ in range(ROUNDS):
        for session, image, found in zip(sessions, images, times):  # noqa: B905
            session.run(None, image)  # the others evicted its weights from the caches
            begun, runs = time.perf_counter(), 0
            while runs < RUNS_PER_ROUND or time.perf_counter() - begun < SECONDS_PER_ROUND:
                start = time.perf_counter()
                session.run(None, image)
                found.append(1000 * (time.perf_counter() - start))
                runs += 1
    device = f"{platform.node()}, {processor()}, onnxruntime {onnxruntime.__version__}"
    result = {"device": device, "milliseconds": [statistics.median(found) for found in times]}
    print(json.dumps(result))  # noqa: T201


def processor() -> str:
    """The name of the board or the processor, as far as the system tells."""
    if MODEL_FILE.is_file():
        return MODEL_FILE.read_text().strip("\0\n ")
    lines = CPU_FILE.read_text().splitlines() if CPU_FILE.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith(("model name", "Model"))]
    return names[0] if names else platform.processor() or platform.machine()
