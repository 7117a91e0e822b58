"""A cable that delays and loses: python -m tests.faults.slow_line DEVICE DEVICE SECONDS LOSS.

It makes two network devices (TAP), and hands each Ethernet frame that enters one of them to the other after SECONDS,
but for a share LOSS that it drops. `tc qdisc add … netem` does that where the kernel has it.
"""

import fcntl
import heapq
import itertools
import os
import random
import select
import struct
import sys
import time

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
"""From linux/if_tun.h."""
LARGEST_FRAME = 65536


def device(name: str) -> int:
    """Makes a network device, which lasts as long as the returned file descriptor is open."""
    opened = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(opened, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TAP | IFF_NO_PI))
    return opened


def main() -> None:
    """Passes frames on until it is killed."""
    ends = [device(name) for name in sys.argv[1:3]]
    seconds, loss = map(float, sys.argv[3:])
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    other = dict(zip(ends, reversed(ends), strict=True))
    under_way: list[tuple[float, int, int, bytes]] = []
    numbers = itertools.count()
    while True:
        wait = max(under_way[0][0] - time.monotonic(), 0.0) if under_way else None
        for end in select.select(ends, [], [], wait)[0]:
            frame = os.read(end, LARGEST_FRAME)
            if random.random() >= loss:
                heapq.heappush(under_way, (time.monotonic() + seconds, next(numbers), other[end], frame))
        while under_way and under_way[0][0] <= time.monotonic():
            *_, end, frame = heapq.heappop(under_way)
            try:
                os.write(end, frame)
            except OSError:  # the device is down: nobody hears it
                continue


if __name__ == "__main__":
    main()
