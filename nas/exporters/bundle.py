"""write_bundle(): exports a trained network as a verified, self-contained folder that can be used without nas.

export() does so for a trial of a study. The folder appears complete and verified, or not at all.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from numpy.typing import NDArray

from nas.analysis.requirements import RequirementOptions, Requirements
from nas.analysis.selection import choose
from nas.architectures.architecture import Architecture
from nas.architectures.profile import MOST_WAITED
from nas.data.images import ImageData, class_counts
from nas.data.resizing import CROP, LETTERBOX, STRETCH
from nas.errors import ExportError, InvalidValue
from nas.exporters.calibration import calibrate, label_thresholds
from nas.exporters.destination import checked_destination, destination
from nas.exporters.formats import ACCEPTED_LOSS, FILES, USUAL, checked_formats, write_formats
from nas.exporters.model_card import card_text
from nas.exporters.tolerance import TOLERANCE, allowed
from nas.exporters.trained_network import TrainedNetwork, trained_weights
from nas.exporters.verification import (
    ARCHITECTURE_FILE,
    PREPROCESSING_FILE,
    Agreement,
    installed,
    verify,
)
from nas.study.images import images_of
from nas.study.study import Study
from nas.training.metrics import MEANS_OVER_IMAGES, score_of_logits
from nas.validation import real

if TYPE_CHECKING:
    from nas.architectures.network import GroupConvNet

__all__ = ["Exported", "export", "write_bundle"]

LABELS_FILE, CARD_FILE, VERIFICATION_FILE = "labels.json", "MODEL_CARD.md", "verification.json"
THRESHOLDS_FILE = "thresholds.json"
RESIZED = {
    CROP: "cropped to the largest central part of the same proportions as the input",
    LETTERBOX: "whole and in proportion, with strips of grey (128) on two sides",
    STRETCH: "stretched to the proportions of the input",
}
IMAGES_IN_DOUBT = 3
"""Maximum number of images that may be classified differently on another device or at another precision."""
BATCH = 256

Logits = NDArray[np.float32]


@dataclass(frozen=True)
class Exported:
    """A written bundle.

    `accuracy` is that of the weights, measured again on the images that they are judged by; `agreements` has what was
    measured of each of `formats` that was loaded back.
    """

    folder: Path
    formats: tuple[str, ...]
    trained: TrainedNetwork
    accuracy: float
    agreements: Mapping[str, Agreement]

    @property
    def differences(self) -> dict[str, float]:
        """The largest logit difference of each format from the trained network."""
        return {name: found.largest_difference for name, found in self.agreements.items()}


def write_bundle(
    trained: TrainedNetwork,
    out: str | Path,
    *,
    images: ImageData,
    formats: Sequence[str] = USUAL,
    accept_loss: float = ACCEPTED_LOSS,
    command: str,
    latency: str | None = None,
) -> Exported:
    """Writes a trained network in `formats`, loads each file in a fresh process and verifies it on `images`.

    Besides the formats' files, the bundle holds architecture.yaml, labels.json, preprocessing.json, MODEL_CARD.md and
    verification.json; for images with several labels also thresholds.json, the probability from which on each label is
    given. The folder appears complete, or not at all.

    Args:
        trained: the network to export.
        out: the folder to create; it may exist if it is empty.
        images: the images that the network was trained with.
        formats: the formats to write, from `FORMATS`.
        accept_loss: the accuracy that the model of 8-bit integers may lose, in [0, 1].
        command: the command that requested the export, quoted by the model card.
        latency: a sentence on the measured latency for the model card; None: not measured.

    Raises:
        InvalidValue: `formats` is empty, or has unknown or repeated ones; or `accept_loss` is out of range.
        MissingExtra: a format needs an extra that is not installed.
        ExportError: `out` is not empty, cannot be written or is being written by another process; there are no weights;
            or the weights or the files do not reproduce the recorded results.
        WeightsError: the weights are damaged, or belong to another network.
    """
    formats = checked_formats(formats, trained.architecture.input.channels)
    accept_loss = real(accept_loss, "accept_loss", minimum=0, maximum=1)
    with destination(out) as (bundle, handover):
        network = _network(trained)
        reference = _logits(network, trained, images)
        accuracy = _accuracy(trained, reference, images)
        _refuse_other_weights(trained, accuracy, images)
        calibration = calibrate(reference, images.validation.labels)
        _divide_logits(network, calibration.temperature)
        reference /= calibration.temperature
        thresholds = label_thresholds(reference, images.validation.labels) if images.is_multi_label else ()
        if thresholds:
            _write_json(bundle / THRESHOLDS_FILE, [each.threshold for each in thresholds])
        _write_descriptions(bundle, trained, images)
        notes = {**_notes(trained, images), "temperature": json.dumps(calibration.temperature)}
        write_formats(
            bundle,
            network,
            architecture=trained.architecture,
            formats=formats,
            images=images,
            notes=notes,
            thresholds=[each.threshold for each in thresholds],
        )
        agreements = verify(
            bundle,
            reference,
            images=images.validation,
            formats=formats,
            handover=handover,
            metric=trained.config.space.recipe.metric,
            accept_loss=accept_loss,
        )
        files = {name: bundle / FILES[name] for name in formats}
        found = _verification(trained, accuracy, reference, agreements)
        sums = {file.name: sha256(file.read_bytes()).hexdigest() for file in files.values()}
        if thresholds:
            found["labels"] = [each._asdict() for each in thresholds]
        _write_json(bundle / VERIFICATION_FILE, {**found, "calibration": calibration.to_dict(), "sha256": sums})
        card = card_text(
            trained,
            formats={name: file.stat().st_size for name, file in files.items()},
            agreements=agreements,
            calibration=calibration,
            thresholds=thresholds,
            command=command,
            latency=latency,
        )
        (bundle / CARD_FILE).write_text(card, encoding="utf-8")
    return Exported(Path(out), formats, trained, accuracy, agreements)


def _refuse_other_weights(trained: TrainedNetwork, accuracy: float, images: ImageData) -> None:
    """Compares an accuracy with the recorded one.

    Raises:
        ExportError: they differ by more than `IMAGES_IN_DOUBT` images can make, even ones of the rarest class.
    """
    labels = images.validation.labels
    counts = [count for count in class_counts(labels, len(images.classes)) if count]
    is_mean_over_images = trained.config.space.recipe.metric in MEANS_OVER_IMAGES
    one_image = 1 / len(labels) if is_mean_over_images else 1 / (len(counts) * min(counts))
    if abs(accuracy - trained.accuracy) > (IMAGES_IN_DOUBT + 0.5) * one_image:
        recorded = f"but {trained.accuracy:.4f} was recorded"
        raise ExportError(f"{trained.origin}: its weights give {accuracy:.4f}, {recorded}")


def export(
    study: Study,
    out: str | Path,
    *,
    trial: int | None = None,
    formats: Sequence[str] = USUAL,
    accept_loss: float = ACCEPTED_LOSS,
    data: Any = None,
    command: str | None = None,
    **requirements: Unpack[RequirementOptions],
) -> Exported:
    """Exports a trial of a study as a bundle and measures its latency.

    The weights are those of `trained_weights`.

    Args:
        study: the study.
        out: the folder to create; it may exist if it is empty.
        trial: the trial's number; None: the one that `choose` picks.
        formats: the formats to write, from `FORMATS`.
        accept_loss: the accuracy that the model of 8-bit integers may lose, in [0, 1].
        data: the images, or their new location; needed only if the study was searched on arrays or they have moved.
        command: the command for the model card; None: the equivalent call of `nas.export`.
        **requirements: the fields of `nas.analysis.selection.Requirements`; only without `trial`.

    Raises:
        NasError: as `write_bundle`; or no trial qualifies, or the images are not those of the study.
    """
    checked_destination(out)  # before the images, which may take minutes to load
    wanted = Requirements(**requirements)
    if trial is None:
        trial = choose(study, wanted).pick.record.trial
    elif wanted != Requirements():
        raise InvalidValue(f"trial={trial}: is a choice already; leave out {' and '.join(wanted.given())}")
    found = trained_weights(study, trial)
    _check_weights(found)
    return write_bundle(
        found,
        out,
        images=images_of(found.config, data),
        formats=formats,
        accept_loss=accept_loss,
        command=command or f"nas.export({study.name!r}, {Path(out).name!r}, trial={trial})",
        latency=_latency(found.architecture),
    )


def _latency(architecture: Architecture) -> str:
    from nas.architectures.latency import measure_latency

    found = measure_latency(architecture)
    disturbed = ", while other programs were at work" if found.waited > MOST_WAITED else ""
    return (
        f"{found.median:.3g} ms for one image ({found.low:.3g} to {found.high:.3g} in half of {found.runs} runs), "
        f"BatchNorm folded, {found.device}{disturbed}"
    )


def _check_weights(trained: TrainedNetwork) -> None:
    file = trained.weights_file
    if not file.is_file():
        raise ExportError(
            f"{trained.origin} has no weights in {file.parent}: deleted as others beat it (nas search --keep), or "
            "trained by one's own evaluate; nas train STUDY:TRIAL retrains it"
        )


def _network(trained: TrainedNetwork) -> "GroupConvNet":
    """Builds the network with its trained weights, in evaluation mode on the CPU."""
    from nas.architectures.network import build_network
    from nas.architectures.weights import load_weights, put_into

    _check_weights(trained)
    network = build_network(trained.architecture)
    put_into(network, load_weights(trained.weights_file), of=str(trained.weights_file))
    return network.eval()


def _logits(network: "GroupConvNet", trained: TrainedNetwork, images: ImageData) -> Logits:
    """Computes the logits of the validation images: the reference for all files."""
    import torch

    from nas.training.batches import DeviceImages

    architecture = trained.architecture
    if images.input != architecture.input or len(images.classes) != architecture.classes:
        raise ExportError(
            f"images: {images.input} in {len(images.classes)} classes; {trained.origin} takes {architecture.input} in "
            f"{architecture.classes}"
        )
    validation = DeviceImages(images.validation, images.normalization, torch.device("cpu"))
    with torch.inference_mode():
        logits = torch.cat([network(validation.plain(rows)[0]) for rows in validation.in_order(BATCH)])
    if not logits.isfinite().all():
        raise ExportError(f"{trained.origin}: its weights give logits that are not finite")
    found: Logits = logits.numpy()
    return found


def _accuracy(trained: TrainedNetwork, logits: Logits, images: ImageData) -> float:
    """Returns the accuracy of the logits, by the metric of the study."""
    return score_of_logits(trained.config.space.recipe.metric, logits, images.validation.labels)


def _divide_logits(network: "GroupConvNet", temperature: float) -> None:
    """Divides all logits by a temperature, in the classifier's weights, so that every format has it."""
    import torch

    with torch.no_grad():
        for parameter in network.classifier.parameters():
            parameter.div_(temperature)


