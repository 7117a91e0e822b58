"""Images with any number of labels, from a CSV file to a bundle that names them with torch alone."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import nas
from nas.analysis.mistakes import label_mistakes
from nas.exporters.calibration import calibrate, label_thresholds
from nas.study.artifacts import predictions_of
from nas.training.metrics import average_precisions
from nas.units import counted
from tests.exporters.test_standalone import TORCH_ALONE
from tests.helpers import PATCHES, Ran, patches, write_patches


def test_the_threshold_is_where_f1_is_largest() -> None:
    logits = np.log(np.array([[9.0], [4.0], [1.0], [0.25], [1 / 9]])).astype(np.float32)  # .9, .8, .5, .2, .1
    (found,) = label_thresholds(logits, np.array([[1], [0], [1], [0], [0]]))
    assert found.threshold == pytest.approx((0.5 + 0.2) / 2)
    assert found.precision == pytest.approx(2 / 3)
    assert found.recall == 1
    assert found.average_precision == pytest.approx((1 + 2 / 3) / 2)
    (alike,) = label_thresholds(np.zeros((4, 1), np.float32), np.array([[1], [0], [0], [1]]))
    assert (alike.threshold, alike.precision, alike.recall) == (0.25, 0.5, 1)  # equal probabilities are not parted


def test_the_temperature_of_several_labels_is_found() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (5000, 4)).astype(np.float32)
    labels = (rng.random(logits.shape) < 1 / (1 + np.exp(-logits / 3))).astype(np.int64)
    found = calibrate(logits, labels)
    assert found.temperature == pytest.approx(3, rel=0.05)
    assert found.error_after < 0.01 < found.error_before
    assert found.coverages == ()


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> nas.Study:
    """A search as a user makes it, of images in a CSV file."""
    root = tmp_path_factory.mktemp("patches")
    return nas.search(
        data=write_patches(root, 400),
        trials=2,
        epochs=9,
        max_flops="300k",
        runs=root / "runs",
        name="patches",
        device="cpu",
    )


def test_a_search_says_what_it_is_judged_by(study: nas.Study) -> None:
    config = study.config
    assert config.is_multi_label
    assert config.space.recipe.metric == "mean_average_precision"
    assert config.metric_note is not None
    assert config.effective_images is not None
    assert 1 < config.effective_images < 3 * (config.validation_images or 0)
    assert set(study.attributes.baselines) == {"label frequencies", "logistic regression"}
    again = nas.search(runs=study.folder.parent, name="patches", trials=2, device="cpu")  # its settings are compared
    assert again.config.differences(config) == []


def test_mistakes_are_listed_by_label(study: nas.Study, nas_command: Callable[..., Ran]) -> None:
    record = next(record for record in study.records() if study.predictions_file(record.trial).exists())
    predictions = predictions_of(study, record)
    precisions = average_precisions(predictions["probability"], predictions["has"].astype(int))
    assert np.mean(list(precisions.values())) == pytest.approx(record.accuracy, abs=1e-6)
    wrong = label_mistakes(predictions, study.config.classes)
    target = f"patches:{record.trial}"
    ran = nas_command("mistakes", target, "--top", 2, "--runs", study.folder.parent)
    first, *listed = ran.out.splitlines()
    said = f"is wrong about {counted(len(wrong), 'label')} of {len(predictions)} validation images."
    assert first == f"Trial {record.trial} {said}"
    assert all(one.text() in line for one, line in zip(wrong, listed[:2], strict=False))
    refused = nas_command("mistakes", target, "--predicted", PATCHES[0], "--runs", study.folder.parent)
    assert (refused.code, "may have several labels" in refused.err) == (2, True)


def test_the_bundle_names_the_labels_of_images(study: nas.Study, tmp_path: Path) -> None:
    best = max((record for record in study.records() if record.trained), key=lambda record: record.accuracy or 0)
    made = nas.export(study, tmp_path / "net", trial=best.trial, formats=["python", "onnx", "onnx-int8", "web"])
    assert made.accuracy == pytest.approx(best.accuracy)
    folder = made.folder
    thresholds = json.loads((folder / "thresholds.json").read_text())
    assert len(thresholds) == len(PATCHES)
    card = (folder / "MODEL_CARD.md").read_text()
    for text in (
        "says which of 3 labels colour images",
        "| Label | average precision | given from | precision |",
        "mean average",
    ):
        assert text in card
    assert re.search(r"In 8-bit integers it reaches \d+\.\d\d % mean average precision", card)
    page = (folder / "model.html").read_text()
    assert json.dumps(thresholds) in page
    assert "Says which of 3 labels colour images have" in page

    shown, labels = patches(60, seed=9)
    for number, image in enumerate(shown):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    paths = [str(tmp_path / f"{number}.png") for number in range(len(shown))]
    ran = subprocess.run(
        [sys.executable, "-B", "-I", "-c", TORCH_ALONE, str(folder / "model.py"), *paths],
        capture_output=True,
        text=True,
        check=True,
    )
    right = 0
    for line, has in zip(ran.stdout.splitlines(), labels, strict=True):
        named = set(re.findall(r"([a-z]+) \d", line.partition(": ")[2]))
        assert named or line.endswith(": none of the labels")
        right += sum((name in named) == bool(own) for name, own in zip(PATCHES, has, strict=True))
    assert right / labels.size > 0.85
