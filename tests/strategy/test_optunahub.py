"""The package for OptunaHub: what its registry asks for; loaded from disk as `optunahub.load_local_module` does."""

import importlib.util
from pathlib import Path
from types import ModuleType

import optuna
import yaml

import nas

PACKAGE = Path(__file__).parents[2] / "optunahub" / "package" / "samplers" / "front"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("optunahub_registry.package.samplers.front", PACKAGE / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_is_the_sampler() -> None:
    assert load().FrontSampler is nas.FrontSampler


def test_it_has_what_the_registry_asks_for() -> None:
    assert (PACKAGE / "LICENSE").read_text() == (PACKAGE.parents[3] / "LICENSE").read_text()
    _, front_matter, text = (PACKAGE / "README.md").read_text().split("---\n", 2)
    about = yaml.safe_load(front_matter)
    assert about.keys() == {"author", "title", "description", "tags", "optuna_versions", "license"}
    assert "sampler" in about["tags"]
    assert optuna.__version__ in map(str, about["optuna_versions"])
    for heading in ("## Abstract", "## APIs", "## Installation", "## Example"):
        assert heading in text


def test_the_example_runs() -> None:
    source = (PACKAGE / "example.py").read_text()
    [loading] = [line for line in source.splitlines() if "optunahub.load_module" in line]
    source = source.replace("import optunahub\n", "").replace(loading, "from nas import FrontSampler")
    printed: list[object] = []
    exec(compile(source, "example.py", "exec"), {"__name__": "example", "print": lambda *words: printed.append(words)})
    assert len(printed) >= 3
