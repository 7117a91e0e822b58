from dataclasses import replace

import numpy as np
import pytest

from nas import SearchSpace, TrialRecord
from nas.analysis.convergence import extrapolate, has_converged, history
from nas.study.records import TrialState
from tests.analysis.test_selection import trial

EPOCHS = 2  # of the tiny space's recipe


def trials(space: SearchSpace, accuracies: list[float], seconds: float = 10.0) -> list[TrialRecord]:
    """Of one architecture, so that the hypervolume grows with the best accuracy alone."""
    return [
        replace(trial(space, number, accuracy), seconds=seconds, ended=float(number))
        for number, accuracy in enumerate(accuracies)
    ]


def test_short_trainings_raise_the_hypervolume_too_but_stopped_ones_do_not(tiny: SearchSpace) -> None:
    [first, second, third] = trials(tiny, [0.5, 0.9, 0.9])
    short = replace(second, state=TrialState.SHORT, length=1)
    stopped = replace(third, state=TrialState.STOPPED, accuracy=None, reason="at_chance", curve=(0.1,))
    past = history([first, short, stopped], tiny)
    assert past.epochs == [2, 3, 4]
    assert past.hypervolume[0] < past.hypervolume[1] == past.hypervolume[2]
    assert history([first, second], tiny).hypervolume == past.hypervolume[:2]


def test_a_search_has_settled_when_the_last_epochs_brought_next_to_nothing(tiny: SearchSpace) -> None:
    rising = trials(tiny, [0.5, 0.6, 0.7, 0.8])
    assert not has_converged(rising, tiny, 2)
    flat = trials(tiny, [0.5, 0.8, 0.8, 0.8, 0.801])
    assert has_converged(flat, tiny, 3)
    assert not has_converged(flat, tiny, 4)  # four trials ago it was 0.5
    assert not has_converged(flat, tiny, 5)  # nothing was there yet
    assert not has_converged([], tiny, 1)


def test_another_hour_is_taken_to_bring_what_doublings_brought(tiny: SearchSpace) -> None:
    accuracies = (0.4 + 0.1 * np.log2(np.arange(1, 17))).tolist()  # each doubling of the time brings the same
    ahead = extrapolate(trials(tiny, accuracies), tiny, seconds=160.0)
    past = history(trials(tiny, accuracies), tiny).hypervolume
    assert ahead is not None
    assert ahead.hypervolume == past[-1]
    assert ahead.growth == pytest.approx(past[15] - past[7])
    assert ahead.error == pytest.approx(np.std([past[15] - past[7], past[7] - past[3], past[3] - past[1]], ddof=1))
    assert extrapolate(trials(tiny, accuracies[:7]), tiny) is None
    far = extrapolate(trials(tiny, accuracies), tiny, seconds=1e9)
    assert far is None or far.hypervolume + far.growth <= 1


def test_nothing_is_foreseen_where_the_past_says_as_little(tiny: SearchSpace) -> None:
    """Growth that came all at once: what the next doubling brings could be nothing or as much again."""
    assert extrapolate(trials(tiny, [0.3] * 7 + [0.8]), tiny) is None
    assert extrapolate(trials(tiny, [0.8] * 16), tiny) is None
