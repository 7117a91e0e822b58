"""search(): ask, train, tell, until the study has as many trials as it is to have. One exit for every trial."""

import math
import re
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from nas.architecture import Architecture
from nas.configuration import StudyConfig
from nas.confusion import save_confusion
from nas.data import ImageData
from nas.errors import DataError, InvalidValue, StudyError, TrainingFailed
from nas.loading import DIGITS, load_data
from nas.records import INTERRUPTED, RESERVED_NAMES, RUNNING, Outcome, TrialRecord
from nas.samplers import SAMPLERS, SpaceExhausted, ValidSampler
from nas.space import SearchSpace, load_space
from nas.study import Study
from nas.units import parse_count, parse_duration
from nas.validation import integer, one_of, shown

if TYPE_CHECKING:
    from nas.training import TrainingResult

__all__ = ["Evaluate", "Listener", "search"]

Report = Callable[[int, float], None]
Evaluate = Callable[[Architecture, Report], "float | TrainingResult"]
"""(architecture, report) → accuracy in [0, 1]. `report(epoch, accuracy)` may be called after each epoch, from 1."""

DETAIL_CHARACTERS = 2000
SECONDS_BETWEEN_REPORTS = 2.0
"""A running trial's curve is written for others to see, but no more often than this: short epochs stay short."""


class Listener(Protocol):
    """Is told what happens while a search runs, in the order it happens."""

    def search_started(self, study: Study, trials: int) -> None:
        """Once, with the total that the study is to reach."""

    def trial_started(self, record: TrialRecord) -> None:
        """A trial begins."""

    def epoch_ended(self, epoch: int, accuracy: float) -> None:
        """The running trial has trained that many epochs."""

    def trial_ended(self, record: TrialRecord) -> None:
        """The running trial is told."""

    def search_ended(self, reason: str) -> None:
        """Once: `complete`, `timeout` or `exhausted` (the space holds no further architecture)."""


def search(
    space: str | Path | SearchSpace | None = None,
    data: Any = None,
    *,
    trials: int = 50,
    name: str | None = None,
    runs: str | Path = "runs",
    epochs: int | None = None,
    sampler: str = "tpe",
    seed: int | None = None,
    max_flops: int | str | None = None,
    max_params: int | str | None = None,
    max_images: int | None = None,
    skip_bad_images: bool = False,
    timeout: float | str | None = None,
    device: str = "auto",
    storage: str | None = None,
    evaluate: Evaluate | None = None,
    listener: Listener | None = None,
) -> Study:
    """Searches a space for its accuracy–FLOPs front; resumes the study of that name where it exists.

    Args:
        space: a `SearchSpace`, a YAML file, or the name of a ready space. None: the study's own, or `digits`.
        data: what `nas.load_data` takes. None: the study's own, or the digits for a space that takes them.
        trials: the total of finished trials that the study is to have.
        name: the study's folder in `runs`. None: named after the space and the data.
        runs: the folder of studies.
        epochs: in place of the recipe's.
        sampler: `tpe`, `nsga2`, `random` or `gp`.
        seed: of the splits, the sampler and each training. None: the study's own, or 0.
        max_flops: in place of the space's, in multiply–adds; a number, or a text such as `50M`.
        max_params: in place of the space's.
        max_images: search on a stratified part of the images only.
        skip_bad_images: leave out images that cannot be read, instead of refusing the data.
        timeout: no further trial is started after so many seconds, or after a duration such as `2h`.
        device: `auto`, `cpu` or `cuda`.
        storage: the URL of a database for Optuna, in place of a journal file in the study's folder.
        evaluate: one's own training in place of ours: (architecture, report) → accuracy. `data` may then be None.
        listener: is told what happens.

    Raises:
        NasError: an option, the space, the data or the study cannot be used.
        KeyboardInterrupt: passed on, once the running trial is put back to be trained again.
    """
    integer(trials, "trials", maximum=10**9)
    seconds = parse_duration(timeout, "timeout") if timeout is not None else math.inf
    one_of(sampler, "sampler", SAMPLERS)
    known = Study.open(name, runs, storage=storage).config if name and Study.exists(name, runs) else None
    space = _settled_space(space, known, epochs=epochs, max_flops=max_flops, max_params=max_params)
    seed = integer(seed if seed is not None else known.seed if known else 0, "seed", minimum=0, maximum=2**32 - 1)
    description: dict[str, Any] = {"source": "evaluate"}
    if data is None and evaluate is None:
        data, max_images = _usual_data(space, known, max_images)
        skip_bad_images = skip_bad_images or bool(known and known.data["skipped_images"])
    if data is not None:
        images = load_data(data, space.input, seed=seed, max_images=max_images, skip_bad_images=skip_bad_images)
        space = space.with_changes(classes=len(images.classes))
        description = {**images.describe(), "max_images": max_images}
        if isinstance(data, str | Path) and Path(data).expanduser().exists():  # to be found from any folder
            description["source"] = str(Path(data).expanduser().absolute())
        evaluate = evaluate or _our_training(images, space, seed=seed, device=device)
    study = Study.create(
        name or _usual_name(space, description["source"]), runs, StudyConfig(space, description, seed), storage=storage
    )
    assert evaluate is not None  # without one of the user's there were data
    with study.locked():
        study.close_running()
        study.set_search_state(trials, RUNNING)
        ended = INTERRUPTED  # unless it comes to an end by itself
        try:
            ended = _run(
                study, evaluate, sampler, trials=trials, deadline=time.monotonic() + seconds, listener=listener
            )
        finally:
            study.set_search_state(trials, ended)
    return study


