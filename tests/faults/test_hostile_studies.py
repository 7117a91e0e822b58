"""Storages, weights and checkpoints that somebody else wrote: a result or a NasError, and no pickle is read."""

import ast
import io
import json
import os
import pickle
import shutil
import sqlite3
import struct
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from rich.console import Console

import nas
from nas import SearchSpace, Study, load_data
from nas.analysis.confirmation import confirmed, front_rows
from nas.analysis.trial_table import csv_text, trial_rows
from nas.architectures.weights import load_weights
from nas.cli.tables import show_front, show_proxies, show_summary, show_trial, trials_table
from nas.data.images import ImageData
from nas.exporters.bundle import write_bundle
from nas.exporters.trained_network import trained_weights
from nas.study.artifacts import load_confusion
from nas.training.checkpoint import Checkpoint
from nas.training.train import evaluate, on_device, train
from tests.faults.hostile import PLAIN, listing, mutated, refused, thorough
from tests.helpers import TINY, Ran, checkpoint_every_epoch, formula
from tests.test_structure import PACKAGE

SPACE = SearchSpace.from_dict(TINY)
IN_JSON = [value for value in PLAIN if not isinstance(value, int) or abs(value) < 10**4000]
Tally = Callable[[str, int], None]


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runs folder with a study of a few trials, short ones and a failure too, and its journal."""
    runs = tmp_path_factory.mktemp("searched")

    def training(architecture: Any, report: Any, *, epochs: int) -> Any:
        if architecture.stages[0].depth == 2 and architecture.stages[1].groups == 1:
            raise ValueError("no luck")
        return formula(architecture, lambda epoch, accuracy: report(epoch, accuracy) if epoch <= epochs else None)

    nas.search(SPACE, evaluate=training, trials=5, name="s", runs=runs, epochs=9, fidelities=2)
    return runs


def read_everything(name: str, runs: Path, *, storage: str | None = None) -> None:
    """Whatever the commands that read a study do with it."""
    study = Study.open(name, runs, storage=storage)
    records = study.records()
    study.version()
    _ = study.attributes.search
    screen = Console(file=io.StringIO(), width=120)
    screen.print(trials_table(records, {}))
    for record in records:
        show_trial(screen, record)
    show_front(screen, study)
    show_summary(screen, study)
    show_proxies(screen, study)
    csv_text(trial_rows(records, study.config.space))
    json.dumps([record.to_dict() for record in records], allow_nan=False)
    json.dumps(front_rows(study, confirmed(study)), allow_nan=False)
    _ = study.attributes.latency_model
    assert study.attributes.plan
    written = screen.file.getvalue()  # type: ignore[attr-defined]
    assert "\x1b" not in written
    assert "\u202e" not in written


def test_what_nas_wrote_is_read(searched: Path) -> None:
    read_everything("s", searched)
    assert {record.state for record in Study.open("s", searched).records()} >= {"complete", "short", "failed"}


@pytest.mark.parametrize(
    "examples", [pytest.param(60, id="short"), pytest.param(3000, id="long", marks=pytest.mark.long)]
)
def test_journals_with_anything_in_them(searched: Path, examples: int, tally: Tally, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in (searched / "s" / "journal.log").read_text().splitlines()]
    (tmp_path / "s").mkdir()
    shutil.copy(searched / "s" / "study.yaml", tmp_path / "s")

    @thorough(examples)
    @given(st.data())
    def tried(data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(lines) - 1))
        changed = [*lines[:at], data.draw(mutated(lines[at], IN_JSON)), *lines[at + 1 :]]
        content = "".join(json.dumps(line) + "\n" for line in changed)
        (tmp_path / "s" / "journal.log").write_text(content)
        before = listing(tmp_path)
        refused(read_everything, "s", tmp_path)
        assert listing(tmp_path) == before
        tally("hostile journals", 1)

    tried()


ATTRIBUTES: list[tuple[str, Any]] = [
    ("nas", []),
    ("nas", {}),
    ("nas", {"space": {}, "data": {}, "seed": 0}),
    ("search", "x"),
    ("search", {"trials": "x", "state": [], "worker": {}}),
    ("search", {"trials": 1, "state": "running", "worker": "../../x:1"}),
    ("search", {"trials": 1, "state": "running", "worker": f"h:{10**30}"}),
    ("search", {"trials": 1, "state": "running", "worker": "h:²", "more": 1}),
    ("plan", 7),
    ("plan", {"trials": 1}),
    ("plan", {"trials": 1, "lengths": "x", "prior": []}),
    ("plan", {"trials": 1, "lengths": [9], "prior": [1], "sampler": {}}),
    ("latencies", [1]),
    ("latencies", {"0": "x"}),
    ("latencies", {"0": -1.0}),
    ("latencies", {"x": 1.0}),
    ("latency_model", "x"),
    ("latency_model", {"terms": {"pass": "x"}, "error": None, "least": 1, "most": 2}),
    ("latency_device", ["x"]),
]
OF_TRIALS: list[tuple[str, Any]] = [
    ("curve", "x"),
    ("curve", [0.5, "x"]),
    ("curve", [7.0]),
    ("curve", [float("nan")]),
    ("seconds", "x"),
    ("seconds", -1),
    ("seconds", True),
    ("measures", [1]),
    ("measures", {"a": "x"}),
    ("measures", {"latency (ms)": 0}),
    ("reason", {}),
    ("detail", 1),
    ("worker", [1]),
    ("worker", "/etc/passwd:1"),
    ("avoided", {"duplicates": "x"}),
]


def lines_of(study: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (study / "journal.log").read_text().splitlines()]


def write_lines(study: Path, lines: list[dict[str, Any]]) -> None:
    (study / "journal.log").write_text("".join(json.dumps(line) + "\n" for line in lines))


def end_of_a_trial(lines: list[dict[str, Any]]) -> int:
    """Where the first complete trial is told."""
    return next(at for at, line in enumerate(lines) if line["op_code"] == 6 and line.get("values"))


@pytest.mark.parametrize(("name", "value"), ATTRIBUTES + OF_TRIALS, ids=str)
def test_attributes_of_wrong_types_are_named_in_a_line(
    name: str, value: Any, searched: Path, tmp_path: Path, tally: Tally
) -> None:
    shutil.copytree(searched / "s", tmp_path / "s")
    lines = lines_of(tmp_path / "s")
    at = end_of_a_trial(lines)
    if (name, value) in OF_TRIALS:
        lines.insert(
            at, {"op_code": 8, "worker_id": "x", "trial_id": lines[at]["trial_id"], "user_attr": {name: value}}
        )
    else:
        lines.append({"op_code": 2, "worker_id": "x", "study_id": 0, "user_attr": {name: value}})
    write_lines(tmp_path / "s", lines)
    line = refused(read_everything, "s", tmp_path)
    assert line is not None
    assert "study 's'" in line or name == "plan"
    assert name in line or "nas did not write" in line
    tally("hostile attributes", 1)


@pytest.mark.parametrize(
    "change",
    [
        {"values": [7.0, 63392.0]},
        {"values": [float("nan"), 1.0]},
        {"values": ["x", "y"]},
        {"values": []},
        {"values": None},
        {"values": 0.5},
        {"datetime_complete": "yesterday"},
        {"state": 99},
    ],
    ids=str,
)
def test_trials_that_end_as_none_can_are_refused(change: dict[str, Any], searched: Path, tmp_path: Path) -> None:
    shutil.copytree(searched / "s", tmp_path / "s")
    lines = lines_of(tmp_path / "s")
    lines[end_of_a_trial(lines)] |= change
    write_lines(tmp_path / "s", lines)
    assert refused(read_everything, "s", tmp_path) is not None


@pytest.mark.parametrize(
    ("value", "choices"), [(24, [24]), (0, ["x", "y"]), (0, [8.0]), (0, [True]), (0, [None]), (5, [8])], ids=str
)
def test_parameters_that_the_space_does_not_have_are_refused(
    value: int, choices: list[Any], searched: Path, tmp_path: Path
) -> None:
    shutil.copytree(searched / "s", tmp_path / "s")
    lines = lines_of(tmp_path / "s")
    kind = {"name": "CategoricalDistribution", "attributes": {"choices": choices}}
    if value == 24:  # which every number of groups divides
        kind = {"name": "IntDistribution", "attributes": {"log": False, "step": 1, "low": 1, "high": 99}}
    ours = [line for line in lines if line.get("param_name") == "stage1.mid"]
    ours[0] |= {"param_value_internal": value, "distribution": json.dumps(kind)}
    for line in ours[1:]:
        lines.remove(line)
    write_lines(tmp_path / "s", lines)
    assert refused(read_everything, "s", tmp_path) is not None


def test_words_of_a_storage_are_fit_to_be_shown(
    searched: Path, tmp_path: Path, nas_command: Callable[..., Ran]
) -> None:
    shutil.copytree(searched / "s", tmp_path / "s")
    lines = lines_of(tmp_path / "s")
    at = end_of_a_trial(lines)
    told = {"reason": "a\x1b[31m\nb", "detail": "c\x1b[2J\nd\u202e", "measures": {"e\x1b": 1.0}, "name": "\x1b"}
    lines[at:at] = [
        {"op_code": 8, "worker_id": "x", "trial_id": lines[at]["trial_id"], "user_attr": {name: value}}
        for name, value in told.items()
    ]
    write_lines(tmp_path / "s", lines)
    read_everything("s", tmp_path)
    record = Study.open("s", tmp_path).record(lines[at + len(told)]["trial_id"])
    assert (record.reason, record.detail) == (r"a\x1b[31m b", "c\\x1b[2J\nd\\u202e")
    for command in (["front"], ["trials"], ["trials", "--csv"], ["trials", "--json"], ["show", str(record.trial)]):
        ran = nas_command(*command, "s" if len(command) == 1 else "--study=s", "--runs", tmp_path)
        assert ran.code == 0
        assert "\x1b" not in ran.out + ran.err


@pytest.mark.parametrize(("name", "value"), [ATTRIBUTES[4], OF_TRIALS[1]], ids=str)
def test_the_same_in_a_database(name: str, value: Any, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    nas.search(SPACE, evaluate=formula, trials=1, name="s", runs=tmp_path, storage=url)
    read_everything("s", tmp_path, storage=url)
    owner = "trial" if (name, value) in OF_TRIALS else "study"
    with sqlite3.connect(tmp_path / "s.db") as database:
        database.execute(f"DELETE FROM {owner}_user_attributes WHERE key = ?", (name,))
        columns = f"{owner}_user_attributes ({owner}_id, key, value_json)"
        database.execute(f"INSERT INTO {columns} VALUES (1, ?, ?)", (name, json.dumps(value)))
    database.close()
    assert "study 's'" in (refused(read_everything, "s", tmp_path, storage=url) or "")


# Studies of other programs.


def foreign(study: optuna.Study) -> None:
    study.set_user_attr("theirs", 1)
    study.add_trial(optuna.trial.create_trial(values=[0.5] * len(study.directions)))


@pytest.mark.parametrize("directions", [["maximize", "minimize"], ["minimize"], ["maximize"] * 3], ids=str)
@pytest.mark.parametrize("kind", ["journal", "database"])
def test_a_study_of_another_program_is_refused_and_left_alone(
    kind: str, directions: list[str], tmp_path: Path, nas_command: Callable[..., Ran]
) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}" if kind == "database" else None
    (tmp_path / "s").mkdir()
    storage = url or JournalStorage(JournalFileBackend(str(tmp_path / "s" / "journal.log")))
    foreign(optuna.create_study(study_name="s", storage=storage, directions=directions))  # type: ignore[arg-type]
    file = tmp_path / ("s.db" if url else "s/journal.log")
    content = file.read_bytes()
    options = ["--runs", str(tmp_path), *(["--storage", url] if url else [])]
    for command in (["front", "s"], ["trials", "s"], ["show", "0", "s"], ["worker", "s"]):
        ran = nas_command(*command, *options)
        assert (ran.code, ran.err.count("\n")) == (2, 1), ran.err
    ran = nas_command("search", "digits", "--study", "s", "--trials", "1", "--workers", "1", *options)
    assert (ran.code, ran.err.count("\n")) == (2, 1), ran.err
    assert "of another program" in ran.err or "nas did not write" in ran.err
    assert file.read_bytes() == content


# Weights and checkpoints.


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study with one complete trial and its weights."""
    runs = tmp_path_factory.mktemp("trained")
    return nas.search(SPACE, "digits", trials=1, name="s", runs=runs, device="cpu", epochs=1)


