"""Reliability of a search's scores: the front's members retrained from scratch on three seeds, then tested.

Searches of the digits' space; each line is over the searches. Points are hundredths of accuracy.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

import nas
from nas.analysis.confirmation import ConfirmationReport
from nas.study.records import TrialRecord
from nas.workflows.confirm import confirm

SEARCHES, TRIALS, SEEDS = 5, 24, 3


def measure() -> Iterator[tuple[str, list[float], str]]:
    """For each search the mean over what was confirmed."""
    found: list[tuple[list[TrialRecord], ConfirmationReport]] = []
    with tempfile.TemporaryDirectory() as runs:
        for seed in range(SEARCHES):
            study = nas.search("digits", trials=TRIALS, seed=seed, name=str(seed), runs=Path(runs), device="cpu")
            found.append((study.front(), confirm(study, seeds=SEEDS, test=True, device="cpu")))
        yield "architectures confirmed", [float(len(each.members)) for _, each in found], ""
        yield "of the search's front", [float(len(front)) for front, _ in found], ""
        yield "of these on the front of the confirmed means", [_stayed(front, each) for front, each in found], ""
        yield (
            "score less confirmed mean, the search's front",
            [_optimism(each, front) for front, each in found],
            "points",
        )
        yield "score less confirmed mean, all confirmed", [_optimism(each) for _, each in found], "points"
        yield "standard deviation over seeds", [_spread(each) for _, each in found], "points"
        yield "confirmed mean less test accuracy, winners", [_to_test(each) for _, each in found], "points"


def _stayed(front: list[TrialRecord], found: ConfirmationReport) -> float:
    members = [found.of(record.architecture) for record in front]
    return float(sum(member is not None and member.on_front for member in members))


def _optimism(found: ConfirmationReport, front: list[TrialRecord] | None = None) -> float:
    trials = {record.trial for record in front} if front is not None else None
    members = [member for member in found.members if trials is None or member.record.trial in trials]
    return 100 * fmean(member.optimism or 0.0 for member in members)


def _spread(found: ConfirmationReport) -> float:
    return 100 * fmean(member.validation.std or 0.0 for member in found.members)


def _to_test(found: ConfirmationReport) -> float:
    return 100 * fmean(member.validation.mean - member.test.mean for member in found.members if member.test)
