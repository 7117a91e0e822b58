import itertools

import optuna
import pytest

from nas import SearchSpace, cost, load_space
from nas.strategy.samplers import SpaceExhausted, ValidSampler, front_sampler
from nas.study.plan import FRONT, SAMPLERS
from nas.study.storage.trials import distributions
from tests.helpers import formula


def run(space: SearchSpace, sampler: str, trials: int, *, seed: int = 0) -> tuple[list[str], optuna.Study]:
    """Asks and tells; returns the keys in order."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    keys: list[str] = []
    study = optuna.create_study(directions=["maximize", "minimize"])
    full = space.recipe.epochs
    front = front_sampler(space, seed=seed, lengths=(full,)) if sampler == FRONT else None
    for number in range(trials):
        study.sampler = ValidSampler(front or (sampler, seed + number), space, dict.fromkeys(keys, full))
        trial = study.ask(distributions(space))
        architecture = space.architecture(trial.params)
        study.tell(trial, [formula(architecture, lambda *_: None), cost(architecture).flops])
        keys.append(architecture.key)
    return keys, study


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_proposes_only_valid_affordable_and_new_architectures(tiny: SearchSpace, sampler: str) -> None:
    flops = sorted(cost(tiny.architecture(point)).flops for point in tiny.points())
    space = tiny.with_changes(max_flops=flops[len(flops) // 3])
    trials = 15 if sampler == "gp" else 40
    keys, study = run(space, sampler, trials)
    assert len(set(keys)) == trials
    for trial in study.trials:
        architecture = space.architecture(trial.params)  # what is recorded is what was trained
        assert trial.values[1] == cost(architecture).flops <= (space.max_flops or 0)


def test_the_same_seed_proposes_the_same(tiny: SearchSpace) -> None:
    assert run(tiny, "tpe", 20)[0] == run(tiny, "tpe", 20)[0]
    assert run(tiny, "tpe", 20)[0] != run(tiny, "tpe", 20, seed=100)[0]


def test_a_small_space_is_trained_to_its_last_architecture(tiny: SearchSpace) -> None:
    flops = sorted(cost(tiny.architecture(point)).flops for point in tiny.points())
    space = tiny.with_changes(max_flops=flops[11])
    affordable = sum(space.fits(space.architecture(point)) for point in space.points())
    keys, _ = run(space, "random", affordable)
    assert len(set(keys)) == affordable
    with pytest.raises(SpaceExhausted):
        run(space, "random", affordable + 1)


def test_a_large_space_with_a_tight_budget_still_yields() -> None:
    """Of 16,588,800 architectures 47 are within a tenth of the smallest: no sampler would find one by itself."""
    space = load_space("regnet")
    least, _ = space.least_cost
    keys, _ = run(space.with_changes(max_flops=round(1.1 * least)), "tpe", 20)
    assert len(set(keys)) == 20


def test_the_search_of_a_large_space_starts_at_its_cheapest_architecture() -> None:
    space = load_space("regnet")
    _, study = run(space, FRONT, 1)
    assert study.trials[0].values[1] == space.least_cost[0]


def test_distributions_are_integers_with_a_step_where_values_are_evenly_spaced(tiny: SearchSpace) -> None:
    made = distributions(tiny)
    assert made["stage1.mid"] == optuna.distributions.IntDistribution(8, 16, step=4)
    assert made["stage2.groups"] == optuna.distributions.CategoricalDistribution((1, 4, 8, 16))
    assert list(itertools.islice(made, 2)) == ["stage1.depth", "stage1.mid"]
