from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from nas.architectures.architecture import Architecture, Input, Stage, StemConv
from nas.exporters.calibration import Calibration, Coverage
from nas.exporters.model_card import card_text
from nas.exporters.trained_network import TrainedNetwork
from nas.exporters.verification import Agreement
from nas.spaces.search_space import SearchSpace
from nas.study.config import StudyConfig
from tests.helpers import TINY

SIZES = {"onnx": 31_000, "pt2": 115_000, "safetensors": 27_500, "python": 14_700}
AGREEMENTS = {name: Agreement(1e-6, 0.9) for name in SIZES}
CALIBRATION = Calibration(0.625, 0.0812, 0.0114, (Coverage(0.5, 0.98, 0.91), Coverage(0.99, 0.0, None)))
DATA = {
    "source": "/home/someone/secret/birds",
    "classes": ["tit", "owl"],
    "train_images": 1151,
    "validation_images": 288,
}


def trained(**data: Any) -> TrainedNetwork:
    architecture = Architecture(Input(1, 8), 2, (StemConv(8),), (Stage(1, 8, 2, 16),))
    config = StudyConfig(SearchSpace.from_dict(TINY), {**DATA, **data}, 7)
    return TrainedNetwork(architecture, Path("/home/someone/secret/w"), 0.9, config, "trial 3 of the study 'birds'", 7)


def card(of: TrainedNetwork, *, latency: str | None = None, command: str = "nas export birds --out best") -> str:
    return card_text(
        of, formats=SIZES, agreements=AGREEMENTS, calibration=CALIBRATION, command=command, latency=latency
    )


def row(text: str, what: str) -> list[str]:
    return next(
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if f"| {what}" in line
    )


def test_what_was_measured_and_what_was_not() -> None:
    text = card(trained())
    assert row(text, "validation, these")[1:] == ["90.00 %", "on 288 images; 95 % interval 85.99 % to 92.96 % (Wilson)"]
    assert row(text, "validation, confirmed")[1] == "not confirmed"
    assert row(text, "test")[1:] == ["not measured", "the test images were not read"]
    assert row(text, "Latency") == ["Latency", "not measured"]
    assert row(text, "FLOPs") == ["FLOPs", "17.4 k multiply–adds for one image"]
    assert text.count("multiply–adds") == 1
    assert row(text, "`model.onnx`")[2] == "31.0 kB"
    assert "(1,151 training images, 288 validation images)" in text
    assert "seed 7: 2 epochs of batches of 64 by AdamW" in text
    assert "nas export birds --out best" in text


def test_how_sure_the_network_is_and_what_it_may_leave_open() -> None:
    text = card(trained())
    assert "The logits are divided by a temperature of 0.625, fitted on the validation images" in text
    assert "probabilities then differ by 1.14 % from the share that is right" in text
    assert "8.12 % before" in text
    assert row(text, "50% ") == ["50%", "98.0%", "91.0%"]
    assert row(text, "99% ") == ["99%", "0.0%", "–"]


def test_integers_and_the_page_say_what_they_are() -> None:
    sizes = {**SIZES, "onnx-int8": 9_000, "web": 40_000}
    found = {**AGREEMENTS, "onnx": Agreement(1e-6, 0.9, 0.3), "onnx-int8": Agreement(0.2, 0.89, 0.2)}
    others: Any = {"calibration": CALIBRATION, "command": "", "latency": None}
    text = card_text(trained(), formats=sizes, agreements=found, **others)
    assert "All but `model.html` were loaded back" in text
    assert "it reaches 89.00 % accuracy, 90.00 % before" in text
    assert "0.2 ms, 0.3 ms before: 1.5 times as fast" in text
    assert row(text, "`model.int8.onnx`")[2] == "9.00 kB"
    slower = {**found, "onnx-int8": Agreement(0.2, 0.89, 0.4)}
    assert "integers do not pay" in card_text(trained(), formats=sizes, agreements=slower, **others)
    assert "integers" not in card(trained())


def test_a_metric_that_is_not_accuracy_is_named() -> None:
    balanced = trained(validation_counts=[280, 8])
    recipe = balanced.config.space.recipe.with_values(metric="balanced_accuracy", class_weights="balanced")
    space = balanced.config.space.with_changes(recipe=recipe)
    text = card(replace(balanced, config=replace(balanced.config, space=space)))
    assert "Accuracy is balanced here: the mean of the classes' own accuracies." in text
    assert "classes weighted (balanced)" in text
    interval = row(text, "validation, these")[2]
    assert "on 288 images" in interval
    assert interval != row(card(trained()), "validation, these")[2]  # as wide as that of few images


def test_confirmed_and_tested_accuracies_are_told_apart() -> None:
    text = card(replace(trained(), confirmed=(0.9, 0.92, 0.88), tested=(0.85, 0.87), test_accuracy=0.861))
    assert row(text, "validation, confirmed")[1:] == [
        "90.00 ± 2.00 %",
        "mean ± standard deviation of 3 trainings from scratch, each on a seed of its own",
    ]
    assert row(text, "test, these")[1] == "86.10 %"
    assert row(text, "test, confirmed")[1] == "86.00 ± 1.41 %"
    assert "not read" not in text
    one = card(replace(trained(), confirmed=(0.9,)))
    assert row(one, "validation, confirmed")[1:] == ["90.00 %", "one training from scratch"]


def test_weights_trained_on_the_validation_images_too_are_judged_by_the_test_images_alone() -> None:
    text = card(replace(trained(all_images=True), confirmed=(0.9, 0.92), tested=(0.85, 0.87), test_accuracy=0.9))
    assert "validation, these" not in text
    assert row(text, "test, these")[1] == "90.00 %"
    assert text.count("test, these") == 1
    assert row(text, "test, confirmed")[1] == "86.00 ± 1.41 %"
    assert "(1,151 training and validation images, 288 test images)" in text
    assert "run on the test images" in text
    assert "the test images had no part in any choice" in text


def test_a_latency_is_quoted() -> None:
    assert (
        row(card(trained(), latency="0.8 ms an image, median of 100"), "Latency")[1] == "0.8 ms an image, median of 100"
    )


@pytest.mark.parametrize("source", ["/home/someone/secret/birds", "/home/someone/secret/birds/", r"C:\secret\birds"])
def test_no_folder_of_this_machine_is_told(source: str) -> None:
    text = card(trained(source=source))
    assert "On `birds` (" in text
    assert "secret" not in text


@pytest.mark.parametrize(
    "name", ["*owl*", "<script>", "[a](b)", "a|b", "`x`", "![i](j)", "_x_", "a\n# b", "&amp;", "\\*"]
)
def test_names_are_text(name: str) -> None:
    tokens = MarkdownIt("commonmark").enable("table").parse(card(trained(classes=[name, "other"])))
    paragraph = next(token for token in tokens if token.type == "inline" and "sorts" in token.content)
    assert paragraph.children
    assert {child.type for child in paragraph.children} <= {"text", "text_special", "softbreak"}
    shown = "".join(child.content for child in paragraph.children)
    assert f"2 classes: {' '.join(name.split())}, other." in shown


def test_of_many_classes_the_first_are_named() -> None:
    text = card(trained(classes=[f"class{number}" for number in range(1000)]))
    assert "into 1000 classes: class0, class1" in text
    assert "class19, and 980 more (`labels.json`)" in text
    assert "class20" not in text


def test_a_command_stays_in_its_block() -> None:
    text = card(trained(), command="nas export '```' --out best")
    fences = [token for token in MarkdownIt("commonmark").parse(text) if token.type == "fence"]
    assert [fence.content for fence in fences] == ["nas export '```' --out best\n"]
