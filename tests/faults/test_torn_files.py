"""Files as a loss of power in the middle of a write may leave them: what is whole is read, and the rest set aside."""

import json
import random
import re
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optuna
import pytest
import torch
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

import nas
import nas.training.checkpoint
from nas.architectures.architecture import Input
from nas.architectures.network import build_network
from nas.architectures.weights import load_weights, save_weights
from nas.data.loading import load_data
from nas.errors import DataError, NasError, NasWarning, StudyError, WeightsError
from nas.spaces.search_space import SearchSpace
from nas.study.artifacts import load_confusion, load_predictions, save_array
from nas.study.catalog import list_studies
from nas.study.config import StudyConfig
from nas.study.creation import IncompleteStudy
from nas.study.records import TrialRecord, TrialState
from nas.study.study import Study
from nas.training.checkpoint import Checkpoint, Progress, Trainee
from nas.training.objective import PREDICTION
from tests.helpers import TINY, Ran, formula, write_photos

Tally = Callable[[str, int], None]
TRIALS = 5
CREATED, TOLD = 4, 6
"""Optuna's codes in a journal for a trial that is made, and for one whose state changes."""
FINISHED_STATES = {1, 2, 3}


class Whole(NamedTuple):
    """A study that was searched without a fault: its journal, its trials, and where in the journal each has ended."""

    folder: Path
    journal: bytes
    records: list[TrialRecord]
    ends: list[int]


def search(runs: Path, tiny: SearchSpace) -> Study:
    return nas.search(tiny, evaluate=formula, trials=TRIALS, seed=0, name="s", runs=runs)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    study = search(tmp_path_factory.mktemp("whole"), SearchSpace.from_dict(TINY))
    journal, ends, place = (study.folder / "journal.log").read_bytes(), [], 0
    for line in journal.splitlines(keepends=True):
        place += len(line)
        log = json.loads(line)
        if log["op_code"] == TOLD and log["state"] in FINISHED_STATES:
            ends.append(place)
    assert len(ends) == len(study.records()) == TRIALS
    return Whole(study.folder, journal, study.records(), ends)


@pytest.fixture
def torn(whole: Whole, tmp_path: Path) -> Path:
    """A copy of the study, to be damaged."""
    shutil.copytree(whole.folder, tmp_path / "s")
    return tmp_path / "s"


