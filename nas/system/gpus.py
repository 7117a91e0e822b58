"""Queries the GPUs of this machine from a short-lived process.

Querying a GPU's free memory initialises CUDA, which occupies some hundred MiB of it until the process exits and bars
forked children from using CUDA. The search's own process avoids both.
"""

import multiprocessing
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from nas.errors import InvalidValue
from nas.system.hardware import gpu_count
from nas.system.processes import METHOD, prepare

__all__ = ["Gpu", "gpus"]


class Gpu(NamedTuple):
    """A GPU that torch can use: free and total memory in bytes, bfloat16 support, and its `device_id`."""

    name: str
    free: int
    total: int
    bfloat16: bool
    id: str


def gpus() -> tuple[Gpu, ...]:
    """Returns the GPUs that torch can use, in torch's order; none without a GPU.

    Raises:
        InvalidValue: there are GPUs, but they cannot be used.
    """
    if gpu_count() == 0:
        return ()
    prepare()
    context: Any = multiprocessing.get_context(METHOD)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_look, args=(sender,), name="nas gpus")
    process.start()
    sender.close()
    try:
        found: tuple[Gpu, ...] | str = receiver.recv()
    except EOFError:
        found = "the process that looked at it ended"
    finally:
        process.join()
    if isinstance(found, str) or not found:
        raise InvalidValue(f"device='cuda': the GPU cannot be used ({found or 'torch finds none'}); allowed: cpu")
    return found


def _look(sender: Connection) -> None:
    import torch

    from nas.system.hardware import device_id

    try:
        half = torch.cuda.is_bf16_supported(including_emulation=False)
        devices = [torch.device("cuda", number) for number in range(torch.cuda.device_count())]
        sender.send(
            tuple(
                Gpu(torch.cuda.get_device_name(device), *torch.cuda.mem_get_info(device), half, device_id(device))
                for device in devices
            )
        )
    except Exception as error:  # from the driver, reported verbatim
        sender.send(str(error) or type(error).__name__)
