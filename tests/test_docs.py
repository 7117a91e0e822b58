"""The documents are true: their commands and programs run as written, and no option is left out."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import kubernetes_validate
import pytest
import yaml

from nas.cli.main import cli
from tests.helpers import write_photos
from tests.test_structure import PACKAGES, ROOT

README, GUIDE, SCALING = ROOT / "README.md", ROOT / "docs" / "guide.md", ROOT / "docs" / "scaling.md"


def blocks(file: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", file.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def run(command: list[str], folder: Path) -> str:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.slow
def test_readme_commands_run_as_written(tmp_path: Path) -> None:
    """On few and small photos; a search of 50 trials is cut to 2, and the dashboard has its own test."""
    write_photos(tmp_path / "photos", per_class=10, size=16)
    lines = [line.split("#")[0].strip() for block in blocks(README, "sh") for line in block.splitlines()]
    commands = [line for line in lines if line.startswith("nas ") and line != "nas dashboard"]
    assert len(commands) == 9
    for command in commands:
        extra = ["--trials", "2", "--epochs", "1"] if " search " in command else []
        extra += ["--seconds", "1"] if " doctor" in command else []
        run([sys.executable, "-m", "nas", *shlex.split(command)[1:], *extra], tmp_path)
    assert (tmp_path / "best" / "model.safetensors").is_file()


def test_readme_names_only_targets_that_the_makefile_has() -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    named = [
        line.split()[1] for block in blocks(README, "sh") for line in block.splitlines() if line.startswith("make")
    ]
    assert named == ["demo", "test"]
    assert {"demo", "test", "check", "dashboard", "bench", "clean"} <= set(targets)


@pytest.mark.slow
@pytest.mark.parametrize("file", [README, GUIDE], ids=lambda file: file.name)
def test_python_examples_run_as_written(file: Path, tmp_path: Path) -> None:
    programs = [program for program in blocks(file, "python") if "onnxruntime" not in program]
    assert programs  # the one for boards runs in tests/exporters/test_oblong_images.py, on a bundle
    for program in programs:
        assert run([sys.executable, "-c", program], tmp_path)


@pytest.mark.slow
def test_the_guide_s_space_is_valid(tmp_path: Path) -> None:
    [text] = blocks(GUIDE, "yaml")
    (tmp_path / "mine.yaml").write_text(text)
    assert "mine" in run([sys.executable, "-m", "nas", "space", "mine.yaml", "--images", "100"], tmp_path)


@pytest.mark.parametrize("command", sorted(cli.commands))
def test_every_option_is_in_the_guide(command: str) -> None:
    guide = GUIDE.read_text(encoding="utf-8")
    assert f"`nas {command}" in guide
    for parameter in cli.commands[command].params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
            assert any(name in guide for name in parameter.opts), parameter.name


def test_the_architecture_document_lists_the_packages_in_order() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert tuple(re.findall(r"^\| `nas/(\w+)/` \|", text, flags=re.MULTILINE)) == PACKAGES


@pytest.mark.parametrize("file", [README, *sorted((ROOT / "docs").glob("*.md"))], ids=lambda file: file.name)
def test_pictures_and_links_are_there(file: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", file.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (file.parent / target).exists(), target


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    run([sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")], ROOT)
    assert "grouped-convolution" in (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert (tmp_path / "site" / "guide" / "index.html").is_file()


def test_the_kubernetes_job_is_one() -> None:
    [text] = blocks(SCALING, "yaml")
    job = yaml.safe_load(text)
    kubernetes_validate.validate(job, kubernetes_validate.latest_version(), strict=True)
    [container] = job["spec"]["template"]["spec"]["containers"]
    name, study, *options = container["args"]
    cli.commands[name].make_context(name, [study, *options])