def everything(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def cuts(whole: Whole, *, sample: int | None) -> list[int]:
    """Where to cut; of a sample, all ends of lines and the bytes beside them that there is room for."""
    if sample is None:
        return list(range(len(whole.journal) + 1))
    rng = random.Random(0)
    line_ends = [place + 1 for place, byte in enumerate(whole.journal) if byte == ord("\n")]
    beside = [place + step for place in line_ends for step in (-1, 0, 1)]
    chosen = {0, 1, len(whole.journal), *rng.sample(beside, min(sample // 2, len(beside)))}
    return sorted(chosen | set(rng.sample(range(len(whole.journal)), sample - len(chosen))))


def check_reading(whole: Whole, folder: Path, cut: int) -> None:
    """What the journal, cut there, has whole is read, and nothing is written."""
    journal = folder / "journal.log"
    journal.write_bytes(whole.journal[:cut])
    kept = sum(end <= cut for end in whole.ends)
    try:
        study = Study.open("s", folder.parent)
    except IncompleteStudy as error:
        assert cut < whole.journal.index(b'"op_code":4')
        assert "the same nas search command begins it again" in str(error)
    else:
        assert [record for record in study.records() if record.ended is not None] == whole.records[:kept]
        study.version()
    assert journal.read_bytes() == whole.journal[:cut]


@contextmanager
def told(expected: str | None) -> Iterator[None]:
    """A warning that matches, or none."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", NasWarning)
        yield
    texts = [str(warning.message) for warning in caught if warning.category is NasWarning]
    assert len(texts) == (expected is not None), texts
    assert not expected or re.search(expected, texts[0]), texts


def check_going_on(whole: Whole, runs: Path, cut: int, tiny: SearchSpace, *, tail: bytes = b"") -> None:
    """The search goes on from a journal that was cut there, and has such a tail."""
    shutil.rmtree(runs / "s", ignore_errors=True)
    shutil.copytree(whole.folder, runs / "s")
    journal = runs / "s" / "journal.log"
    journal.write_bytes(whole.journal[:cut] + tail)
    kept = whole.journal[:cut].rfind(b"\n") + 1
    dropped = whole.journal[kept:cut] + tail
    ended = sum(end <= cut for end in whole.ends)
    expected = f"{len(dropped)} bytes that were no whole line are kept in journal.log.dropped" if dropped else None
    with told(expected):
        study = search(runs, tiny)
    records = study.records()
    assert records[:ended] == whole.records[:ended]
    assert sum(record.finished for record in records) == TRIALS
    assert TrialState.RUNNING not in {record.state for record in records}
    assert journal.read_bytes().startswith(whole.journal[:kept])
    aside = journal.with_name("journal.log.dropped")
    assert (aside.read_bytes() if aside.exists() else b"") == (dropped + b"\n" if dropped else b"").replace(
        b"\n\n", b"\n"
    )
    [plain] = JournalStorage(JournalFileBackend(str(journal))).get_all_studies()
    assert plain.user_attrs["nas"] == study.optuna_study.user_attrs["nas"]


@pytest.mark.parametrize("sample", [150, pytest.param(None, marks=pytest.mark.long)])
def test_of_a_journal_that_is_cut_anywhere_what_is_whole_is_read(
    whole: Whole, torn: Path, tally: Tally, sample: int | None
) -> None:
    places = cuts(whole, sample=sample)
    for cut in places:
        check_reading(whole, torn, cut)
    tally("journals cut, and read", len(places))


@pytest.mark.parametrize("sample", [4, pytest.param(60, marks=pytest.mark.long)])
def test_a_search_goes_on_from_a_journal_that_is_cut_anywhere(
    whole: Whole, tmp_path: Path, tiny: SearchSpace, tally: Tally, sample: int
) -> None:
    rng = random.Random(sample)
    beginning = whole.journal.index(b'"op_code":4')
    places = [0, rng.randrange(beginning), *rng.sample(range(len(whole.journal)), sample - 2)]
    for cut in places:
        check_going_on(whole, tmp_path, cut, tiny)
    for tail in (b"\0" * 4096, b"\0" * 700 + b"\n"):
        check_going_on(whole, tmp_path, whole.ends[2], tiny, tail=tail)
    tally("journals cut, and searched on", len(places) + 2)


def damaged(content: bytes, rng: random.Random) -> bytes:
    """With one bit flipped, or some bytes overwritten, blanked, lost or written twice."""
    found = bytearray(content)
    place, length = rng.randrange(len(found)), rng.choice([1, 5, 50, 4096])
    match rng.randrange(5):
        case 0:
            found[place] ^= 1 << rng.randrange(8)
        case 1:
            found[place : place + length] = bytes(len(found[place : place + length]))
        case 2:
            found[place : place + length] = rng.randbytes(length)
        case 3:
            del found[place : place + length]
        case _:
            found[place:place] = found[place : place + length]
    return bytes(found)


@pytest.mark.parametrize("number", [100, pytest.param(3000, marks=pytest.mark.long)])
@pytest.mark.filterwarnings("ignore:The distribution is specified")  # what Optuna says of a damaged one
def test_a_journal_that_is_damaged_at_random_is_read_or_refused_in_one_line(
    whole: Whole, torn: Path, tally: Tally, number: int
) -> None:
    rng = random.Random(0)
    refused = 0
    for _ in range(number):
        content = damaged(whole.journal, rng)
        (torn / "journal.log").write_bytes(content)
        before = everything(torn)
        try:
            study = Study.open("s", torn.parent)
            study.records()
            _ = study.attributes.search
        except NasError as error:
            assert "\n" not in str(error)
            refused += 1
        assert everything(torn) == before
    assert 0 < refused < number
    tally("journals damaged at random, and read or refused", number)


@pytest.mark.parametrize("number", [3, pytest.param(60, marks=pytest.mark.long)])
@pytest.mark.filterwarnings("ignore:The distribution is specified")
def test_nothing_of_a_damaged_journal_is_written_over(
    whole: Whole, torn: Path, tiny: SearchSpace, tally: Tally, number: int
) -> None:
    rng = random.Random(1)
    journal, aside = torn / "journal.log", torn / "journal.log.dropped"
    for _ in range(number):
        content = damaged(whole.journal, rng)
        journal.write_bytes(content)
        aside.unlink(missing_ok=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NasWarning)
            try:
                search(torn.parent, tiny)
            except NasError as error:
                assert "\n" not in str(error)
        dropped = aside.read_bytes() if aside.exists() else b""
        kept = (
            content[: len(content) - len(dropped)] if content.endswith(b"\n") else content[: content.rfind(b"\n") + 1]
        )
        assert journal.read_bytes().startswith(kept)
        assert (kept + dropped).rstrip(b"\n") == content.rstrip(b"\n")
    tally("journals damaged at random, and searched on or refused", number)


def test_a_line_that_no_journal_has_is_named(whole: Whole, torn: Path) -> None:
    lines = whole.journal.splitlines(keepends=True)
    lines[10] = b'{"op_code":8,"worker_id":"w"}\n'
    (torn / "journal.log").write_bytes(b"".join(lines))
    with pytest.raises(StudyError, match=r"journal\.log, line 11: is damaged \(KeyError 'trial_id'\)"):
        Study.open("s", torn.parent)


@pytest.mark.filterwarnings("always::nas.errors.NasWarning")
def test_the_terminal_says_what_was_dropped_and_what_a_cut_beginning_means(
    nas_command: Callable[..., Ran], tmp_path: Path
) -> None:
    command = (
        "search",
        "digits",
        "--study",
        "d",
        "--runs",
        tmp_path,
        "--trials",
        "1",
        "--epochs",
        "1",
        "--workers",
        "1",
    )
    assert nas_command(*command)[::2] == (0, "")
    journal = tmp_path / "d" / "journal.log"
    content = journal.read_bytes()
    journal.write_bytes(content + b'{"op_code":')
    assert nas_command(*command)[::2] == (
        0,
        "nas: study 'd': the end of its journal was cut short, as by a loss of power; 11 bytes that were no whole line "
        "are kept in journal.log.dropped\n",
    )
    journal.write_bytes(content[:100])
    ran = nas_command("front", "d", "--runs", tmp_path)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "making was cut short, before it had a trial; the same nas search command begins it again" in ran.err
    ran = nas_command(*command)
    assert (ran.code, ran.err.count("\n")) == (0, 1)
    assert nas_command("front", "d", "--runs", tmp_path).code == 0


def test_a_study_of_another_program_is_refused_and_not_changed(tmp_path: Path, tiny: SearchSpace) -> None:
    def foreign(storage: Any, **options: Any) -> None:
        study = optuna.create_study(storage=storage, study_name="s", **options)
        study.optimize(lambda trial: [trial.suggest_float("x", 0, 1)] * len(study.directions), n_trials=1)

    config = StudyConfig(tiny, {"source": "evaluate"}, 0)
    (tmp_path / "s").mkdir()
    journal = tmp_path / "s" / "journal.log"
    foreign(JournalStorage(JournalFileBackend(str(journal))))
    before = journal.read_bytes()
    with pytest.raises(NasError, match="another program"):
        Study.create("s", tmp_path, config)
    with pytest.raises(NasError, match="nas did not write"):
        Study.open("s", tmp_path)
    assert journal.read_bytes() == before
    for number, options in enumerate(({}, {"directions": ["maximize", "minimize"]})):
        database = tmp_path / f"{number}.db"
        foreign(f"sqlite:///{database}", **options)
        before = database.read_bytes()
        with pytest.raises(NasError, match="another program"):
            Study.create("s", tmp_path / "runs", config, storage=f"sqlite:///{database}")
        assert database.read_bytes() == before
        assert not (tmp_path / "runs" / "s" / "study.yaml").exists()


@pytest.mark.parametrize("sample", [25, pytest.param(None, marks=pytest.mark.long)])
def test_a_study_whose_yaml_is_cut_anywhere_is_opened_by_its_journal(
    whole: Whole, torn: Path, tally: Tally, sample: int | None
) -> None:
    file = torn / "study.yaml"
    content = file.read_bytes()
    places = range(len(content)) if sample is None else random.Random(0).sample(range(len(content)), sample)
    config = Study.open("s", torn.parent).config
    for cut in places:
        file.write_bytes(content[:cut])
        before = everything(torn)
        assert Study.open("s", torn.parent).records() == whole.records
        assert everything(torn) == before
        if sample is None and cut % 10:
            continue
        with told("study.yaml was damaged; it is kept as study.yaml.damaged, and was rewritten"):
            Study.create("s", torn.parent, config)
        assert file.read_bytes() == content
        aside = torn / "study.yaml.damaged"
        assert aside.read_bytes() == content[:cut]
        aside.unlink()
    tally("study.yaml cut", len(places))


@pytest.mark.parametrize("damage", [b"", b"\0" * 300, b"\xff\xfe", b"just: [a", b"- 1\n", b"a: b\n", None])
def test_a_damaged_study_yaml_is_set_aside_and_never_written_over(
    whole: Whole, torn: Path, damage: bytes | None
) -> None:
    file = torn / "study.yaml"
    content = file.read_bytes()
    for _ in range(2):
        file.unlink()
        if damage is None:
            file.mkdir()
        else:
            file.write_bytes(damage)
        study = Study.open("s", torn.parent)
        assert study.records() == whole.records
        assert "s" in list_studies(torn.parent)
        with told("study.yaml was damaged"):
            Study.create("s", torn.parent, study.config)
        assert file.read_bytes() == content
    asides = [torn / "study.yaml.damaged", torn / "study.yaml.damaged-2"]
    assert all(aside.is_dir() if damage is None else aside.read_bytes() == damage for aside in asides)


def test_a_study_whose_yaml_is_gone_is_a_study_still(whole: Whole, torn: Path) -> None:
    (torn / "study.yaml").unlink()
    study = Study.open("s", torn.parent)
    assert study.records() == whole.records
    with told(None):
        Study.create("s", torn.parent, study.config)
    assert (torn / "study.yaml").is_file()


def test_a_database_s_study_whose_yaml_is_damaged_asks_for_the_storage(tmp_path: Path, tiny: SearchSpace) -> None:
    url, config = f"sqlite:///{tmp_path / 'trials.db'}", StudyConfig(tiny, {"source": "evaluate"}, 0)
    study = Study.create("s", tmp_path, config, storage=url)
    file = study.folder / "study.yaml"
    content = file.read_bytes()
    for cut in {*range(0, len(content), 20), content.index(b"storage:"), len(content) - 1}:
        file.write_bytes(content[:cut])
        with pytest.raises(StudyError, match=r"study.yaml is damaged .* say which with --storage"):
            Study.open("s", tmp_path)
    with pytest.raises(StudyError, match=r"say which with --storage"):
        Study.create("s", tmp_path, config)
    assert {entry.name for entry in tmp_path.iterdir()} <= {"s", "trials.db", "trials.db.s.asking"}
    with told("was damaged"):
        Study.create("s", tmp_path, config, storage=url)
    assert file.read_bytes() == content


@pytest.mark.parametrize("step", [997, pytest.param(7, marks=pytest.mark.long)])
def test_weights_and_checkpoints_that_are_cut_anywhere_are_told(
    tmp_path: Path, tiny: SearchSpace, monkeypatch: pytest.MonkeyPatch, tally: Tally, step: int
) -> None:
    monkeypatch.setattr(nas.training.checkpoint, "SECONDS_BEFORE_FIRST", 0.0)
    network = build_network(architecture := tiny.architecture({name: v[0] for name, v in tiny.parameters.items()}))
    optimizer, generator = torch.optim.SGD(network.parameters(), momentum=0.9), torch.Generator()
    network(torch.zeros(2, 1, 8, 8)).sum().backward()
    optimizer.step()
    kept, going_on = tmp_path / "trial-00000.safetensors", tmp_path / "checkpoint.safetensors"
    save_weights(kept, network.state_dict(), architecture)
    Checkpoint(going_on, {"seed": 0}).save(Trainee(network, optimizer, generator), progress=Progress((0.5,), 10))
    assert Checkpoint(going_on, {"seed": 0}).progress() == Progress((0.5,), 10)
    number = 0
    for file in (kept, going_on):
        content = file.read_bytes()
        for cut in {*range(0, len(content), step), len(content) - 1, *range(0, 40, step)}:
            file.write_bytes(content[:cut])
            number += 1
            if file == going_on:
                assert Checkpoint(file, {"seed": 0}).progress() is None
                continue
            with pytest.raises(WeightsError, match=f"{file.name}: the weights cannot be read") as raised:
                load_weights(file)
            assert "\n" not in str(raised.value)
    tally("weights and checkpoints cut", number)


def test_confusion_matrices_that_are_cut_anywhere_are_told(tmp_path: Path, tally: Tally) -> None:
    file = tmp_path / "trial-00000.confusion.npy"
    save_array(file, np.arange(16).reshape(4, 4))
    content = file.read_bytes()
    for cut in range(len(content)):
        file.write_bytes(content[:cut])
        with pytest.raises(StudyError, match="is damaged: not a confusion matrix"):
            load_confusion(file)
    tally("confusion matrices cut", len(content))


def test_predictions_that_are_cut_anywhere_are_told(tmp_path: Path) -> None:
    file = tmp_path / "trial-00000.predictions.npy"
    save_array(file, np.zeros(5, dtype=PREDICTION))
    content = file.read_bytes()
    for cut in range(len(content)):
        file.write_bytes(content[:cut])
        with pytest.raises(StudyError, match="is damaged: not the predictions for 3 classes"):
            load_predictions(file, classes=3)


def test_cached_images_that_are_cut_anywhere_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tally: Tally
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    photos = write_photos(tmp_path / "photos")
    load_data(str(photos), Input(3, 8))
    number = 0
    for file in (tmp_path / "cache" / "nas").rglob("*.*"):
        if file.suffix not in (".npy", ".json"):
            continue
        content = file.read_bytes()
        for cut in {*range(0, len(content), 97), len(content) - 1}:
            file.write_bytes(content[:cut])
            number += 1
            with pytest.raises(DataError, match=r"the cache folder .* cannot be used") as raised:
                load_data(str(photos), Input(3, 8))
            assert "\n" not in str(raised.value)
        file.write_bytes(content)
    assert number > 10
    tally("files of cached images cut", number)


WRITER = """
import sys
from pathlib import Path
from nas.system.files import write_whole
for number in range(10**6):
    write_whole(Path(sys.argv[1]), bytes([number % 256]) * 200_000)
"""


def test_a_file_that_is_written_whole_is_whole_however_its_writer_dies(tmp_path: Path, tally: Tally) -> None:
    file = tmp_path / "whole"
    for number in range(4):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(file)])
        until = time.monotonic() + 30
        while not file.exists() and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.01 * number)
        writer.kill()
        writer.wait()
        content = file.read_bytes()
        assert len(content) == 200_000
        assert len(set(content)) == 1
        left = [entry.name for entry in tmp_path.iterdir() if entry != file]
        assert left in ([], [f"whole.{writer.pid}.partial"])
        for name in left:
            (tmp_path / name).unlink()
        file.unlink()
    tally("writers killed", 4)
