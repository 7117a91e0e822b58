import csv
import io
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import nas
from nas.study.catalog import list_studies
from tests.helpers import Ran, write_photos

Command = Callable[..., Ran]
FORMS = {"trial", "state", "architecture", "name", "accuracy", "flops", "params", "seconds", "epochs"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one study of four real trainings, made in the terminal's way."""
    folder = tmp_path_factory.mktemp("runs")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "nas",
            "search",
            "--trials",
            "4",
            "--epochs",
            "3",
            "--device",
            "cpu",
            "--runs",
            folder,
        ],
        check=True,
        capture_output=True,
    )
    return folder


def test_output_that_cannot_be_encoded_is_replaced(runs: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "nas", "front", "--runs", runs],
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
        capture_output=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert b"?" in ran.stdout  # the × of an architecture's name


def test_help_names_every_command_and_needs_no_torch() -> None:
    program = "import sys; sys.argv = ['nas', '--help']\nfrom nas.cli.main import main\n"
    program += "try: main()\nexcept SystemExit: pass\n"
    program += "print(sorted({'torch', 'optuna', 'lightning', 'numpy', 'rich'} & set(sys.modules)), file=sys.stderr)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    for command in ("search", "front", "confirm", "pick", "export", "train", "profile", "dashboard"):
        assert f"\n  {command}" in ran.stdout
    assert ran.stderr.strip() == "[]"


def test_without_a_command_it_helps(nas_command: Command) -> None:
    ran = nas_command()
    assert ran.code == 0
    assert "Usage: nas" in ran.out


@pytest.mark.slow
def test_search_prints_a_line_for_each_trial_and_the_front(nas_command: Command, tmp_path: Path) -> None:
    ran = nas_command("search", "--trials", 3, "--epochs", 1, "--device", "cpu", "--runs", tmp_path)
    assert (ran.code, ran.err) == (0, "")
    for number in range(3):  # two workers may end their trials in any order
        assert f"trial {number} (" in ran.out
        assert f"({number + 1}/3)" in ran.out
    assert "The accuracy–FLOPs front of digits" in ran.out
    assert f"nas export digits --runs {tmp_path} --out best" in ran.out
    again = nas_command("search", "--trials", 3, "--epochs", 1, "--device", "cpu", "--runs", tmp_path)
    assert again.code == 0
    assert "There already: 3 of 3 trainings" in again.out


def test_search_on_an_image_folder(nas_command: Command, tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", per_class=12)
    space = tmp_path / "space.yaml"
    space.write_text(
        "name: small\ninput: {channels: 3, size: 16}\nstem: [{width: 8}]\n"
        "stages: [{depth: [1, 2], mid: [8, 16], groups: [1, 2, 4], out: 16}]\nrecipe: {epochs: 3, batch_size: 8}\n"
    )
    ran = nas_command("search", space, "--data", photos, "--trials", 2, "--device", "cpu", "--runs", tmp_path / "runs")
    assert (ran.code, ran.err) == (0, "")
    study = nas.Study.open("small-photos", tmp_path / "runs")
    assert study.config.data["classes"] == ["cat", "dog"]
    assert all(record.architecture.classes == 2 for record in study.records())


def test_json_is_an_array_of_objects_of_the_same_form(nas_command: Command, runs: Path) -> None:
    trials = json.loads(nas_command("trials", "--runs", runs, "--json").out)
    front = json.loads(nas_command("front", "--runs", runs, "--json").out)
    assert [record.pop("confirmed") for record in front] == [None] * len(front)
    [shown] = json.loads(nas_command("show", front[-1]["trial"], "--runs", runs, "--json").out)
    assert len(trials) == 4
    assert all(set(record) >= FORMS for record in [*trials, *front, shown])
    assert all(record in trials for record in front)
    assert {key: shown[key] for key in trials[0]} == front[-1]
    assert sum(layer["flops"] for layer in shown["layers"]) == shown["flops"]
    architecture = nas.Architecture.from_dict(shown["architecture"])
    assert nas.cost(architecture).params == shown["params"]
    assert architecture.name == shown["name"]


def test_csv_has_a_row_for_each_trial(nas_command: Command, runs: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(nas_command("trials", "digits", "--runs", runs, "--csv").out)))
    assert [row["trial"] for row in rows] == ["0", "1", "2", "3"]
    assert all(int(row["stage1.mid"]) % int(row["stage1.groups"]) == 0 for row in rows)


