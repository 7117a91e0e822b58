"""search(): settles what is searched and how, and has it searched by one worker or by many."""

import math
import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from nas.data.images import ImageData
from nas.data.loading import DIGITS, load_data
from nas.errors import DataError, InvalidValue, StudyError
from nas.spaces.search_space import SearchSpace, load_space
from nas.strategy.latency_objective import fit_latency_model, measure_front
from nas.strategy.multi_fidelity import schedule_lengths
from nas.strategy.strategy import seen_of
from nas.study.artifacts import KEEP, KEEP_FRONT, kept_by, remove_stale_files
from nas.study.catalog import study_name
from nas.study.config import BY_FLOPS, BY_LATENCY, StudyConfig
from nas.study.creation import IncompleteStudy
from nas.study.images import described
from nas.study.plan import FRONT, SAMPLERS, SearchPlan
from nas.study.records import INTERRUPTED, RUNNING
from nas.study.study import Study
from nas.system.hardware import AUTO
from nas.system.processes import this_worker
from nas.training.objective import Evaluate, accepts
from nas.units import parse_count, parse_duration
from nas.validation import integer, one_of, shown
from nas.workers.listeners import Listener
from nas.workers.scaling import ScalingConfig, sole_worker

__all__ = ["STOPPING", "run_search", "search"]

STOPPING = ("front", "none")
OBJECTIVES: dict[tuple[str, ...], str] = {("accuracy", "flops"): BY_FLOPS, ("accuracy", "latency"): BY_LATENCY}


