"""Long journals are not read line by line again, and what is cached of them is never trusted over them."""

from collections.abc import Callable
from pathlib import Path

import pytest

import nas
from nas import SearchSpace, Study
from nas.study.storage import journal, replay_cache
from nas.system.files import cache_folder
from tests.helpers import formula


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(journal, "WORTH_CACHING", 10)


@pytest.fixture
def lines_parsed(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many lines of journals were parsed since it was last asked."""
    parsed: list[bytes] = []
    parse = journal._log_in

    def counted(line: bytes) -> dict[str, object] | None:
        parsed.append(line)
        return parse(line)

    def count() -> int:
        number = len(parsed)
        parsed.clear()
        return number

    monkeypatch.setattr(journal, "_log_in", counted)
    return count


@pytest.fixture
def file(tmp_path: Path, tiny: SearchSpace) -> Path:
    """The journal of a study of four trials, `s`."""
    searched(tiny, tmp_path, 4)
    return tmp_path / "s" / "journal.log"


def searched(space: SearchSpace, runs: Path, trials: int) -> None:
    nas.search(space, "digits", trials=trials, name="s", runs=runs, evaluate=formula, references=False)


def cached() -> Path:
    [found] = (cache_folder() / "journals").iterdir()
    return found


def test_a_long_journal_is_parsed_once_and_then_only_what_is_new(
    file: Path, tmp_path: Path, tiny: SearchSpace, lines_parsed: Callable[[], int]
) -> None:
    before = Study.open("s", tmp_path).records()
    lines_parsed()
    again = Study.open("s", tmp_path)
    assert lines_parsed() == 0
    assert again.records() == before
    searched(tiny, tmp_path, 6)
    lines_parsed()
    assert len(again.records()) == 6  # reads on from where the cached state ends
    read_on = lines_parsed()
    assert 0 < read_on < len(file.read_bytes().splitlines())
    assert Study.open("s", tmp_path).records() == again.records()


def test_a_short_journal_is_not_cached(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "WORTH_CACHING", 10_000)
    Study.open("s", tmp_path)
    assert not (cache_folder() / "journals").exists()


def changed_within(file: Path) -> None:
    content = file.read_bytes()
    at = content.rindex(b'"epoch') if b'"epoch' in content else content.rindex(b'"ended"')
    file.write_bytes(content[:at] + content[at:].replace(b"1", b"2", 1))


def cut(file: Path) -> None:
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-20]))


def torn_cache(file: Path) -> None:
    cached().write_bytes(cached().read_bytes()[:-100])


def nonsense_cache(file: Path) -> None:
    cached().write_bytes(b"[]\nnothing")


def of_another_version(file: Path) -> None:
    cached().write_bytes(cached().read_bytes().replace(b'"versions": ["', b'"versions": ["1', 1))


def writable_by_all(file: Path) -> None:
    cached().chmod(0o666)


@pytest.mark.parametrize(
    "spoil", [changed_within, cut, torn_cache, nonsense_cache, of_another_version, writable_by_all]
)
def test_what_does_not_fit_the_journal_is_not_used(
    file: Path, tmp_path: Path, spoil: Callable[[Path], None], lines_parsed: Callable[[], int]
) -> None:
    Study.open("s", tmp_path)
    spoil(file)
    lines_parsed()
    found = Study.open("s", tmp_path).records()
    assert lines_parsed() >= len(file.read_bytes().splitlines())
    cached().unlink()
    assert Study.open("s", tmp_path).records() == found


def test_a_cache_that_cannot_be_written_is_done_without(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "taken").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "taken"))
    assert len(Study.open("s", tmp_path).records()) == 4


def test_only_the_latest_are_kept(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_cache, "MOST_KEPT", 2)
    for name in "abc":
        (tmp_path / name).mkdir()
        (tmp_path / name / "s").symlink_to(file.parent)
        Study.open("s", tmp_path / name)
    assert len(list((cache_folder() / "journals").iterdir())) == 2
