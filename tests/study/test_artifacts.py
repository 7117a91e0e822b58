import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nas
from nas import SearchSpace, Study
from nas.errors import ExportError
from nas.study.artifacts import STALE_SECONDS, remove_stale_files
from tests.helpers import formula


class WithWeights:
    """What a training gives, with weights of some bytes."""

    def __init__(self, accuracy: float) -> None:
        import torch

        self.accuracy, self.weights = accuracy, {"weight": torch.zeros(8)}
        self.confusion = np.eye(2, dtype=np.int64)


def trained(architecture: Any, report: Any) -> Any:
    return WithWeights(formula(architecture, report))


def kept(study: Study) -> set[int]:
    return {record.trial for record in study.records() if study.weights_file(record.trial).is_file()}


def search(space: SearchSpace, runs: Path, **more: Any) -> Study:
    return nas.search(space, runs=runs, name="s", evaluate=trained, **{"trials": 12, **more})


def test_weights_are_kept_of_what_nothing_beats_on_accuracy_cost_and_parameters(
    tmp_path: Path, tiny: SearchSpace
) -> None:
    study = search(tiny, tmp_path, trials=20)
    records = study.records()
    points = {record.trial: (-(record.accuracy or 0), record.flops, record.params) for record in records}
    unbeaten = {
        trial
        for trial, mine in points.items()
        if not any(all(a <= b for a, b in zip(other, mine, strict=True)) and other != mine for other in points.values())
    }
    assert kept(study) == unbeaten
    assert {record.trial for record in study.front()} <= unbeaten
    assert len(unbeaten) < 20
    assert all(study.confusion_file(record.trial).is_file() for record in records)


def test_what_no_limit_may_pick_is_what_goes(tmp_path: Path, tiny: SearchSpace) -> None:
    from nas.analysis.requirements import Requirements
    from nas.analysis.selection import choose

    study = search(tiny, tmp_path, trials=20)
    for record in study.records():
        for wanted in (Requirements(max_flops=record.flops), Requirements(max_params=record.params)):
            assert choose(study, wanted).pick.record.trial in kept(study)


@pytest.mark.parametrize(("keep", "count"), [("all", 12), ("none", 0)])
def test_all_weights_are_kept_or_none(tmp_path: Path, tiny: SearchSpace, keep: str, count: int) -> None:
    study = search(tiny, tmp_path, keep=keep)
    assert len(kept(study)) == count
    assert len(kept(search(tiny, tmp_path, trials=13))) == (13 if keep == "all" else 0)  # as it was searched before


def test_what_is_not_kept_is_exported_no_more_and_the_line_says_what_to_do(tmp_path: Path, tiny: SearchSpace) -> None:
    study = search(tiny, tmp_path, keep="none")
    with pytest.raises(ExportError, match=r"has no weights.*--keep.*nas train STUDY:TRIAL retrains it"):
        nas.export(study, tmp_path / "out", trial=0)


def test_what_killed_processes_have_left_is_cleared_before_a_search(tmp_path: Path, tiny: SearchSpace) -> None:
    study = search(tiny, tmp_path, keep="all", trials=2)
    folder = study.weights_file(0).parent
    new, old = folder / "trial-00007.safetensors.1.partial", folder / "trial-00008.safetensors.2.partial"
    worker = study.folder / "workers" / "worker-gone"
    unwanted = folder / "checkpoint-0123456789abcdef.safetensors"
    for file in (new, old, unwanted, worker):
        file.parent.mkdir(exist_ok=True)
        file.touch()
    for file in (old, worker):
        os.utime(file, (0, time.time() - 2 * STALE_SECONDS))
    remove_stale_files(study)
    assert new.exists()
    assert not any(file.exists() for file in (old, unwanted, worker))
    assert kept(study) == {0, 1}


def test_the_weights_of_a_trial_that_was_not_told_are_cleared(tmp_path: Path, tiny: SearchSpace) -> None:
    def stop(architecture: Any, report: Any) -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        nas.search(tiny, runs=tmp_path, name="s", evaluate=stop, trials=2)
    study = Study.open("s", tmp_path)
    study.weights_file(0).touch()
    search(tiny, tmp_path, trials=2)
    assert not study.weights_file(0).exists()
    assert next((record.state, record.reason) for record in study.records()) == ("failed", "interrupted")
