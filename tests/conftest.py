import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from nas.data.loading import load_data
from nas.spaces.search_space import SearchSpace
from tests.helpers import TINY, Ran

SLOW = {"faults", "test_browser.py", "test_databases.py", "test_ray_pool.py", "test_package.py"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole files of slow tests are marked here, single ones where they stand; `make test` leaves them out."""
    for item in items:
        if SLOW & {*item.path.parts}:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the cache of the person who runs it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hf")))
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(autouse=True, scope="session")
def _answers_ctrl_c() -> None:
    """A background job of a shell ignores SIGINT, one of nohup SIGHUP, and so would every program that tests start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def _own_main() -> Iterator[None]:
    """Streamlit's AppTest leaves its page as the main program, which worker processes would then import."""
    main = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = main


@pytest.fixture
def tiny() -> SearchSpace:
    """A space of 8×8 grey images whose networks train in well under a second; not all its pairs are valid."""
    return SearchSpace.from_dict(TINY)


@pytest.fixture
def nas_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Runs `nas ARGS` in this process, as the terminal would."""
    from nas.cli.main import main

    def run(*args: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["nas", *map(str, args)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exited:
            main()
        out, err = capsys.readouterr()
        return Ran(int(exited.value.code or 0), out, err)

    return run


@pytest.fixture(scope="session")
def digits() -> Any:
    return load_data("digits", SearchSpace.from_dict(TINY).input)
