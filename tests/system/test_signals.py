import signal
import subprocess
import sys

import pytest

IN_A_FINALIZER = """
import time

from nas.system.signals import interrupt_on_sigterm, interruptible


class Slow:
    def __del__(self):
        print("in the finalizer", flush=True)
        for _ in range(50):
            time.sleep(0.01)


def work():
    Slow()
    time.sleep(60)


try:
    {how}
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize("how", ["interrupt_on_sigterm(), work()", "with interruptible(): work()"])
def test_an_interrupt_that_arrives_in_a_finalizer_is_not_lost(how: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", IN_A_FINALIZER.format(how=how)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "in the finalizer\n"
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    assert (out, err, process.returncode) == ("interrupted\n", "", 0)
