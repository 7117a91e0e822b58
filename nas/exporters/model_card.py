"""card_text(): renders the model card of a trained network: one Markdown page to read before using it."""

import re
import statistics
from collections.abc import Mapping, Sequence

from nas.architectures.cost import cost
from nas.errors import visible
from nas.exporters.calibration import Calibration, Threshold
from nas.exporters.formats import FILES, INT8, LITERT, WEB
from nas.exporters.trained_network import TrainedNetwork
from nas.exporters.verification import Agreement
from nas.study.precision import wilson_interval
from nas.training.metrics import METRIC_NAMES
from nas.training.recipe import Recipe
from nas.units import count_text, counted, epochs_text, percent_text

__all__ = ["card_text", "integers_text"]

CLASSES_NAMED = 20
PURPOSES = {
    "python": "the network as a program that needs torch, and Pillow for all but PNG: `python model.py photo.png`",
    "safetensors": "the weights; `architecture.yaml` says of what",
    "onnx": "for ONNX Runtime and other runtimes: `images` (N, channels, height, width) → `logits` (N, classes)",
    "pt2": "for `torch.export.load`, with the same input and output",
    INT8: "the ONNX model in 8-bit integers, with the same input and output",
    WEB: "a page for any browser, without a server or a network: open it and drop images on it",
    LITERT: "for LiteRT (TensorFlow Lite) on phones: images (N, channels, height, width) → logits (N, classes)",
}


def card_text(
    trained: TrainedNetwork,
    *,
    formats: Mapping[str, int],
    agreements: Mapping[str, Agreement],
    calibration: Calibration,
    thresholds: Sequence[Threshold] = (),
    command: str,
    latency: str | None,
) -> str:
    """Renders the model card of a bundle.

    The text contains no path of this machine, unless `command` does.

    Args:
        trained: the exported network.
        formats: file size in bytes, by format.
        agreements: what was measured of the formats that were loaded back.
        calibration: of the exported probabilities, on the images that the network is judged by.
        thresholds: of each label, if an image may have several.
        command: the command that created the bundle.
        latency: a sentence on the measured latency, the device and the method; None: not measured.

    Returns:
        The card as Markdown.
    """
    parts = [
        _title(trained),
        "## Files\n\n" + _files(trained, formats, agreements),
        "## How accurate\n\n" + _accuracies(trained),
        "## How sure\n\n" + _sure(trained, calibration, thresholds),
        "## What it costs\n\n" + _costs(trained, latency),
        "## How it was trained\n\n" + _training(trained),
        "## Limits\n\n" + _limits(trained),
        "## Made by\n\n" + _made_by(trained, command),
    ]
    return "\n\n".join(parts) + "\n"


def _title(trained: TrainedNetwork) -> str:
    shape = trained.architecture.input
    kind = {1: "grey ", 3: "colour "}.get(shape.channels, "")
    names = trained.config.classes
    named = ", ".join(map(_escaped, names[:CLASSES_NAMED]))
    more = f", and {len(names) - CLASSES_NAMED} more (`labels.json`)" if len(names) > CLASSES_NAMED else ""
    does = f"sorts {kind}images of {shape} pixels into {len(names)} classes"
    if trained.config.is_multi_label:
        does = f"says which of {len(names)} labels {kind}images of {shape} pixels have"
    return (
        f"# {_escaped(trained.architecture.name)}\n\n"
        f"A grouped-convolution network that {does}: {named}{more}. It is {_escaped(trained.origin)}."
    )


def _files(trained: TrainedNetwork, formats: Mapping[str, int], agreements: Mapping[str, Agreement]) -> str:
    config = trained.config
    rows = [f"| `{FILES[name]}` | {PURPOSES[name]} | {count_text(size)}B |" for name, size in formats.items()]
    loaded = "All were" if formats.keys() == agreements.keys() else f"All but `{FILES[WEB]}` were"
    sentences = [
        f"{loaded} loaded back in a fresh process and run on the {config.judged_on} images: `verification.json`.",
        "The page compares its logits with the trained network's whenever it is opened." if WEB in formats else "",
        integers_text(agreements, metric=config.space.recipe.metric),
        "How an image is prepared is in `preprocessing.json`. No file is a pickle.",
    ]
    return (
        "\n".join(["| File | What it is for | Size |", "|---|---|---|", *rows])
        + "\n\n"
        + " ".join(filter(None, sentences))
    )


