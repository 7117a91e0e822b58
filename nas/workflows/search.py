"""The search workflow: resolves the space, data and plan of a search, and runs it with one or many workers."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from nas.architectures.latency_elsewhere import measure_elsewhere
from nas.data.images import ImageData
from nas.data.inspection import inspect_source
from nas.errors import InvalidValue
from nas.spaces.built_in import load_space
from nas.spaces.generation import generate_space
from nas.spaces.search_space import SearchSpace
from nas.strategy.latency_objective import fit_latency_model, measure_front, measure_front_elsewhere
from nas.strategy.multi_fidelity import schedule_lengths
from nas.study.artifacts import KEEP, KEEP_FRONT, kept_by
from nas.study.catalog import study_name, usual_study_name
from nas.study.config import BY_FLOPS, BY_LATENCY, StudyConfig
from nas.study.creation import IncompleteStudy
from nas.study.images import ImageOptions, images_to_search
from nas.study.plan import FRONT, PATIENCE_STORAGE, SAMPLERS, TRIALS, SearchPlan
from nas.study.search_state import SearchStatus
from nas.study.storage.artifact_store import artifact_store
from nas.study.study import Study
from nas.system.hardware import AUTO
from nas.system.processes import this_worker
from nas.system.software import software
from nas.training.baselines import baseline_accuracies
from nas.training.objective import CustomObjective, Evaluate, accepts
from nas.units import parse_count, parse_duration
from nas.validation import integer, one_of, real, shown
from nas.workers.listeners import Listener
from nas.workers.scaling import ScalingConfig, sole_worker
from nas.workers.task import Task
from nas.workflows.data_checks import warn_about_images
from nas.workflows.running import run_search
from nas.workflows.warm_start import learned_from

__all__ = ["STOPPING", "resolve_space", "search"]

STOPPING = ("front", "none")
OBJECTIVES: dict[tuple[str, ...], str] = {("accuracy", "flops"): BY_FLOPS, ("accuracy", "latency"): BY_LATENCY}


def search(
    space: str | Path | SearchSpace | None = None,
    data: Any = None,
    *,
    trials: int | None = None,
    name: str | None = None,
    runs: str | Path = "runs",
    epochs: int | None = None,
    recipe: Mapping[str, Any] | None = None,
    sampler: str = FRONT,
    fidelities: int | None = None,
    eta: int = 3,
    stopping: str = "front",
    patience: int | None = None,
    warm_start: str | None = None,
    references: bool = True,
    seed: int | None = None,
    max_flops: int | str | None = None,
    max_params: int | str | None = None,
    max_images: int | None = None,
    validation: float | None = None,
    folds: int | None = None,
    group_by: str | None = None,
    resize: str | None = None,
    skip_bad_images: bool = False,
    timeout: float | str | None = None,
    device: str = AUTO,
    workers: int | str = 1,
    workers_per_gpu: int | str = AUTO,
    ray: str | None = None,
    cpus_per_worker: float = 1,
    gpus_per_worker: float = 0,
    storage: str | None = None,
    patience_storage: float = PATIENCE_STORAGE,
    artifacts: str | None = None,
    keep: str | None = None,
    trial_timeout: float | str | None = None,
    objectives: str | Sequence[str] | None = None,
    measure_latency: bool = False,
    latency_on: str | None = None,
    evaluate: Evaluate | None = None,
    listener: Listener | None = None,
) -> Study:
    """Searches a space for its Pareto front of accuracy against FLOPs or latency; resumes an existing study.

    Args:
        space: a `SearchSpace`, a YAML file, or the name of a built-in space. None: the study's own, or `digits` for the
            digits, or one made for the images and the budget (`nas.spaces.generation.generate_space`).
        data: anything that `nas.load_data` accepts. None: the study's own, or the digits for a space that takes them.
        trials: total budget, in units of one full-length training. None: the study's own, or `TRIALS`.
        name: the study's folder in `runs`. None: derived from the names of the space and the data.
        runs: the folder of studies.
        epochs: overrides the recipe's epochs.
        recipe: overrides other fields of the space's recipe, such as `{"metric": "balanced_accuracy"}`.
        sampler: `front`, our own, or Optuna's `tpe`, `tpe-multivariate`, `nsga2`, `random` or `gp`.
        fidelities: number of schedule lengths, each `eta` times the previous one; 1: only full-length trainings.
            None: 2 if the epochs allow it and the training accepts `epochs`.
        eta: the factor between schedule lengths.
        stopping: `front` stops hopeless trainings early; `none` runs all of them to the end.
        patience: end once the hypervolume has grown by no more than 1 % over the epochs of this many full trainings.
        references: train ResNet-, ResNeXt- and RegNet-like networks of the space too, one for every ten trainings, to
            show what the search gains over them.
        warm_start: an earlier study in `runs` with the same choices, whose trials the sampler learns from.
        seed: the seed of the splits, the sampler and each training. None: the study's own, or 0.
        max_flops: overrides the space's limit, in multiply–adds; a number, or a string such as `50M`.
        max_params: overrides the space's limit on parameters; a number, or a string such as `1M`.
        max_images: search on a stratified subset of about this many training and validation images.
        validation: what to hold out for validation if the data has no validation set: below 1 the share of each class,
            else the approximate number of images. None: as in the study, or a fifth, at most 5,000 images.
        folds: cross-validate where images are few: each trial trains that many networks, each judged by another part of
            all images but those for the test. None: as in the study, or one network.
        group_by: which images belong together, so that no two splits share a group, as in `nas.load_data`.
        resize: how images of other proportions are made to fit: `crop`, `letterbox` or `stretch`. None: as in the
            study, or `crop`.
        skip_bad_images: skip unreadable images instead of rejecting the data.
        timeout: no trial starts after this many seconds, or after a duration such as `2h`.
        device: `auto`, `cpu` or `cuda`.
        workers: number of concurrent trainings, each in its own process; `auto`: as many as keep this machine busy.
            1: sequentially in this process, which on a CPU is reproducible for a given seed. 0: only those that
            `nas worker` adds.
        workers_per_gpu: number of workers per GPU if `workers` is `auto`; `auto`: the number measured to be fastest.
        ray: the address of a Ray cluster to run the workers on; `auto`: the one that this machine belongs to.
        cpus_per_worker: CPUs reserved per worker on a cluster.
        gpus_per_worker: GPUs reserved per worker on a cluster; a fraction lets several workers share one.
        storage: the URL of a database for Optuna, instead of a journal file in the study's folder.
        patience_storage: seconds for which workers wait for a database that cannot be used, as while it restarts.
        artifacts: the URL of a folder that all machines reach (`s3://…`, `file:///…`, whatever fsspec knows), where
            weights, predictions and confusion matrices are kept too. None: as in the study's previous search.
        keep: whose trained weights stay on disk: `front`, of trials that no other trial beats on accuracy, cost and
            parameters at once; `all`; or `none`. None: as in the study's previous search, or `front`.
        trial_timeout: seconds, or a duration such as `30m`, after which a training is recorded as failed. Trainings
            then run in separate processes, even with one worker.
        objectives: `accuracy,flops` or `accuracy,latency`, where latency is the milliseconds per image on `device`,
            measured before each training. A search for latency has one worker, as the device must be idle, and uses a
            latency model fitted before the first trial to measurements of about 40 architectures. None: the study's
            own, or `accuracy,flops`.
        measure_latency: measure the latency of the front's members after the search.
        latency_on: a command that runs the command that follows it on another device, such as `ssh pi@board`: latencies
            are measured there, with onnxruntime (`nas.architectures.latency_elsewhere`), and a search for latency may
            have several workers. It is not stored: give it again to go on.
        evaluate: a custom training function, (architecture, report) → accuracy; `data` may then be None. If it accepts
            the keyword `epochs`, it receives the number of epochs to train; if it accepts `checkpoint`, the path of a
            file for the state it needs to resume after an interruption.
        listener: notified of progress.

    Returns:
        The study.

    Raises:
        NasError: an option, the space, the data or the study cannot be used.
        KeyboardInterrupt: re-raised after the running trial has been requeued.
    """
    _check_options(trials=trials, sampler=sampler, stopping=stopping, patience=patience, keep=keep)
    patience_storage = real(patience_storage, "patience_storage", minimum=0, maximum=1e9)
    deadline = time.time() + (parse_duration(timeout, "timeout") if timeout is not None else math.inf)
    longest = parse_duration(trial_timeout, "trial_timeout") if trial_timeout is not None else None
    earlier = _existing(study_name(name), runs, storage) if name else None
    known = earlier.config if earlier else None
    weighed = _resolve_objective(objectives, known)
    _check_folds(folds, evaluate)
    _check_latency_on(latency_on, weighed, ray, measure_latency=measure_latency)
    if weighed == BY_LATENCY and latency_on is None:
        workers = _worker_that_measures(workers, ray, trial_timeout)
    scaling = ScalingConfig(workers, workers_per_gpu, device, ray, cpus_per_worker, gpus_per_worker)
    changes = {**(recipe or {}), **({"epochs": epochs} if epochs is not None else {})}
    space = resolve_space(space, data, known, recipe=changes, max_flops=max_flops, max_params=max_params)
    seed = integer(seed if seed is not None else known.seed if known else 0, "seed", minimum=0, maximum=2**32 - 1)
    images, description = None, dict[str, Any](source="evaluate")
    if data is not None or evaluate is None:
        how = ImageOptions(max_images=max_images, validation=validation, folds=folds, group_by=group_by, resize=resize)
        how["skip_bad_images"] = skip_bad_images
        images, description = images_to_search(data, space, known=known, seed=seed, **how)
        if earlier is None:
            warn_about_images(images, space.recipe)
    space = _settled(space, images)
    lengths = _lengths(space, evaluate, fidelities, eta)
    name = name or usual_study_name(space.name, description["source"])
    prior = learned_from(warm_start, runs, space, sampler=sampler) if warm_start is not None else []
    there = earlier or _existing(name, runs, storage)
    keep, artifacts = keep or kept_by(there), _store_for(there, artifacts)
    trials = trials if trials is not None else _budget_of(there)
    plan = SearchPlan(trials, lengths, sampler, eta, stopping, patience, tuple(prior), keep, longest, patience_storage)
    plan = replace(plan, software=software(), references=references, artifacts=artifacts)
    task = Task(name, Path(runs), storage, images, CustomObjective(evaluate) if evaluate else None, deadline)
    config = StudyConfig(space, description, seed, weighed)
    work = scaling.work(config, plan, replace(task, latency_on=latency_on), listener=listener)
    study = Study.create(name, runs, config, storage=storage)
    with study.locked():
        study.requeue_stale(ended=[this_worker()])
        if weighed == BY_LATENCY:
            fit_latency_model(study, device=device, on=latency_on)
        then = partial(_then_measured, work=work, device=device, on=latency_on)
        run_search(study, plan, then if measure_latency else work)
        if images is not None and not study.attributes.baselines:
            study.attributes.baselines = baseline_accuracies(images, seed=seed, metric=space.recipe.metric)
    return study


def _settled(space: SearchSpace, images: ImageData | None) -> SearchSpace:
    """Returns the space with the classes of the images, and the recipe that follows from them."""
    if images is None:
        return space.with_changes(recipe=space.recipe.for_images(None, space.input))
    recipe = space.recipe.for_images(len(images.train.labels), space.input, multi_label=images.is_multi_label)
    return space.with_changes(classes=len(images.classes), recipe=recipe)


def _existing(name: str, runs: str | Path, storage: str | None) -> Study | None:
    with suppress(IncompleteStudy):  # `Study.create` completes it
        return Study.open(name, runs, storage=storage) if Study.exists(name, runs) else None
    return None


def _store_for(study: Study | None, asked: str | None) -> str | None:
    """Returns the URL where a study, or a new one, keeps files for all machines: as ever, else as asked.

    Raises:
        InvalidValue: it is no URL of a store, or another one than that of earlier trials' files.
        StudyError: the store cannot be written to.
    """
    plan = study.attributes.plan if study is not None else None
    known = plan.artifacts if plan is not None else None
    if known is not None and asked not in (None, known):
        raise InvalidValue(f"artifacts={shown(asked)}: earlier trials' files are in {known}; leave the option out")
    url = known or asked
    if url is not None:
        artifact_store(url).check()
    return url


def _budget_of(study: Study | None) -> int:
    state = study.attributes.search if study is not None else None
    return state.trials if state is not None else TRIALS


def _check_options(*, trials: int | None, sampler: str, stopping: str, patience: int | None, keep: str | None) -> None:
    """Refuses what needs neither the space nor the data to be seen."""
    integer(trials if trials is not None else 1, "trials", maximum=10**9)
    one_of(sampler, "sampler", SAMPLERS)
    one_of(stopping, "stopping", STOPPING)
    integer(patience if patience is not None else 1, "patience", maximum=10**6)
    one_of(keep if keep is not None else KEEP_FRONT, "keep", KEEP)


def _resolve_objective(asked: str | Sequence[str] | None, known: StudyConfig | None) -> str:
    """What accuracy is weighed against: as asked, else the study's own, else FLOPs."""
    if asked is None:
        return known.objective if known else BY_FLOPS
    names = asked.split(",") if isinstance(asked, str) else asked
    found = OBJECTIVES.get(tuple(str(name).strip() for name in names)) if isinstance(names, Sequence) else None
    if found is None:
        allowed = " or ".join(",".join(names) for names in OBJECTIVES)
        raise InvalidValue(f"objectives={shown(asked)}: must be {allowed}")
    return found


