from pathlib import Path

import numpy as np
import pytest

import nas
from nas import NasError, SearchSpace, Study
from nas.study.artifacts import load_predictions, predictions_of, prune_artifacts, save_array
from nas.training.objective import PREDICTION, label_prediction

GOOD = np.array([(0, 1, 0.75, 0.25), (1, 1, 1.0, 1.0)], dtype=PREDICTION)


def changed(**values: float) -> np.ndarray:
    array = GOOD.copy()
    for name, value in values.items():
        array[name][0] = value
    return array


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    save_array(tmp_path / "p.npy", GOOD)
    loaded = load_predictions(tmp_path / "p.npy", classes=2)
    assert loaded is not None
    assert (loaded == GOOD).all()
    assert load_predictions(tmp_path / "none.npy", classes=2) is None


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(3),
        GOOD.reshape(1, 2),
        changed(predicted=2),
        changed(label=7),
        changed(confidence=1.5),
        changed(label_confidence=-0.1),
        changed(confidence=float("nan")),
    ],
)
def test_what_is_no_prediction_is_one_line(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "p.npy", array)
    with pytest.raises(NasError, match="is damaged: not the predictions for 2 classes"):
        load_predictions(tmp_path / "p.npy", classes=2)


def test_predictions_of_several_labels_are_those_of_such_a_study(tmp_path: Path) -> None:
    several = np.zeros(4, dtype=label_prediction(2))
    several["probability"] = 0.25
    np.save(tmp_path / "p.npy", several)
    loaded = load_predictions(tmp_path / "p.npy", classes=2, multi_label=True)
    assert loaded is not None
    assert (loaded == several).all()
    for wrong in ({"classes": 2}, {"classes": 3, "multi_label": True}):
        with pytest.raises(NasError, match="is damaged: not the predictions"):
            load_predictions(tmp_path / "p.npy", **wrong)  # type: ignore[arg-type]
    several["probability"][1, 0] = float("nan")
    np.save(tmp_path / "p.npy", several)
    with pytest.raises(NasError, match="is damaged"):
        load_predictions(tmp_path / "p.npy", classes=2, multi_label=True)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"no array"])
def test_a_damaged_file_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "p.npy").write_bytes(content)
    with pytest.raises(NasError, match="is damaged"):
        load_predictions(tmp_path / "p.npy", classes=2)


@pytest.fixture
def searched(tmp_path: Path, tiny: SearchSpace) -> Study:
    return nas.search(tiny, "digits", trials=6, runs=tmp_path, name="s", device="cpu", epochs=1, fidelities=1)


def test_predictions_are_kept_where_weights_are(searched: Study) -> None:
    kept = {record.trial: searched.weights_file(record.trial).is_file() for record in searched.records()}
    assert set(kept.values()) == {True, False}  # else this shows nothing
    for trial, with_weights in kept.items():
        assert searched.predictions_file(trial).is_file() == with_weights
        if with_weights:
            predictions = predictions_of(searched, searched.record(trial))
            right = (predictions["label"] == predictions["predicted"]).mean()
            assert right == pytest.approx(searched.record(trial).accuracy)
        else:
            with pytest.raises(NasError, match=f"trial {trial} of 's': has no predictions; they are kept like its"):
                predictions_of(searched, searched.record(trial))


def test_none_are_kept_where_no_weights_are_wanted(tmp_path: Path, tiny: SearchSpace) -> None:
    study = nas.search(tiny, "digits", trials=1, runs=tmp_path, name="n", device="cpu", epochs=1, keep="none")
    assert not study.predictions_file(0).is_file()
    assert study.confusion_file(0).is_file()
    plan = study.attributes.plan
    assert plan is not None
    prune_artifacts(study, study.record(0), plan)
