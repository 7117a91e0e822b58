"""Waiting for what fails for a while, where each attempt is slow itself."""

import time

import pytest

from nas.system.patience import outlast


def _fails_slowly() -> None:
    time.sleep(1.2)
    raise TimeoutError("no answer")


def test_a_store_whose_attempts_are_slow_is_named_before_it_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING", "nas"), pytest.raises(TimeoutError):
        outlast(_fails_slowly, patience=4, passing=str, what="the store")
    assert caplog.messages == ["the store cannot be used (no answer); waiting for up to 4 s"]


def test_an_error_that_will_not_pass_is_raised_at_once(caplog: pytest.LogCaptureFixture) -> None:
    start = time.monotonic()
    with pytest.raises(TimeoutError):
        outlast(_fails_slowly, patience=60, passing=lambda error: None, what="the store")
    assert time.monotonic() - start < 10
    assert caplog.messages == []
