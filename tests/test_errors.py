import pytest

from nas.errors import LONGEST_MESSAGE, InvalidValue, NasError, TrainingFailed, visible


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("Straße 猫 👩\u200d🚀 a\u00a0b", "Straße 猫 👩\u200d🚀 a\u00a0b"),
        ("a\x1b[31mb\x07\n", r"a\x1b[31mb\x07\n"),
        ("\u202eevil\u2066\ufeff\u2028", r"\u202eevil\u2066\ufeff\u2028"),
        ("\udcff", r"\udcff"),
    ],
)
def test_what_is_acted_on_rather_than_shown_is_escaped(text: str, seen: str) -> None:
    assert visible(text) == seen


def test_a_message_is_one_line_of_bounded_length() -> None:
    assert str(NasError("a\n  b\t\x1b[2J")) == r"a b \x1b[2J"
    assert str(TrainingFailed("reason", "a\nb")) == "a b"
    long = str(InvalidValue("begin " + "x" * 10_000 + " end"))
    assert len(long) <= LONGEST_MESSAGE
    assert long.startswith("begin xxx")
    assert long.endswith("xxx end")
