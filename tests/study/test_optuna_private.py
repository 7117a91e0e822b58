import optuna

from nas.study.storage.optuna_private import (
    CHECKED_ON,
    FullTrainings,
    enqueued_params,
    identity_of,
    open_trial,
    storage_of,
)


def test_what_optuna_keeps_private_is_as_it_was_checked() -> None:
    """With a later version look at each function of the module, then at this line."""
    assert optuna.__version__.startswith(CHECKED_ON)


def test_each_does_what_it_says() -> None:
    storage = optuna.storages.InMemoryStorage()
    one, other = (optuna.create_study(storage=storage, study_name=name) for name in ("one", "other"))
    assert storage_of(one) is storage_of(other)
    assert identity_of(one) == identity_of(optuna.load_study(storage=storage, study_name="one")) != identity_of(other)
    one.enqueue_trial({"x": 1})
    one.ask()
    one.ask()
    assert [enqueued_params(trial) for trial in one.get_trials(deepcopy=False)] == [{"x": 1}, None]
    left = open_trial(one, one.trials[1])
    left.set_user_attr("reason", "tested")
    one.tell(left, state=optuna.trial.TrialState.FAIL)
    assert one.trials[1].user_attrs == {"reason": "tested"}


def test_a_sampler_does_not_see_what_was_pruned() -> None:
    study = optuna.create_study()
    for state in (optuna.trial.TrialState.PRUNED, optuna.trial.TrialState.COMPLETE):
        study.tell(study.ask(), 1.0 if state == optuna.trial.TrialState.COMPLETE else None, state=state)
    study.ask()
    assert [trial.number for trial in FullTrainings(study).get_trials(deepcopy=False)] == [1, 2]
    assert len(study.trials) == 3
    assert FullTrainings(study).best_trial.number == 1
