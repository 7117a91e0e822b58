"""The front of a value and a known cost: here of a formula, in place of trainings."""

import optuna

import optunahub

FrontSampler = optunahub.load_module("samplers/front").FrontSampler
SPACE = {
    "width": optuna.distributions.IntDistribution(8, 256, step=8),
    "groups": optuna.distributions.CategoricalDistribution((1, 2, 4, 8, 16)),
}


def cost(params):
    """Returns the cost of a point's parameters."""
    return params["width"] ** 2 / params["groups"]


study = optuna.create_study(
    directions=["maximize", "minimize"],
    sampler=FrontSampler(SPACE, cost, is_valid=lambda params: params["width"] % params["groups"] == 0, seed=0),
)
for _ in range(30):
    trial = study.ask(SPACE)
    value = 1 - 3 / trial.params["width"] - 0.01 * trial.params["groups"]
    study.tell(trial, [value, cost(trial.params)])
for trial in sorted(study.best_trials, key=lambda trial: trial.values[1]):
    print(trial.params, trial.values)