def search(
    space: str | Path | SearchSpace | None = None,
    data: Any = None,
    *,
    trials: int = 50,
    name: str | None = None,
    runs: str | Path = "runs",
    epochs: int | None = None,
    sampler: str = FRONT,
    fidelities: int | None = None,
    eta: int = 3,
    stopping: str = "front",
    patience: int | None = None,
    warm_start: str | None = None,
    seed: int | None = None,
    max_flops: int | str | None = None,
    max_params: int | str | None = None,
    max_images: int | None = None,
    skip_bad_images: bool = False,
    timeout: float | str | None = None,
    device: str = AUTO,
    workers: int | str = 1,
    workers_per_gpu: int | str = AUTO,
    ray: str | None = None,
    cpus_per_worker: float = 1,
    gpus_per_worker: float = 0,
    storage: str | None = None,
    keep: str | None = None,
    trial_timeout: float | str | None = None,
    objectives: str | Sequence[str] | None = None,
    measure_latency: bool = False,
    evaluate: Evaluate | None = None,
    listener: Listener | None = None,
) -> Study:
    """Searches a space for its front of accuracy and FLOPs or latency; resumes the study of that name where it exists.

    Args:
        space: a `SearchSpace`, a YAML file, or the name of a ready space. None: the study's own, or `digits`.
        data: what `nas.load_data` takes. None: the study's own, or the digits for a space that takes them.
        trials: the study is to spend the epochs of so many full trainings, all in all.
        name: the study's folder in `runs`. None: named after the space and the data.
        runs: the folder of studies.
        epochs: in place of the recipe's.
        sampler: `front`, our own, or Optuna's `tpe`, `tpe-multivariate`, `nsga2`, `random` or `gp`.
        fidelities: of how many schedule lengths trainings are, each `eta` times the one before; 1: full ones alone.
            None: 3 where the epochs allow it and the training takes `epochs`.
        eta: the factor between lengths.
        stopping: `front` gives up a training that is beyond hope; `none` lets all come to their end.
        patience: end once the epochs of so many full trainings have raised the hypervolume by no more than 1 %.
        warm_start: an earlier study in `runs` with the same choices, whose trials the sampler learns from.
        seed: of the splits, the sampler and each training. None: the study's own, or 0.
        max_flops: in place of the space's, in multiply–adds; a number, or a text such as `50M`.
        max_params: in place of the space's.
        max_images: search on a stratified part of the images only.
        skip_bad_images: leave out images that cannot be read, instead of refusing the data.
        timeout: no further trial is started after so many seconds, or after a duration such as `2h`.
        device: `auto`, `cpu` or `cuda`.
        workers: how many trainings run at once, each in a process of its own; `auto`: as many as keep this machine
            busy. 1: one after the other in this process, which on a CPU gives the same study for the same seed. 0: none
            of its own; it waits for those that `nas worker` starts.
        workers_per_gpu: how many share a GPU, where `workers` is `auto`; `auto`: as is measured to be best.
        ray: have the workers run on the Ray cluster of that address; `auto`: the one that runs here.
        cpus_per_worker: what a worker takes of a cluster.
        gpus_per_worker: the same, a fraction for several on one GPU.
        storage: the URL of a database for Optuna, in place of a journal file in the study's folder.
        keep: whose trained weights stay on the disk: `front`, of those trials that no other beats on accuracy, cost and
            parameters at once; `all`; or `none`. None: as the study was searched before, or `front`.
        trial_timeout: seconds, or a duration such as `30m`, after which a training is ended as failed. Trainings are
            then in processes of their own, with one worker too.
        objectives: `accuracy,flops`, or `accuracy,latency`: the milliseconds of one image on `device`, measured before
            each training. Such a search has one worker, as the device must be idle, and a model of the latency, fitted
            before its first trial to about 40 architectures that are measured for it. None: the study's own, or
            `accuracy,flops`.
        measure_latency: once the search has ended, measure the latency of what is on its front.
        evaluate: one's own training in place of ours: (architecture, report) → accuracy. `data` may then be None. If
            it takes the keyword `epochs`, it is told for how long to train; if it takes `checkpoint`, a file in which
            it may keep what it needs to go on after an interruption.
        listener: is told what happens.

    Raises:
        NasError: an option, the space, the data or the study cannot be used.
        KeyboardInterrupt: passed on, once the running trial is put back to be trained again.
    """
    integer(trials, "trials", maximum=10**9)
    seconds = parse_duration(timeout, "timeout") if timeout is not None else math.inf
    one_of(sampler, "sampler", SAMPLERS)
    one_of(stopping, "stopping", STOPPING)
    integer(patience if patience is not None else 1, "patience", maximum=10**6)
    one_of(keep if keep is not None else KEEP_FRONT, "keep", KEEP)
    longest = parse_duration(trial_timeout, "trial_timeout") if trial_timeout is not None else None
    earlier = _existing(study_name(name), runs, storage) if name else None
    known = earlier.config if earlier else None
    objective = _objective(objectives) if objectives is not None else known.objective if known else BY_FLOPS
    if objective == BY_LATENCY:
        workers = sole_worker(workers, ray)
        if longest is not None:
            raise InvalidValue(
                f"trial_timeout={trial_timeout}: is not for objectives=accuracy,latency, whose trainings are in the "
                "process that measures"
            )
    scaling = ScalingConfig(workers, workers_per_gpu, device, ray, cpus_per_worker, gpus_per_worker)
    space = _settled_space(space, known, epochs=epochs, max_flops=max_flops, max_params=max_params)
    lengths = _lengths(space, evaluate, fidelities, eta)
    if evaluate is not None and accepts(evaluate, "epochs") and len(lengths) == 1:
        evaluate = partial(evaluate, epochs=lengths[0])
    seed = integer(seed if seed is not None else known.seed if known else 0, "seed", minimum=0, maximum=2**32 - 1)
    description: dict[str, Any] = {"source": "evaluate"}
    images: ImageData | None = None
    if data is None and evaluate is None:
        data, max_images = _usual_data(space, known, max_images)
        skip_bad_images = skip_bad_images or bool(known and known.data.get("skipped_images"))
    if data is not None:
        images = load_data(data, space.input, seed=seed, max_images=max_images, skip_bad_images=skip_bad_images)
        space = space.with_changes(classes=len(images.classes))
        description = described(images, data, max_images)
    name = name or _usual_name(space, description["source"])
    prior = seen_of(_earlier(warm_start, runs, space)) if warm_start is not None else []
    keep = keep or kept_by(earlier or _existing(name, runs, storage))
    plan = SearchPlan(trials, lengths, sampler, eta, stopping, patience, tuple(prior), keep, longest)
    deadline = time.time() + seconds
    work = scaling.work(
        name,
        runs,
        space=space,
        plan=plan,
        images=images,
        seed=seed,
        evaluate=evaluate,
        storage=storage,
        deadline=deadline,
        listener=listener,
    )
    study = Study.create(name, runs, StudyConfig(space, description, seed, objective), storage=storage)
    with study.locked():
        study.requeue_stale(ended=[this_worker()])
        if objective == BY_LATENCY:
            fit_latency_model(study, device=device)
        run_search(study, plan, partial(_then_measured, work=work, device=device) if measure_latency else work)
    return study


