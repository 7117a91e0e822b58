import pytest

from nas import NasError
from nas.units import amount_text, count_text, duration_text, parse_count, parse_duration, progress_text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.00 k"),
        (999_900, "1.00 M"),
        (2_684_792, "2.68 M"),
        (12_400_000, "12.4 M"),
        (199_039_872, "199 M"),
        (10_688_866_304, "10.7 G"),
        (3e12, "3.00 T"),
    ],
)
def test_counts_have_three_digits(value: float, text: str) -> None:
    assert count_text(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0s"), (9.96, "10s"), (42.4, "42s"), (59.7, "1m 00s"), (185, "3m 05s"), (7799, "2h 10m")],
)
def test_durations_have_two_units(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("text", "value"), [("50M", 50_000_000), ("1.5g", 1_500_000_000), ("200000", 200_000), ("5e7", 50_000_000), (7, 7)]
)
def test_counts_are_read_as_people_write_them(text: str, value: int) -> None:
    assert parse_count(text, "max_flops") == value


@pytest.mark.parametrize("text", ["", "M", "-5M", "5X", "nan", "1e999", 0, -1, True, 1.5, None, "0.1", "9" * 400])
def test_other_counts_are_refused(text: object) -> None:
    with pytest.raises(NasError, match="max_flops"):
        parse_count(text, "max_flops")


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("30m", 1800), ("1h30m", 5400), ("1.5d", 129_600)]
)
def test_durations_are_read_as_people_write_them(text: str, seconds: float) -> None:
    assert parse_duration(text, "timeout") == seconds


@pytest.mark.parametrize("text", ["", "h", "-2h", "2 weeks", "0", "1h30", "2hh"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(NasError, match="timeout"):
        parse_duration(text, "timeout")


def test_amounts_need_not_be_whole() -> None:
    assert [amount_text(value) for value in (3, 3.04, 12.36, 1012.4)] == ["3", "3", "12.4", "1,012.4"]


@pytest.mark.parametrize(
    ("trainings", "spent", "text"),
    [(12, 12.0, "12 of 50 trainings"), (34, 12.4, "34 trainings, as long as 12.4 of 50 full ones")],
)
def test_progress_counts_trainings_in_whole_numbers(trainings: int, spent: float, text: str) -> None:
    assert progress_text(trainings, spent, 50) == text
