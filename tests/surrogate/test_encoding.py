import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from nas.surrogate.encoding import Encoding


def test_what_a_model_sees_of_numbers_and_of_names() -> None:
    encoding = Encoding(
        {
            "groups": CategoricalDistribution((4, 1, 64)),  # by rank
            "rate": FloatDistribution(1e-4, 1e-2, log=True),
            "kind": CategoricalDistribution(("a", "b", None)),
            "width": IntDistribution(0, 10**6),
        }
    )
    assert encoding.features([(4, 1e-3, "b", 250_000)])[0] == pytest.approx([0.5, 0.5, 0, 1, 0, 0.25])
    assert encoding.features([]).shape == (0, 6)
    assert len(encoding.axes[3].grid) == 33
    assert encoding.axes[0].contains(64)
    assert not encoding.axes[0].contains(2)
