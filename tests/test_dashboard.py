import subprocess
import sys
from pathlib import Path

import pytest

import nas
from nas import SearchSpace
from nas.resources import dashboard_script
from tests.conftest import formula

pytest.importorskip("streamlit")
from streamlit.testing.v1 import AppTest


def page(runs: Path, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    monkeypatch.setattr(sys, "argv", ["dashboard.py", str(runs)])
    app = AppTest.from_file(str(dashboard_script().resolve()), default_timeout=30).run()
    assert not app.exception
    return app


def test_an_empty_folder_says_how_to_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "nas search" in page(tmp_path, monkeypatch).info[0].value


def test_a_study_without_a_complete_trial_is_calm(
    tmp_path: Path, tiny: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    nas.search(tiny, trials=1, runs=tmp_path, name="s", evaluate=lambda *_: 5.0)
    assert "No trial is complete yet" in page(tmp_path, monkeypatch).info[0].value


def test_a_study_shows_its_front_and_trials(tmp_path: Path, tiny: SearchSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    study = nas.search(tiny, trials=12, runs=tmp_path, name="s", evaluate=formula)
    app = page(tmp_path, monkeypatch)
    assert [metric.value for metric in app.metric[:2]] == ["12", str(len(study.front()))]
    assert len(app.dataframe[-1].value) == 12
    assert app.subheader[0].value.startswith("Trial ")


def test_a_damaged_study_is_a_warning(tmp_path: Path, tiny: SearchSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    study = nas.search(tiny, trials=1, runs=tmp_path, name="s", evaluate=formula)
    (study.folder / "journal.log").unlink()
    assert "journal" in page(tmp_path, monkeypatch).warning[0].value


def test_it_does_not_import_torch(tmp_path: Path, tiny: SearchSpace) -> None:
    nas.search(tiny, trials=3, runs=tmp_path, name="s", evaluate=formula)
    program = f"""
import sys
from streamlit.testing.v1 import AppTest
sys.argv = ["dashboard.py", {str(tmp_path)!r}]
assert not AppTest.from_file({str(dashboard_script().resolve())!r}, default_timeout=30).run().exception
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