def _write_descriptions(bundle: Path, trained: TrainedNetwork, images: ImageData) -> None:
    """Writes the architecture, the class names and the preprocessing."""
    (bundle / ARCHITECTURE_FILE).write_text(trained.architecture.to_yaml(), encoding="utf-8")
    _write_json(bundle / LABELS_FILE, list(images.classes))
    preprocessing = {
        "height": trained.architecture.input.height,
        "width": trained.architecture.input.width,
        "channels": trained.architecture.input.channels,
        "mean": list(images.normalization.mean),
        "std": list(images.normalization.std),
        "values": "from 0 to 255, divided by 255, then (value - mean) / std for each channel",
        "resize": images.resize,
        "images": f"upright as EXIF says, transparent parts on white, {RESIZED[images.resize]}, resized to "
        "height × width pixels: bilinear, with antialiasing",
    }
    _write_json(bundle / PREPROCESSING_FILE, preprocessing)


def _notes(trained: TrainedNetwork, images: ImageData) -> dict[str, str]:
    """Returns the metadata for the header of the weights, for readers who have only that file."""
    return {
        "classes": json.dumps(images.classes),
        "mean": json.dumps(images.normalization.mean),
        "std": json.dumps(images.normalization.std),
        f"{trained.config.judged_on}_accuracy": json.dumps(trained.accuracy),
    }


def _verification(
    trained: TrainedNetwork, accuracy: float, reference: Logits, agreements: Mapping[str, Agreement]
) -> dict[str, Any]:
    largest = float(np.abs(reference).max())
    return {
        "images": len(reference),
        "metric": trained.config.space.recipe.metric,
        "accuracy": {"recorded": trained.accuracy, "reference": accuracy},
        "tolerance": {"relative": TOLERANCE, "largest_logit": largest, "allowed": allowed(reference)},
        "formats": {name: {"file": FILES[name], **found.to_dict()} for name, found in agreements.items()},
        "versions": installed(),
    }


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