def integers_text(agreements: Mapping[str, Agreement], *, metric: str) -> str:
    """Says what 8-bit integers cost and bring, if there is such a model; else returns an empty text."""
    if INT8 not in agreements:
        return ""
    before, after = agreements["onnx"], agreements[INT8]
    assert before.milliseconds is not None
    assert after.milliseconds is not None
    ratio = before.milliseconds / after.milliseconds
    worth = f"{ratio:.2g} times as fast" if ratio > 1 else "so integers do not pay on this processor"
    return (
        f"In 8-bit integers it reaches {percent_text(after.accuracy)} {METRIC_NAMES[metric]}, "
        f"{percent_text(before.accuracy)} before; an image takes one thread of ONNX Runtime "
        f"{after.milliseconds:.2g} ms, {before.milliseconds:.2g} ms before: {worth}."
    )


def _accuracies(trained: TrainedNetwork) -> str:
    images, judged_on = trained.config.validation_images, trained.config.judged_on
    if images:
        low, high = wilson_interval(trained.accuracy, trained.config.effective_images or images)
        chance = f"on {images:,} images; 95 % interval {percent_text(low)} to {percent_text(high)} (Wilson)"
    else:
        chance = "how many images there were is not recorded"
    confirmed = (
        f"{_mean(trained.confirmed)} | {_trainings(trained.confirmed)}"
        if trained.confirmed
        else ("not confirmed | it was not trained again on other seeds")
    )
    rows = [
        f"| {judged_on}, these weights | {percent_text(trained.accuracy)} | {chance} |",
        f"| validation, confirmed | {confirmed} |",
    ]
    if trained.test_accuracy is not None and not trained.config.on_all_images:
        rows.append(
            f"| test, these weights | {percent_text(trained.test_accuracy)} | images that no choice was made by |"
        )
    if trained.tested:
        rows.append(f"| test, confirmed | {_mean(trained.tested)} | {_trainings(trained.tested)} |")
    if trained.test_accuracy is None and not trained.tested:
        rows.append("| test | not measured | the test images were not read |")
    chosen = "The network was chosen among others by its accuracy on the validation images, so "
    chosen += (
        "that flatters it a little; these weights were trained on those images too, and the test images had no part in "
        f"any choice but {_chosen_by_test(trained)}"
        if trained.config.on_all_images
        else "the first row flatters it a little."
    )
    chosen = " ".join(filter(None, [trained.config.metric_note, chosen]))
    return "\n".join(["| Images | Accuracy | What that is |", "|---|---|---|", *rows]) + f"\n\n{chosen}"


def _chosen_by_test(trained: TrainedNetwork) -> str:
    if trained.config.is_multi_label:
        return (
            "those of the temperature and the labels' thresholds below: the mean average precision depends on neither, "
            "and the precisions and recalls at the thresholds are a little too high."
        )
    return "that of the temperature below, which changes no classification."


def _sure(trained: TrainedNetwork, calibration: Calibration, thresholds: Sequence[Threshold]) -> str:
    """Says how far the probabilities can be trusted, and what answering only the surer images brings."""
    before, after = (percent_text(error) for error in (calibration.error_before, calibration.error_after))
    no_better = (
        "The temperature is that at which the labels are likeliest, and need not be best by this error. "
        if calibration.error_after > calibration.error_before
        else ""
    )
    given = (
        "The probability of a label is the sigmoid of its logit; it is given from the probability on at which its F1 "
        "score is largest on the same images (`thresholds.json`). "
    )
    return (
        f"The logits are divided by a temperature of {calibration.temperature:.3g}, fitted on the "
        f"{trained.config.judged_on} images: probabilities then differ by {after} from the share that is right "
        f"(expected calibration error, {before} before; measured on the same images). {no_better}"
        f"{given if thresholds else ''}"
    ).rstrip() + (
        f"\n\n{_threshold_table(trained.config.classes, thresholds) if thresholds else _coverage_table(calibration)}"
    )


def _coverage_table(calibration: Calibration) -> str:
    rows = [
        f"| {each.threshold:.0%} | {each.answered:.1%} | "
        + (f"{each.accuracy:.1%} |" if each.accuracy is not None else "– |")
        for each in calibration.coverages
    ]
    return "\n".join(["| Answer only from | images answered | of those right |", "|---|---|---|", *rows])


def _threshold_table(labels: Sequence[str], thresholds: Sequence[Threshold]) -> str:
    rows = [
        f"| {_escaped(name)} | {each.average_precision:.1%} | {each.threshold:.1%} | {each.precision:.1%} | "
        f"{each.recall:.1%} |"
        for name, each in zip(labels, thresholds, strict=True)
    ]
    return "\n".join(
        ["| Label | average precision | given from | precision | recall |", "|---|---|---|---|---|", *rows]
    )


def _costs(trained: TrainedNetwork, latency: str | None) -> str:
    amounts = cost(trained.architecture)
    rows = [
        ("FLOPs", f"{count_text(amounts.flops)} multiply–adds for one image"),
        ("Parameters", count_text(amounts.params)),
        ("Activations", f"{count_text(amounts.activations)} for one image"),
        ("Latency", _escaped(latency) if latency is not None else "not measured"),
    ]
    return "\n".join(["| | |", "|---|---|", *(f"| {what} | {amount} |" for what, amount in rows)])