def _run(
    study: Study, evaluate: Evaluate, sampler: str, *, trials: int, deadline: float, listener: Listener | None
) -> str:
    """Returns why it ended: complete, timeout or exhausted."""
    finished = [record for record in study.records() if record.finished]
    taken = {record.architecture.key for record in finished}
    if listener:
        listener.search_started(study, trials)
    ended = "complete"
    while len(finished) < trials:
        if time.monotonic() >= deadline:
            ended = "timeout"
            break
        # Anew for each trial, from the seed and the count alone: a resumed search goes on as if never interrupted.
        seed = int(np.random.SeedSequence([study.config.seed, len(finished)]).generate_state(1)[0])
        chooser = ValidSampler(SAMPLERS[sampler](seed), study.config.space, lambda a: a.key in taken)
        try:
            record = _one_trial(study, chooser, evaluate, listener)
        except SpaceExhausted:
            if not finished:
                space = study.config.space
                raise InvalidValue(
                    f"max_flops={space.max_flops}, max_params={space.max_params}: "
                    "no architecture was found that keeps both"
                ) from None
            ended = "exhausted"
            break
        finished.append(record)
        taken.add(record.architecture.key)
    if listener:
        listener.search_ended(ended)
    return ended


def _one_trial(study: Study, sampler: ValidSampler, evaluate: Evaluate, listener: Listener | None) -> TrialRecord:
    trial, record = study.ask(sampler)
    if listener:
        listener.trial_started(record)
    curve: list[float] = []
    written = time.monotonic()

    def report(epoch: int, accuracy: float) -> None:
        nonlocal written
        curve.append(_checked(accuracy))
        if time.monotonic() - written >= SECONDS_BETWEEN_REPORTS:
            study.report(trial, curve)
            written = time.monotonic()
        if listener:
            listener.epoch_ended(epoch, curve[-1])

    start = time.perf_counter()
    accuracy: float | None = None
    reason: str | None = INTERRUPTED  # unless better is known below
    detail: str | None = None
    measures: dict[str, float] = {}
    try:
        result = evaluate(record.architecture, report)
        reached = _checked(getattr(result, "accuracy", result))
        measures = _measures(result, study.config.space)
        _keep_artifacts(result, study, record)
        accuracy, reason = reached, None
    except StudyError:  # no trial's fault: the study cannot keep what is trained
        raise
    except SystemExit:  # how Lightning, in one's own training, answers Ctrl-C
        raise KeyboardInterrupt from None
    except Exception as error:  # a trial may fail in any way; the search goes on
        reason, detail = _failure(error)
    finally:
        record = study.tell(
            trial, Outcome(accuracy, time.perf_counter() - start, tuple(curve), reason, detail, measures)
        )
        if listener:
            listener.trial_ended(record)
    return record


