from collections.abc import Generator
from contextlib import suppress
from typing import Any

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where a test of the browser fails, the report says what the page shows."""
    report = yield
    page: Any = getattr(item, "funcargs", {}).get("page")
    if report.failed and page is not None:
        with suppress(Exception):  # it may be closed
            report.sections.append(("what the page shows", f"{page.url}\n{page.inner_text('body')}"))
    return report
