"""Trains given architectures from scratch on several seeds, in a study that holds only these repetitions."""

from collections.abc import Sequence
from dataclasses import replace

from nas.errors import InvalidValue
from nas.spaces.search_space import Params
from nas.study.config import StudyConfig
from nas.study.plan import SearchPlan
from nas.study.records import TrialRecord, TrialState, trainings_spent
from nas.study.storage.backend import LARGEST_SEED, QUEUED, SEED
from nas.study.storage.recovery import withdraw
from nas.study.study import Study
from nas.system.processes import this_worker
from nas.training.default_objective import shared_training
from nas.training.distributed import equal_shares
from nas.training.objective import CustomObjective, accepts
from nas.validation import integer
from nas.workers.listeners import Listener
from nas.workers.scaling import ScalingConfig
from nas.workers.task import Task
from nas.workflows.running import run_search

__all__ = ["MOST_SEEDS", "repeat"]

MOST_SEEDS = 1000


def repeat(
    task: Task,
    config: StudyConfig,
    *,
    points: Sequence[Params],
    seeds: int,
    scaling: ScalingConfig,
    artifacts: str | None = None,
    listener: Listener | None = None,
) -> Study:
    """Trains the architecture at each point of the space on each seed, skipping trainings that the study already has.

    The seeds start after the configuration's, whose scores are biased: the search selected for them. Failed trainings
    are retried; what an earlier call was stopped before, and this one does not ask for, is not trained.

    Args:
        task: the study of repetitions, created if needed, and what to train on.
        config: the study's configuration.
        points: the architectures, as points of the configuration's space.
        seeds: number of trainings per architecture.
        scaling: the workers to train with.
        artifacts: the URL of the store for the trainings' files, as in `nas.search`.
        listener: notified of progress.

    Returns:
        The study of repetitions.

    Raises:
        NasError: the study has a different configuration, or a custom training function does not accept `seed`.
        KeyboardInterrupt: re-raised after the running trainings have been requeued.
    """
    integer(seeds, "seeds", maximum=MOST_SEEDS)
    if isinstance(task.objective, CustomObjective) and not accepts(task.objective.evaluate, "seed"):
        raise InvalidValue("evaluate takes no keyword 'seed': without, a repetition would repeat nothing")
    space = config.space
    study = Study.create(task.study, task.runs, config, storage=task.storage)
    with study.locked():
        study.requeue_stale(ended=[this_worker()])
        asked = {
            (space.architecture(point).key, seed): {**point, SEED: seed}
            for seed in [(config.seed + 1 + number) % (LARGEST_SEED + 1) for number in range(seeds)]
            for point in points
        }
        for record in study.records():
            if record.state == TrialState.WAITING and _training(record) not in asked:
                withdraw(study.optuna_study, record.trial)
        records = study.records()
        there = [
            record
            for record in records
            if record.state in (TrialState.COMPLETE, TrialState.WAITING, TrialState.RUNNING)
        ]
        known = {_training(record) for record in there}
        missing = [point for training, point in asked.items() if training not in known]
        left = len(missing) + sum(record.state != TrialState.COMPLETE for record in there)
        if left:
            epochs = space.recipe.epochs
            spent = round(trainings_spent(records, epochs))  # by failures, too, where there were many
            plan = SearchPlan(spent + left, (epochs,), QUEUED, stopping="none", artifacts=artifacts)
            if left == 1:
                scaling, task = _for_one(scaling, config, task)
            work = scaling.work(config, plan, task, listener=listener)
            study.queue(missing)
            run_search(study, plan, work)
    return study


def _training(record: TrialRecord) -> tuple[str, int | None]:
    return record.architecture.key, record.seed


def _for_one(scaling: ScalingConfig, config: StudyConfig, task: Task) -> tuple[ScalingConfig, Task]:
    """Lets a single remaining training use all GPUs; with more, one GPU per training wastes no time on waiting."""
    recipe, images = config.space.recipe, task.images
    if task.objective is not None or images is None:
        return scaling, task
    processes = equal_shares(recipe, images, scaling.together)
    if processes == 1:
        return scaling, task
    objective = shared_training(
        images, recipe, processes=processes, seed=config.seed, device=scaling.device, teachers=task.teachers
    )
    return replace(scaling, workers=1), replace(task, objective=objective)
