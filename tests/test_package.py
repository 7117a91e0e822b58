"""The wheel works without a checkout."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from nas.system.resources import ready_spaces
from tests.test_structure import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", ROOT, tmp_path_factory.mktemp("dist"))


def build(kind: str, source: Path, out: Path) -> Path:
    """By the backend itself, as isolation would need the network."""
    program = f"import hatchling.build; print(hatchling.build.build_{kind}({str(out)!r}))"
    built = subprocess.run([sys.executable, "-c", program], cwd=source, capture_output=True, text=True, check=True)
    return out / built.stdout.split()[-1]


def test_holds_spaces_and_dashboard_but_no_package_called_app(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"nas"}
    assert {f"nas/app/{file}" for file in ("server.py", "dashboard.py", "chart.js", ".streamlit/config.toml")} <= set(
        names
    )
    assert {f"nas/search_spaces/{name}.yaml" for name in ready_spaces()} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if "tests" in name or "benchmarks" in name]


def test_the_source_distribution_makes_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(build("sdist", ROOT, tmp_path)) as archive:
        archive.extractall(tmp_path, filter="data")
    [source] = [path for path in tmp_path.iterdir() if path.is_dir()]
    again = build("wheel", source, tmp_path)
    assert zipfile.ZipFile(again).namelist() == zipfile.ZipFile(wheel).namelist()


def test_works_from_any_directory(wheel: Path, tmp_path: Path) -> None:
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    zipfile.ZipFile(wheel).extractall(site)
    elsewhere.mkdir()
    program = """
import pathlib, nas, nas.system.resources
assert pathlib.Path(nas.__file__).parts[-3] == "site", nas.__file__
assert "site" in nas.system.resources.dashboard_server().parts and nas.system.resources.dashboard_server().is_file()
print(*nas.system.resources.ready_spaces())
"""
    environment = {**os.environ, "PYTHONPATH": str(site)}

    def python(*args: str) -> str:
        command = [sys.executable, *args]
        ran = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True, check=True)
        return ran.stdout

    assert python("-c", program).split() == list(ready_spaces())
    searched = python("-m", "nas", "search", "--trials", "1", "--epochs", "1", "--device", "cpu")
    assert "The accuracy–FLOPs front of digits" in searched
    assert (elsewhere / "runs" / "digits" / "study.yaml").is_file()
