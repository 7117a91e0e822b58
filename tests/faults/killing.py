"""A search in a process that may be killed at any moment, and what must be true of its study afterwards."""

import io
import json
import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from nas import Study, TrialRecord
from nas.system.processes import METHOD

PATIENCE = 120.0
"""Nothing that is waited for takes so many seconds, on a machine however busy."""


def started(arguments: Sequence[str]) -> Any:
    """`nas ARGUMENTS` in a process of its own, forked from one that has imported what it needs."""
    return forked(_live, list(arguments))


def forked(target: Callable[..., None], *arguments: Any) -> Any:
    """A process that does this, forked from one that has imported what searches need, and so quick to begin."""
    context: Any = multiprocessing.get_context(METHOD)
    context.set_forkserver_preload(["nas.workflows.search", "nas.training.train", "nas.cli.main"])
    process = context.Process(target=target, args=arguments)
    process.start()
    return process


def _live(arguments: list[str]) -> None:
    from nas.cli import main as cli
    from nas.training import checkpoint

    os.setsid()  # so that all of it can be killed at once
    checkpoint.SECONDS_BEFORE_FIRST, checkpoint.SHARE_OF_TIME = 0.0, 1e9  # every epoch is kept
    output = os.open(os.devnull, os.O_WRONLY)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.argv[1:] = arguments
    cli.main()


def until(condition: Callable[[], bool]) -> None:
    """Waits for it."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it has not come to be"
        time.sleep(0.005)


def kill(pid: int, *, group: bool = False) -> None:
    """At once, with no chance to put anything in order."""
    with suppress(ProcessLookupError):
        (os.killpg if group else os.kill)(pid, signal.SIGKILL)


def wait_a_moment(chance: random.Random, most: float) -> None:
    """A random while: whatever a process is at then is what a kill hits."""
    time.sleep(chance.uniform(0.0, most))


def finished(study: Study) -> dict[int, TrialRecord]:
    """What must never change again."""
    return {record.trial: record for record in study.records() if record.finished}


def results(study: Study) -> list[tuple[Any, ...]]:
    """What the finished trainings gave, in order, and nothing of when and where."""
    return [
        (record.name, record.state, record.length, record.accuracy, record.curve, record.reason)
        for record in study.records()
        if record.finished
    ]


def check_whole(study: Study, *, weights: bool = True) -> None:
    """Nothing runs or waits for ever; nothing that was left half-done lies about; Optuna's own tools open it."""
    assert {record.state for record in study.records()} <= {"complete", "short", "stopped", "failed"}
    left = [file.name for file in (study.folder / "artifacts").iterdir()]
    assert not [name for name in left if name.startswith("checkpoint-")]
    assert all(study.weights_file(record.trial).is_file() == weights for record in study.front())
    if study.storage is None:
        assert opens_in_optuna_dashboard(study.folder / "journal.log") == len(study.optuna_study.trials)


def opens_in_optuna_dashboard(journal: Path) -> int:
    """How many trials optuna-dashboard serves of a journal."""
    import optuna
    import optuna_dashboard
    from optuna.storages.journal import JournalFileBackend

    app = optuna_dashboard.wsgi(optuna.storages.JournalStorage(JournalFileBackend(str(journal))))

    def get(path: str) -> Any:
        said: list[str] = []
        environ = {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": path,
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "80",
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(),
            "wsgi.errors": sys.stderr,
        }
        body = b"".join(app(environ, lambda status, headers, *_: said.append(status)))
        assert said[0].startswith("200"), body
        return json.loads(body)

    [study] = get("/api/studies")["study_summaries"]
    return len(get(f"/api/studies/{study['study_id']}")["trials"])
