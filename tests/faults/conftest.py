"""What the tests of faults share: a tally of what was done on purpose, which a run prints at its end."""

from collections import Counter
from collections.abc import Callable

import pytest

TALLIED: Counter[str] = Counter()


@pytest.fixture
def tally() -> Callable[[str, int], None]:
    """`tally("kills survived", 3)`: adds to what the summary of the run says."""

    def add(what: str, number: int) -> None:
        TALLIED[what] += number

    return add


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TALLIED:
        terminalreporter.section("faults")
        for what, number in sorted(TALLIED.items()):
            terminalreporter.write_line(f"{number:>9,} {what}")