def _check_folds(folds: int | None, evaluate: Evaluate | None) -> None:
    if folds is not None and evaluate is not None:
        raise InvalidValue(f"folds={folds}: evaluate trains one network; leave this out, or train the folds there")


def _check_latency_on(latency_on: str | None, weighed: str, ray: str | None, *, measure_latency: bool) -> None:
    """Refuses another device for latencies where there are none to measure, or no worker that may."""
    if latency_on is None:
        return
    if weighed != BY_LATENCY and not measure_latency:
        raise InvalidValue(f"latency_on={latency_on!r}: needs objectives=accuracy,latency or measure_latency")
    if weighed == BY_LATENCY and ray is not None:
        raise InvalidValue(f"ray={ray!r}: workers on other machines do not measure on the device of latency_on")


def _worker_that_measures(workers: int | str, ray: str | None, trial_timeout: float | str | None) -> int:
    """The one worker of a search by latency, which measures and trains in this process."""
    if trial_timeout is not None:
        raise InvalidValue(
            f"trial_timeout={trial_timeout}: is not for objectives=accuracy,latency, whose trainings are in the "
            "process that measures"
        )
    return sole_worker(workers, ray)


def _then_measured(study: Study, *, work: Callable[[Study], SearchStatus], device: str, on: str | None) -> SearchStatus:
    """Runs the workers, then measures the front's latencies on the idle device as part of the search."""
    if on is None:
        ended = work(study)
        measure_front(study, device=device)
        return ended
    if study.config.objective == BY_LATENCY:  # each trial has its own
        return work(study)
    space = study.config.space
    measure_elsewhere([space.architecture(next(space.points()))], on)  # a device that cannot be used is seen at once
    ended = work(study)
    measure_front_elsewhere(study, on)
    return ended