def _checked(value: Any) -> float:
    """An accuracy that was returned or reported, if it is one."""
    try:
        accuracy = float(value)
    except (TypeError, ValueError):
        raise TrainingFailed("bad_accuracy", f"evaluate gave {shown(value)}, which is no number") from None
    if not 0 <= accuracy <= 1:
        raise TrainingFailed("bad_accuracy", f"evaluate gave {accuracy:g}; an accuracy is between 0 and 1")
    return accuracy


def _measures(result: Any, space: SearchSpace) -> dict[str, float]:
    """What else a training measured; a value that is not finite counts as not measured."""
    measured = {str(name): float(value) for name, value in getattr(result, "measures", {}).items()}
    taken = next((name for name in measured if name in RESERVED_NAMES or name in space.parameters), None)
    if taken is not None:
        raise TrainingFailed(
            "bad_measures", f"measures has {taken!r}, which every trial has already; name it otherwise"
        )
    return {name: value for name, value in measured.items() if math.isfinite(value)}


def _keep_artifacts(result: "float | TrainingResult", study: Study, record: TrialRecord) -> None:
    """The weights and the confusion matrix of a trial, where the training gave them."""
    weights, confusion = getattr(result, "weights", None), getattr(result, "confusion", None)
    file = study.weights_file(record.trial)
    try:
        if weights is not None:
            from nas.weights import save_weights

            save_weights(file, weights, record.architecture)
        if confusion is not None:
            file = study.confusion_file(record.trial)
            save_confusion(file, confusion)
    except OSError as error:
        raise StudyError(f"{file}: cannot be written: {error.strerror or error}") from None


def _failure(error: Exception) -> tuple[str, str]:
    """A reason code, and what a person needs to mend it."""
    if isinstance(error, TrainingFailed):
        return error.reason, str(error)
    memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"  # torch's, without torch
    detail = traceback.format_exc()[-DETAIL_CHARACTERS:]
    return "out_of_memory" if memory else "error", detail.encode("utf-8", "replace").decode()


def _our_training(images: ImageData, space: SearchSpace, *, seed: int, device: str) -> Evaluate:
    from nas.training import on_device, train

    data = on_device(images, space.recipe, device)
    return lambda architecture, report: train(architecture, data, space.recipe, seed=seed, report=report)


def _settled_space(
    space: str | Path | SearchSpace | None,
    known: StudyConfig | None,
    *,
    epochs: int | None,
    **budgets: int | str | None,
) -> SearchSpace:
    if space is None and known:
        settled = known.space
    else:
        settled = space if isinstance(space, SearchSpace) else load_space(space if space is not None else "digits")
    read = {key: parse_count(budget, key) for key, budget in budgets.items() if budget is not None}
    settled = settled.with_changes(**read)
    return settled.with_changes(recipe=replace(settled.recipe, epochs=epochs)) if epochs is not None else settled


def _usual_data(space: SearchSpace, known: StudyConfig | None, max_images: int | None) -> tuple[Any, int | None]:
    if known:
        source = known.data["source"]
        if source in ("arrays", "evaluate"):
            raise DataError(f"data: the study was searched from Python ({source}); resume it there with the same")
        return source, max_images if max_images is not None else known.data["max_images"]
    if space.input == DIGITS:
        return "digits", max_images
    raise DataError(
        f"data: space '{space.name}' takes images of {space.input.size}×{space.input.size} pixels with "
        f"{space.input.channels} channels; name a folder of images, a parquet file or a hub data set with --data"
    )


def _usual_name(space: SearchSpace, source: str) -> str:
    words = [space.name] + ([Path(source).name] if Path(source).name != space.name else [])
    return re.sub(r"[^\w.+-]+", "-", "-".join(words)).strip("-.")