def tensors_changed(tensors: dict[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
    first = next(name for name, value in tensors.items() if value.ndim == 4)
    value = tensors[first]
    return {
        "nothing": {},
        "missing": {name: tensors[name] for name in tensors if name != first},
        "extra": {**tensors, "more": value.clone()},
        "shape": {**tensors, first: value[:1]},
        "flat": {**tensors, first: value.flatten()},
        "double": {**tensors, first: value.double()},
        "half": {**tensors, first: value.half()},
        "whole": {**tensors, first: value.to(torch.int64)},
        "complex": {**tensors, first: value.to(torch.complex64)},
        "empty": {**tensors, first: value[:0]},
    }


def headers(content: bytes) -> dict[str, bytes]:
    """The file with a header that lies."""
    size = struct.unpack("<Q", content[:8])[0]
    header, body = json.loads(content[8 : 8 + size]), content[8 + size :]
    first = next(name for name in header if name != "__metadata__")

    def written(changed: Any) -> bytes:
        text = changed if isinstance(changed, bytes) else json.dumps(changed).encode()
        return struct.pack("<Q", len(text)) + text + body

    start, end = header[first]["data_offsets"]
    second = json.dumps({**header[first], "dtype": "I8", "shape": [end - start]})
    return {
        "empty": b"",
        "length alone": content[:8],
        "cut": content[: len(content) // 2],
        "longer": content + b"x",
        "huge length": struct.pack("<Q", 2**63) + content[8:],
        "no length": struct.pack("<Q", 0) + content[8:],
        "no JSON": written(b"x" * 100),
        "a list": written([1]),
        "deep": written(b"[" * 100_000),
        "overlapping": written({**header, first: {**header[first], "data_offsets": [start, end + 4]}}),
        "backwards": written({**header, first: {**header[first], "data_offsets": [end, start]}}),
        "beyond": written({**header, first: {**header[first], "data_offsets": [2**62, 2**62 + 4]}}),
        "large shape": written({**header, first: {**header[first], "shape": [2**40, 2**40]}}),
        "negative shape": written({**header, first: {**header[first], "shape": [-1]}}),
        "unknown type": written({**header, first: {**header[first], "dtype": "PICKLE"}}),
        "twice": written(json.dumps(header).encode()[:-1] + b', "' + first.encode() + b'": ' + second.encode() + b"}"),
        "a name of a MB": written({**header, "x" * 10**6: header[first]}),
    }


def test_weights_that_lie_are_refused_in_a_line(
    trained: Study, digits: ImageData, tmp_path: Path, tally: Tally
) -> None:
    [record] = trained.front()
    whole = trained.weights_file(record.trial).read_bytes()
    tensors = safetensors.torch.load(whole)
    data = on_device(digits, SPACE.recipe, "cpu")
    shutil.copytree(trained.folder, tmp_path / "s")
    study = Study.open("s", tmp_path)
    file = study.weights_file(record.trial)

    def used() -> None:
        evaluate(record.architecture, load_weights(file), data, recipe=SPACE.recipe)

    lies = headers(whole)
    lies |= {name: safetensors.torch.save(changed) for name, changed in tensors_changed(tensors).items()}
    for name, content in lies.items():
        file.write_bytes(content)
        assert (name, refused(used)) != (name, None)
        tally("hostile weights", 1)
    out = tmp_path / "out"
    weights = trained_weights(study, record.trial)
    for name in ("deep", "double", "twice"):
        file.write_bytes(lies[name])
        assert str(file) in (refused(write_bundle, weights, out, images=digits, command="") or "")
    file.write_bytes(safetensors.torch.save({name: value * float("nan") for name, value in tensors.items()}))
    assert refused(write_bundle, weights, out, images=digits, command="") is not None
    file.unlink()
    os.mkfifo(file)
    assert "is not a file" in (refused(load_weights, file) or "")
    assert refused(write_bundle, weights, out, images=digits, command="") is not None
    assert not out.exists()


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("every", [pytest.param(7, id="short"), pytest.param(1, id="long", marks=pytest.mark.long)])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_checkpoint_that_lies_counts_for_nothing(
    optimizer: str, every: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tally: Tally
) -> None:
    """The training begins anew, and ends as one that found no file."""
    checkpoint_every_epoch(monkeypatch)
    recipe = replace(SPACE.recipe, epochs=3, optimizer=optimizer, batch_size=512)
    network = SPACE.architecture(next(SPACE.points()))
    images = load_data("digits", SPACE.input, max_images=120)
    data, file = on_device(images, recipe, "cpu"), tmp_path / "checkpoint.safetensors"

    def trains(stop: int = 0) -> tuple[tuple[float, ...], list[int]]:
        seen: list[int] = []

        def report(epoch: int, accuracy: float) -> None:
            seen.append(epoch)
            if epoch == stop:
                raise Interrupted

        return train(network, data, recipe, report=report, checkpoint=file).curve, seen

    with pytest.raises(Interrupted):
        trains(stop=3)
    content = file.read_bytes()
    tensors = safetensors.torch.load(content)
    with safetensors.safe_open(file, "pt") as opened:
        header = dict(opened.metadata())
    expected, _ = trains()
    curve, step = json.loads(header["progress"])
    assert len(curve) == 2
    lies = {f"header {name}": changed for name, changed in headers(content).items() if name != "twice"}
    for name, changed in tensors_changed(tensors).items():
        lies[f"tensors {name}"] = safetensors.torch.save(changed, metadata=header)
    for name in (
        "generator",
        "network.classifier.bias",
        next(name for name in tensors if name.startswith("optimizer")),
    ):
        lies[f"without {name}"] = safetensors.torch.save(
            {key: tensors[key] for key in tensors if key != name}, metadata=header
        )
    lies["other generator"] = safetensors.torch.save(
        {**tensors, "generator": tensors["generator"] * 0 + 255}, metadata=header
    )
    lies["nan"] = safetensors.torch.save(
        {**tensors, "network.classifier.bias": tensors["network.classifier.bias"] * float("nan")}, metadata=header
    )
    none = [[curve, -1], [curve, step + 1], [curve, "x"], [curve, 1.5], [curve, 10**400], [curve], [[], 0], {}, 1, None]
    none += [[[0.5] * 3, step // 2 * 3], [[0.5] * 300, step], ["xx", step], [[7.0, 7.0], step], [[[]] * 2, step]]
    none += [[[float("nan")] * 2, step], [None, step]]
    for number, progress in enumerate(none):
        lying = {**header, "progress": json.dumps(progress)}
        lies[f"progress {number}"] = safetensors.torch.save(tensors, metadata=lying)
    lies["progress deep"] = safetensors.torch.save(tensors, metadata={**header, "progress": "[" * 100_000})
    for name, lie in islice(lies.items(), 0, None, every):
        file.write_bytes(lie)
        found, seen = trains()
        assert (name, found, seen) == (name, expected, [1, 2, 3])
        tally("hostile checkpoints", 1)
    file.write_bytes(content)
    assert trains() == (expected, [1, 2, 3])  # and the whole one is gone on from: see tests/training/test_checkpoint.py


def test_a_pipe_is_no_checkpoint(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "it")
    assert Checkpoint(tmp_path / "it", {}).progress() is None


# Pickles.


class Deed:
    """What unpickling would do."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


@pytest.fixture
def _no_pickles(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("a pickle was read")

    for name in ("load", "loads", "Unpickler", "_Unpickler"):
        monkeypatch.setattr(pickle, name, never)
    monkeypatch.setattr(torch, "load", never)
    monkeypatch.setattr(np.lib.npyio, "pickle", None, raising=False)


@pytest.mark.usefixtures("_no_pickles")
def test_no_pickle_is_read_whatever_a_file_is_called(
    trained: Study, digits: ImageData, tmp_path: Path, nas_command: Callable[..., Ran]
) -> None:
    [record] = trained.front()
    mark = tmp_path / "done"
    as_pickle = pickle.dumps(Deed(mark))
    as_torch, as_numpy = io.BytesIO(), io.BytesIO()
    torch.save({"x": Deed(mark)}, as_torch)
    np.save(as_numpy, np.array([Deed(mark)], dtype=object), allow_pickle=True)
    runs = tmp_path / "runs"

    def commands() -> list[Ran]:
        asked = [["front", "s"], ["trials", "s"], ["show", str(record.trial), "s"]]
        asked += [
            ["export", "s", "--trial", str(record.trial), "--formats", "safetensors", "--out", str(tmp_path / "out")]
        ]
        return [nas_command(*command, "--runs", runs) for command in asked]

    for content in (as_pickle, as_torch.getvalue(), as_numpy.getvalue()):
        for name, codes in {"journal.log": [2, 2, 2], "study.yaml": [0, 0, 0], "weights": [0, 0, 0]}.items():
            shutil.rmtree(runs, ignore_errors=True)
            shutil.copytree(trained.folder, runs / "s")
            study = Study.open("s", runs)
            file = study.weights_file(record.trial) if name == "weights" else runs / "s" / name
            file.write_bytes(content)
            asked = [["front", "s"], ["trials", "s"], ["show", str(record.trial), "s"]]
            assert [nas_command(*command, "--runs", runs).code for command in asked] == codes
        weights = trained_weights(study, record.trial)
        assert refused(write_bundle, weights, tmp_path / "out", images=digits, command="") is not None
        study.confusion_file(record.trial).write_bytes(content)
        assert refused(load_confusion, study.confusion_file(record.trial)) is not None
        checkpoint = tmp_path / "checkpoint.safetensors"
        checkpoint.write_bytes(content)
        assert Checkpoint(checkpoint, {}).progress() is None
    assert not mark.exists()
    with pytest.raises(AssertionError, match="a pickle was read"):
        pickle.loads(as_pickle)


READ_PICKLES = {"torch.load", "pickle.load", "pickle.loads", "pickle.Unpickler"}
AMONG_THEMSELVES = {"distributed.py"}
"""The processes of one training pass messages through pipes of their own, as those of `multiprocessing` do."""


def test_no_module_can_read_pickles() -> None:
    for file in [*PACKAGE.rglob("*.py"), *(PACKAGE.parent / "app").glob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
                assert not names & {"cloudpickle", "joblib", "dill", "shelve", "marshal"}, file
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                assert ast.unparse(node.func) not in READ_PICKLES or file.name in AMONG_THEMSELVES, file
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert ast.unparse(node.value) == "False", file