def _lengths(space: SearchSpace, evaluate: Evaluate | None, fidelities: int | None, eta: int) -> tuple[int, ...]:
    """Returns the schedule lengths; only one if a custom training does not accept `epochs`."""
    takes_epochs = evaluate is None or accepts(evaluate, "epochs")
    if not takes_epochs and fidelities is not None and fidelities > 1:
        raise InvalidValue(f"fidelities={fidelities}: evaluate takes no keyword 'epochs', so it must be 1")
    return schedule_lengths(space.recipe.epochs, fidelities if takes_epochs else 1, eta)


def resolve_space(
    space: str | Path | SearchSpace | None,
    data: Any,
    known: StudyConfig | None,
    *,
    recipe: Mapping[str, Any],
    **budgets: int | str | None,
) -> SearchSpace:
    """The space to search: the given one, else the study's own, else one made for the data; with recipe and budgets."""
    read = {key: parse_count(budget, key) for key, budget in budgets.items() if budget is not None}
    if isinstance(space, SearchSpace):
        resolved = space.with_changes(**read)
    elif space is None and known:
        resolved = known.space.with_changes(**read)
    elif space is not None or data is None or data == "digits":
        resolved = load_space(space if space is not None else "digits").with_changes(**read)
    else:
        shape = inspect_source(data)
        max_flops, max_params = read.get("max_flops"), read.get("max_params")
        resolved = generate_space(shape.input, shape.classes, max_flops=max_flops, max_params=max_params)
    return resolved.with_changes(recipe=resolved.recipe.with_values(**recipe)) if recipe else resolved
