"""The model of the latency: on devices that are as it supposes, and what it makes of others."""

import numpy as np
import pytest

from nas.architectures.architecture import Architecture
from nas.architectures.cost import cost
from nas.architectures.latency_model import LatencyModel, fit
from nas.errors import InvalidValue
from nas.spaces.built_in import load_space
from nas.spaces.search_space import SearchSpace

RANDOM = np.random.default_rng(0)


def drawn(space: SearchSpace, number: int) -> list[Architecture]:
    rng = np.random.default_rng(number)
    return [space.architecture(space.sample(rng)) for _ in range(number)]


def additive(architecture: Architecture) -> float:
    """A device that takes so long for each layer, and so long for each multiply–add, longest for grouped ones."""
    layers = cost(architecture).layers
    slow = sum(layer.flops for layer in layers if layer.kind == "grouped")
    return 0.02 * len(layers) + (slow + cost(architecture).flops) / 1e7


def test_a_device_that_adds_up_is_foretold_exactly() -> None:
    space = load_space("groupconv32")
    measured, others = drawn(space, 40), drawn(space, 60)
    model = fit(measured, [additive(each) for each in measured], device="one")
    assert [model.predict(each) for each in others] == pytest.approx([additive(each) for each in others], rel=0.03)
    assert model.error == pytest.approx(0, abs=0.02)
    assert model.device == "one"
    foretold = [model.predict(each) for each in measured]
    assert model.bounds == pytest.approx((min(foretold), max(foretold)))


def test_its_error_tells_of_noise() -> None:
    space = load_space("groupconv32")
    measured = drawn(space, 40)
    noisy = [additive(each) * np.exp(0.3 * RANDOM.standard_normal()) for each in measured]
    error = fit(measured, noisy).error
    assert error is not None
    assert 0.1 < error < 0.6


def test_errors_count_relative_to_the_latency(tiny: SearchSpace) -> None:
    """The cheap ones are foretold as well as the dear ones, though they weigh little in a sum of squares."""
    measured = sorted(drawn(load_space("groupconv32"), 40), key=lambda each: cost(each).flops)
    model = fit(measured, [additive(each) for each in measured])
    assert model.predict(measured[0]) == pytest.approx(additive(measured[0]), rel=0.03)


@pytest.mark.parametrize("number", [1, 2, 9])
def test_few_measurements_do_and_say_that_nothing_was_held_out(tiny: SearchSpace, number: int) -> None:
    measured = drawn(tiny, number)
    model = fit(measured, [additive(each) for each in measured])
    assert model.error is None
    assert all(model.predict(each) > 0 for each in drawn(tiny, 50))


def test_it_comes_back_from_plain_values(tiny: SearchSpace) -> None:
    measured = drawn(tiny, 20)
    model = fit(measured, [additive(each) for each in measured], device="CPU, 1 thread")
    assert LatencyModel.from_dict(model.to_dict()) == model


@pytest.mark.parametrize("milliseconds", [[], [1.0], [1.0, 0.0], [1.0, float("nan")]])
def test_what_is_no_measurement_is_refused(tiny: SearchSpace, milliseconds: list[float]) -> None:
    with pytest.raises(InvalidValue, match="milliseconds: must be numbers above 0"):
        fit(drawn(tiny, 2) if milliseconds else [], milliseconds)
