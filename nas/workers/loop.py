"""run(): what one worker of a search does, until the study has spent what it is to spend."""

import math
import time
from collections.abc import Sequence

from optuna.trial import Trial

from nas.errors import InvalidValue
from nas.strategy.latency_objective import known_model, latency_on
from nas.strategy.samplers import SpaceExhausted
from nas.strategy.stopping import ending
from nas.strategy.strategy import Strategy
from nas.study.config import BY_LATENCY
from nas.study.plan import SearchPlan
from nas.study.records import RUNNING, TrialRecord, trainings_spent
from nas.study.storage.backend import QUEUED
from nas.study.study import Study
from nas.system.hardware import AUTO
from nas.system.memory import not_growing
from nas.training.objective import Evaluate
from nas.workers.failures import refuse_failing, refuse_lost_device
from nas.workers.listeners import Listener
from nas.workers.trial import run_trial

__all__ = ["run"]

SECONDS_BETWEEN_LOOKS = 0.2
"""How long a worker waits for the others, where what they train may be all that is left to train."""


def run(
    study: Study,
    evaluate: Evaluate,
    plan: SearchPlan,
    *,
    deadline: float = math.inf,
    device: str = AUTO,
    listener: Listener | None = None,
) -> str:
    """Asks, trains and tells, as one of any number of workers, until the study has spent what the plan says.

    No training is begun after the `deadline`, in seconds since 1970. `device` is where latencies are measured, if the
    study weighs accuracy against them. Returns why it ended: complete, timeout, settled (`patience`) or exhausted.

    Raises:
        StudyError: the storage cannot be used, or the search's first trainings all failed alike.
        DeviceLost: after a training that failed no further one can succeed on the GPU in this process.
    """
    model = known_model(study)
    strategy = Strategy(study.config, plan, model)
    clock = latency_on(device) if study.config.objective == BY_LATENCY else None
    bounds = model.bounds if model else None
    before, well_begun = state.before if (state := study.search_state()) else 0, False
    if listener:
        listener.search_started(study, plan.trials)
    with not_growing() as give_memory_back:
        while True:
            with study.asking():
                records = study.records()
                well_begun = well_begun or refuse_failing(study.name, records, before=before)
                ended = ending(records, study.config.space, plan=plan, deadline=deadline, bounds=bounds)
                begun = ended or _begin(study, strategy, records)
            if isinstance(begun, str):
                break
            if begun is None:
                time.sleep(SECONDS_BETWEEN_LOOKS)
                continue
            trial, record = begun
            ended_trial = run_trial(
                study,
                trial,
                evaluate,
                record=record,
                lengths=plan.lengths,
                stop=strategy.stop,
                ended=[other for other in records if other.finished],
                keep=plan.keep,
                clock=clock,
                listener=listener,
            )
            refuse_lost_device(study.name, ended_trial)
            give_memory_back()
    if listener:
        listener.search_ended(begun)
    return begun


def _begin(study: Study, strategy: Strategy, records: Sequence[TrialRecord]) -> tuple[Trial, TrialRecord] | str | None:
    """One more trial; None where that depends on how the running ones end; `exhausted` where all has been trained."""
    plan, full = strategy.plan, study.config.space.recipe.epochs
    running = [record for record in records if record.state == RUNNING]
    in_hand = sum(record.length or full for record in running) / full
    if running and trainings_spent(records, full) + in_hand >= plan.trials:
        return None
    also = {"lengths": len(plan.lengths) > 1, "seeds": plan.sampler == QUEUED}
    try:
        return study.ask(strategy.chooser(records), **also)
    except SpaceExhausted:
        last_resort = strategy.last_resort(records)
    if last_resort is not None:
        return study.ask(last_resort, **also)
    if running:
        return None
    if not any(record.finished for record in records):
        space = study.config.space
        raise InvalidValue(
            f"max_flops={space.max_flops}, max_params={space.max_params}: no architecture was found that keeps both"
        )
    return "exhausted"