def run_search(study: Study, plan: SearchPlan, work: Callable[[Study], str]) -> None:
    """Has the work done on a study that is locked for it, by a plan that all of its workers can read.

    Raises:
        StudyError: another search, on another machine or from another folder, is at work on it.
    """
    with study.heartbeat():
        with study.ask_lock():
            study.refuse_second_search()
            before = sum(record.finished for record in study.records())
            study.set_attribute("plan", plan.to_dict())
            study.set_search_state(plan.trials, RUNNING, before=before)
        remove_stale_files(study)
        try:
            ended = work(study)
        except BaseException:
            with suppress(StudyError):  # which may be what it has ended of
                study.set_search_state(plan.trials, INTERRUPTED, before=before)
            raise
        study.set_search_state(plan.trials, ended, before=before)


def _existing(name: str, runs: str | Path, storage: str | None) -> Study | None:
    with suppress(IncompleteStudy):  # which is begun again
        return Study.open(name, runs, storage=storage) if Study.exists(name, runs) else None
    return None


def _objective(asked: str | Sequence[str]) -> str:
    """What accuracy is to be weighed against."""
    names = asked.split(",") if isinstance(asked, str) else asked
    found = OBJECTIVES.get(tuple(str(name).strip() for name in names)) if isinstance(names, Sequence) else None
    if found is None:
        allowed = " or ".join(",".join(names) for names in OBJECTIVES)
        raise InvalidValue(f"objectives={shown(asked)}: must be {allowed}")
    return found


def _then_measured(study: Study, *, work: Callable[[Study], str], device: str) -> str:
    """Has the work done; then the device is idle, and the front's latencies are measured, as a part of the search."""
    ended = work(study)
    measure_front(study, device=device)
    return ended


def _lengths(space: SearchSpace, evaluate: Evaluate | None, fidelities: int | None, eta: int) -> tuple[int, ...]:
    """The lengths of the schedules; one where one's own training is not told for how long to train."""
    takes_epochs = evaluate is None or accepts(evaluate, "epochs")
    if not takes_epochs and fidelities is not None and fidelities > 1:
        raise InvalidValue(f"fidelities={fidelities}: evaluate takes no keyword 'epochs', so it must be 1")
    return schedule_lengths(space.recipe.epochs, fidelities if takes_epochs else 1, eta)


def _earlier(name: str, runs: str | Path, space: SearchSpace) -> Study:
    """The study that a search begins with, if its architectures are this one's."""
    earlier = Study.open(name, runs)
    mine, theirs = space.parameters, earlier.config.space.parameters
    differing = [key for key in {**mine, **theirs} if not set(mine.get(key, ())) & set(theirs.get(key, ()))]
    if differing:
        key = differing[0]
        there, here = (
            f"{key}={list(values[key])}" if key in values else f"no choice of {key}" for values in (theirs, mine)
        )
        raise InvalidValue(f"warm_start={name!r}: its space has {there} and this one {here}: no value in common")
    return earlier


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
        return source, max_images if max_images is not None else known.data.get("max_images")
    if space.input == DIGITS:
        return "digits", max_images
    raise DataError(
        f"data: space '{space.name}' takes images of {space.input.size}×{space.input.size} pixels with "
        f"{space.input.channels} channels; name a folder of images, a parquet file or a hub data set with --data"
    )


def _usual_name(space: SearchSpace, source: str) -> str:
    words = [space.name] + ([Path(source).name] if Path(source).name != space.name else [])
    return re.sub(r"[^\w.+-]+", "-", "-".join(words)).strip("-.")
