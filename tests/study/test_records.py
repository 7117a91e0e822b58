"""Records of trials: which of them have a network to take home."""

from nas import SearchSpace
from nas.study.records import TrialRecord, TrialState, front_of, trained_networks


def test_of_an_architecture_the_longest_training_counts_whatever_its_accuracy(tiny: SearchSpace) -> None:
    points = [tiny.architecture(point) for point in tiny.points()]
    small, large = min(points, key=lambda each: TrialRecord(0, TrialState.COMPLETE, each).flops), points[-1]
    records = [
        TrialRecord(0, TrialState.SHORT, large, 0.9, length=3),
        TrialRecord(1, TrialState.SHORT, large, 0.7, length=1),
        TrialRecord(2, TrialState.SHORT, small, 0.6, length=1),
        TrialRecord(3, TrialState.COMPLETE, large, 0.8, length=9),
        TrialRecord(4, TrialState.STOPPED, small, length=9),
    ]
    assert [record.trial for record in trained_networks(records)] == [2, 3]
    assert [record.trial for record in front_of(records)] == [2, 3]
    assert [record.trial for record in front_of(records[:3])] == [2, 0]  # until the longer one has ended
    assert front_of(records[4:]) == []


def test_repeated_trainings_of_an_architecture_stay_apart(tiny: SearchSpace) -> None:
    architecture = tiny.architecture(next(tiny.points()))
    records = [TrialRecord(seed, TrialState.COMPLETE, architecture, 0.5, seed=seed) for seed in range(3)]
    assert trained_networks(records) == records
