import numpy as np
import pytest

from nas.exporters.calibration import calibrate, calibration_error, label_thresholds


def sample(temperature: float, *, images: int = 20_000, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn with the probabilities that they have at a temperature."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (images, classes)).astype(np.float32)
    noise = rng.gumbel(size=logits.shape)
    return logits, (logits / temperature + noise).argmax(axis=1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_is_found_and_makes_probabilities_true(temperature: float) -> None:
    found = calibrate(*sample(temperature))
    assert found.temperature == pytest.approx(temperature, rel=0.05)
    assert found.error_after < 0.02
    assert (found.error_before > 0.05) == (temperature != 1)


def test_the_error_is_the_mean_difference_of_bins() -> None:
    probability = 0.8
    logits = np.log(np.array([[probability, 1 - probability]] * 10, dtype=np.float32))
    labels = np.array([0] * 6 + [1] * 4)
    assert calibration_error(logits, labels) == pytest.approx(0.2)
    both = np.concatenate([logits, np.log(np.array([[0.55, 0.45]] * 30, dtype=np.float32))])
    more = np.concatenate([labels, [0] * 15 + [1] * 15])
    assert calibration_error(both, more) == pytest.approx((10 * 0.2 + 30 * 0.05) / 40)


def test_the_surer_images_are_fewer_and_more_often_right() -> None:
    found = calibrate(*sample(2.0))
    answered = [each.answered for each in found.coverages]
    assert answered == sorted(answered, reverse=True)
    known = [(each.threshold, each.accuracy) for each in found.coverages if each.accuracy is not None]
    assert len(known) >= 4
    for threshold, accuracy in known:
        assert accuracy >= threshold - 0.05  # of the surest there are few


def test_without_a_mistake_nothing_is_changed_and_without_an_answer_nothing_is_said() -> None:
    logits = np.array([[0.1, 0.0], [0.0, 0.1]], dtype=np.float32)
    found = calibrate(logits, np.array([0, 1]))
    assert found.temperature == 1
    assert found.coverages[-1] == (0.99, 0.0, None)
    wrong = calibrate(logits, np.array([1, 0]))
    assert np.isfinite(wrong.temperature)
    huge = calibrate(1e4 * logits, np.array([1, 1]))
    assert np.isfinite([huge.temperature, huge.error_after]).all()


@pytest.mark.parametrize("next_one", [0.99996, 0.99992, 0.5])
def test_a_threshold_lies_between_the_probabilities_that_it_parts(next_one: float) -> None:
    probabilities = np.array([0.99999, 0.99998, 0.99997, next_one])
    logits = np.log(probabilities / (1 - probabilities))[:, None].astype(np.float64)
    (found,) = label_thresholds(logits, np.array([[1], [1], [1], [0]]))
    assert next_one < found.threshold < 0.99997
    assert (found.precision, found.recall) == (1, 1)