def test_tables_are_for_people(nas_command: Command, runs: Path) -> None:
    front = nas_command("front", "--study", "digits", "--runs", runs)
    trials = nas_command("trials", "--runs", runs)
    shown = nas_command("show", 2, "digits", "--runs", runs)
    assert (front.code, trials.code, shown.code) == (0, 0, 0)
    [record] = [record for record in nas.Study.open("digits", runs).records() if record.trial == 2]
    assert record.name in trials.out
    assert "multiply–adds" in front.out
    assert "stage 3" in shown.out


def test_export_writes_and_verifies(nas_command: Command, runs: Path, tmp_path: Path) -> None:
    ran = nas_command("export", "digits", "--runs", runs, "--out", tmp_path / "best", "--formats", "safetensors,python")
    assert ran.code == 0
    best = nas.Study.open("digits", runs).front()[-1]
    assert nas.Architecture.from_yaml(tmp_path / "best" / "architecture.yaml") == best.architecture
    assert ran.out.count("loaded back; its logits differ by at most") == 2


def test_mistakes_are_listed_with_their_images(nas_command: Command, runs: Path, tmp_path: Path) -> None:
    study = nas.Study.open(list_studies(runs)[0], runs)
    trial = study.front()[-1].trial
    ran = nas_command("mistakes", f"{study.name}:{trial}", "--runs", str(runs), "--top", "3")
    wrong = round((1 - (study.record(trial).accuracy or 0.0)) * 287)
    assert ran.out.startswith(f"Trial {trial} takes {wrong} of 287 validation images for another class.\n  image ")
    assert ran.out.endswith(f"  and {wrong - 3} more; --top {wrong} lists all\n")
    found = json.loads(nas_command("mistakes", study.name, "--runs", str(runs), "--json").out)
    taken_for = found[0]["predicted"]
    ran = nas_command("mistakes", study.name, "--runs", str(runs), "--predicted", taken_for, "--closest", "--json")
    of_class = [one for one in found if one["predicted"] == taken_for]
    assert sorted(one["image"] for one in json.loads(ran.out)) == sorted(one["image"] for one in of_class)
    ran = nas_command("mistakes", study.name, "--runs", str(runs), "--label", "ten")
    assert ran.code == 2
    assert "--label='ten': is none of the classes; they are 0, 1, 2, 3, 4, 5, 6, 7, 8, 9\n" in ran.err

    photos = write_photos(tmp_path / "photos", per_class=30)
    where = ("--runs", str(tmp_path / "runs"))
    options = ("--trials", "1", "--epochs", "1", "--device", "cpu", *where, "--study", "photos")
    assert nas_command("search", "--data", str(photos), *options).code == 0
    for label in ("cat", "dog"):  # wrong ones or right ones, whatever an epoch has learned
        for predicted in ("cat", "dog"):
            cell = ("--label", label, "--predicted", predicted, "--json")
            found = json.loads(nas_command("mistakes", "photos:0", *where, *cell).out)
            assert all((photos / one["name"]).is_file() and one["name"].startswith(label) for one in found)