def _training(trained: TrainedNetwork) -> str:
    config, data = trained.config, trained.config.data
    trained_on = "training and validation images" if config.on_all_images else "training images"
    names = {"train_images": trained_on, "validation_images": f"{config.judged_on} images"}
    splits = [f"{data[key]:,} {name}" for key, name in names.items() if data.get(key)]
    counts = f" ({', '.join(splits)})" if splits else ""
    number = len(config.teachers)
    taught = f", and on what {counted(number, 'network')} of the search {'says' if number == 1 else 'say'} of them"
    counts += f"{taught} (knowledge distillation)" if number else ""
    return (
        f"On `{_source(str(data.get('source', 'unknown')))}`{counts}, from scratch, seed {trained.seed}: "
        f"{_recipe(config.space.recipe)}"
    )


def _recipe(recipe: Recipe) -> str:
    """Describes a recipe in one sentence."""
    optimizer = {"muon": "Muon and AdamW", "adamw": "AdamW"}.get(
        recipe.optimizer, f"SGD with momentum {recipe.momentum:g}"
    )
    return (
        f"{epochs_text(recipe.epochs)} of batches of {recipe.batch_size} by {optimizer}, one cycle of the learning "
        f"rate with its peak at {recipe.learning_rate:g}, weight decay {recipe.weight_decay:g}, label smoothing "
        f"{recipe.label_smoothing:g}{_balance(recipe)}; images {', '.join(_augmentation(recipe)) or 'as they are'}."
    )


def _augmentation(recipe: Recipe) -> list[str]:
    said = {
        f"shifted by up to {recipe.crop_padding} pixels": recipe.crop_padding,
        "mirrored half of the time": recipe.flip,
        "upside down half of the time": recipe.flip_vertical,
        f"rotated by up to {recipe.rotation:g}°": recipe.rotation,
        f"their brightness, contrast and saturation changed by up to {recipe.color_jitter:.0%}": recipe.color_jitter,
        f"a square of {recipe.cutout:.0%} of the side blanked (cutout)": recipe.cutout,
        f"{recipe.mixup:.0%} of them mixed with another (mixup)": recipe.mixup,
        f"{recipe.cutmix:.0%} with a part of another (CutMix)": recipe.cutmix,
        f"changed by one random operation, at {recipe.random_augment:.0%} of RandAugment's strength": (
            recipe.random_augment
        ),
    }
    return [words for words, is_done in said.items() if is_done]


def _balance(recipe: Recipe) -> str:
    weights = f", classes weighted ({recipe.class_weights})" if recipe.class_weights != "none" else ""
    return weights + (", classes drawn equally often" if recipe.sampling == "balanced" else "")


def _limits(trained: TrainedNetwork) -> str:
    count = len(trained.config.classes)
    first = f"Every image gets one of the {count} classes, also one that shows none of them."
    if trained.config.is_multi_label:
        first = f"No image gets any other label than these {count}; it gets none if all are below their thresholds."
    return (
        f"- {first}\n"
        "- It was measured on images from the same source as those it was trained on. Other cameras, backgrounds, "
        "light or frequencies of the classes were not measured, nor were noise, blur or images made to deceive it.\n"
        "- The probabilities are calibrated for images like these alone: on others 90 % need not be right nine times "
        "of ten.\n"
        "- Accuracies are measured on a limited number of images: small differences between two networks may be chance."
    )


def _made_by(trained: TrainedNetwork, command: str) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in trained.config.to_dict()["versions"].items())
    longest = max(map(len, re.findall("`+", command)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{command}\n{fence}\n\nwith {versions}."


def _mean(accuracies: Sequence[float]) -> str:
    mean = statistics.fmean(accuracies)
    if len(accuracies) == 1:
        return percent_text(mean)
    return f"{100 * mean:.2f} ± {100 * statistics.stdev(accuracies):.2f} %"


def _trainings(accuracies: Sequence[float]) -> str:
    if len(accuracies) == 1:
        return "one training from scratch"
    return f"mean ± standard deviation of {len(accuracies)} trainings from scratch, each on a seed of its own"


def _source(source: str) -> str:
    """Returns the last component of a path, safe between backticks."""
    last = re.split(r"[/\\]", source.rstrip("/\\"))[-1]
    return visible(" ".join(last.replace("`", "'").split())) or "unknown"


def _escaped(text: str) -> str:
    """Returns untrusted text on one line, with Markdown syntax escaped."""
    return re.sub(r"([\\`*_{}\[\]<>#|!&~:@$])", r"\\\1", visible(" ".join(text.split())))