def test_a_space_is_made_for_images_shown_and_searched(nas_command: Command, tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos")
    shown = nas_command("space", "--data", photos, "--max-flops", "2M", "--trials", 2, "--device", "cpu")
    assert shown.code == 0, shown.err
    assert "auto  made for images of" in shown.out
    written = nas_command("space", "--data", photos, "--max-flops", "2M", "--yaml")
    (tmp_path / "own.yaml").write_text(written.out)
    options = ["--data", photos, "--trials", 2, "--runs", tmp_path, "--device", "cpu", "--epochs", 1]
    for space, flops in (([], ["--max-flops", "2M"]), ([tmp_path / "own.yaml"], [])):
        ran = nas_command("search", *space, *flops, *options, "--study", f"s{len(space)}")
        assert ran.code == 0, ran.err
    made, edited = (nas.Study.open(name, tmp_path).config.space for name in ("s0", "s1"))
    assert made == edited
    assert made.max_flops == 2_000_000
    assert made.recipe.auto == frozenset()
    again = nas_command("search", "--max-flops", "2M", *options, "--study", "s0", "--trials", 3)
    assert again.code == 0, again.err
    assert len([r for r in nas.Study.open("s0", tmp_path).records() if r.finished]) == 3


def test_space_says_what_it_holds(nas_command: Command, tmp_path: Path) -> None:
    ran = nas_command("space", "digits", "--trials", 10, "--device", "cpu")
    assert ran.code == 0
    assert "7,464,960 combinations, 4,847,040 valid architectures" in ran.out
    assert "10 trials of 10 epochs on 1,151 training images: about" in ran.out
    assert "On 287 validation images, differences of up to 5.1 points may be chance" in ran.out
    assert "on 574 (--validation 574), differences of up to 3.6 points, with 864 images left to train on." in ran.out
    report = json.loads(nas_command("space", "digits", "--json", "--device", "cpu").out)
    assert report["architectures"] == 7_464_960
    assert report["valid"] == report["within_budgets"] == 4_847_040
    assert len(report["examples"]) == 3
    assert report["estimate"]["seconds"] > 0
    listed = nas_command("space")
    assert listed.out.splitlines()[0].startswith("digits ")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("help",), "No such command 'help'. 'nas --help' lists them."),
        (("serach",), "No such command 'serach'. Did you mean 'search'?"),
        (
            ("search", "--trails", "3"),
            "No such option '--trails'. (Did you mean one of: '--metric', '--ray', '--trials'?)",
        ),
        (("search", "--trials", "many"), "'many' is not a valid integer"),
        (("search", "--trials", "0"), "trials=0"),
        (("search", "--max-flops", "big"), "max_flops=big: must be a positive number such as 50M"),
        (("search", "--timeout", "soon"), "timeout=soon: must be a positive duration"),
        (
            ("search", "--sampler", "grid"),
            "sampler='grid': must be one of front, tpe, tpe-multivariate, nsga2, random, gp",
        ),
        (("search", "nowhere.yaml"), "no such file, and no ready space of that name"),
        (("search", "--data", "./nowhere"), "./nowhere: no such file or folder"),
        (("search", "groupconv32"), "--data"),
        (("search", "groupconv32", "--data", "digits"), "channels"),
        (("search", "--study", "../up"), "study='../up'"),
        (("search", "--storage", "nonsense://x"), "storage cannot be used"),
        (("front",), "there is no study in"),
        (("front", "demo"), "no study 'demo'"),
        (("show", "x"), "TRIAL='x': must be a number"),
        (("export", "demo"), "Missing option '--out'"),
        (("space", "digit"), "did you mean 'digits'?"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    nas_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = nas_command(*args)
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.startswith("nas: ")
    assert ran.err.count("\n") == 1
    assert message in ran.err


def test_a_search_that_completes_nothing_is_an_error_that_says_why(nas_command: Command, tmp_path: Path) -> None:
    space = tmp_path / "wild.yaml"
    text = nas.system.resources.ready_spaces()["digits"].read_text()
    wild = "learning_rate: 1000\n  optimizer: sgd\n  weight_decay: 1000"
    space.write_text(text.replace("epochs: 10", "epochs: 1").replace("learning_rate: auto", wild))
    ran = nas_command("search", space, "--trials", 2, "--device", "cpu", "--runs", tmp_path / "runs")
    assert ran.code == 2
    assert "the first 3 trainings all failed as not_finite" in ran.err
    assert "failed: not_finite" in ran.out


def test_an_unwritable_runs_folder_is_one_line(nas_command: Command, tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file, where a folder should be")
    ran = nas_command("search", "--trials", 1, "--runs", tmp_path / "runs", "--device", "cpu")
    assert ran.code == 2
    assert "cannot be written" in ran.err


def test_a_port_that_is_taken_is_one_line(nas_command: Command, tmp_path: Path) -> None:
    pytest.importorskip("streamlit")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ran = nas_command("dashboard", "--runs", tmp_path, "--port", port, "--no-browser")
    assert ran.code == 2
    assert ran.err == f"nas: port={port}: cannot be used (Address already in use); name another with --port\n"
