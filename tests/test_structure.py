"""The house rules that a reader could otherwise only trust: which way imports run, what is heavy, what is public."""

import ast
import importlib
import statistics
import subprocess
import sys
from collections.abc import Iterable
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import nas

PACKAGE = Path(nas.__file__).parent
ROOT = PACKAGE.parent

# A package imports only itself and packages before it; what stands in no package is for all.
PACKAGES = (
    *("system", "architectures", "data", "training", "spaces", "surrogate", "study", "analysis", "strategy"),
    *("workers", "workflows", "exporters", "cli"),
)
MODULES = sorted(
    ".".join(file.relative_to(PACKAGE).with_suffix("").parts)
    for file in PACKAGE.rglob("*.py")
    if file.stem not in ("__init__", "__main__") and file.parent.name != "templates"
)
NEED_TORCH = {
    *("architectures.network", "architectures.weights", "architectures.latency", "system.cuda_graph"),
    *("training.batches", "training.checkpoint", "training.data_parallel", "training.trainer", "training.module"),
    *(
        "training.train",
        "training.muon",
        "training.losses",
        "training.distillation",
        "training.evaluation",
        "training.augmentation",
        "training.folds",
    ),
}
MOST_LINES, MEDIAN_LINES, MOST_BODY_LINES, MOST_PARAMETERS = 350, 130, 50, 12
FILES = sorted([*PACKAGE.rglob("*.py"), *(PACKAGE.parent / "app").rglob("*.py")])
modules = pytest.mark.parametrize("module", MODULES)


def source(module: str) -> str:
    return (PACKAGE / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")


def imported(nodes: Iterable[ast.AST]) -> set[str]:
    names = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
    return names


def ours(names: set[str]) -> set[str]:
    return {name.removeprefix("nas.") for name in names if name.startswith("nas.")} & set(MODULES)


def floor(module: str) -> int:
    package = module.partition(".")[0]
    return PACKAGES.index(package) if package in PACKAGES else -1


def test_every_package_has_its_place_and_says_what_it_is() -> None:
    packages = {file.parent.relative_to(PACKAGE).parts[0] for file in PACKAGE.rglob("*/__init__.py")}
    assert packages == set(PACKAGES)
    for file in PACKAGE.rglob("*/__init__.py"):
        assert ast.get_docstring(ast.parse(file.read_text()))
        assert len(ast.parse(file.read_text()).body) == 1, f"{file}: importing a package imports nothing"


@modules
def test_no_package_imports_upward(module: str) -> None:
    needed = ours(imported(ast.walk(ast.parse(source(module)))))
    assert {other for other in needed if floor(other) > floor(module)} == set()


def test_modules_import_each_other_in_no_circle() -> None:
    TopologicalSorter({module: ours(imported(ast.walk(ast.parse(source(module))))) for module in MODULES}).prepare()


@modules
def test_only_what_trains_imports_torch_when_it_is_imported(module: str) -> None:
    at_import = imported(iter(ast.parse(source(module)).body))
    heavy = {"torch", "lightning", "safetensors", "safetensors.torch"} & at_import or ours(at_import) & NEED_TORCH
    assert bool(heavy) == (module in NEED_TORCH)


@modules
def test_all_is_sorted_and_true(module: str) -> None:
    names = importlib.import_module(f"nas.{module}").__all__
    assert sorted(names) == sorted(set(names))
    assert all(hasattr(importlib.import_module(f"nas.{module}"), name) for name in names)


@modules
def test_a_module_begins_with_what_it_is(module: str) -> None:
    said = ast.get_docstring(ast.parse(source(module))) or ""
    assert said.partition("\n")[0].endswith((".", ":")), module


def test_modules_are_short() -> None:
    lines = {module: len(source(module).splitlines()) for module in MODULES}
    assert {module: count for module, count in lines.items() if count > MOST_LINES} == {}
    assert statistics.median(lines.values()) <= MEDIAN_LINES


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE.parent)))
def test_functions_are_short_and_take_few_parameters(file: Path) -> None:
    """`nas.search` alone has more: it is all of a search in one call."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.FunctionDef):
            continue
        body = node.body[1:] if ast.get_docstring(node) else node.body
        lines = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
        parameters = [argument.arg for argument in (*node.args.args, *node.args.kwonlyargs) if argument.arg != "self"]
        assert lines <= MOST_BODY_LINES, f"{file}, {node.name}: {lines} lines"
        is_search = (file, node.name) == (PACKAGE / "workflows/search.py", "search")
        assert len(parameters) <= MOST_PARAMETERS or is_search, f"{file}, {node.name}: {len(parameters)} parameters"


def test_the_package_s_names_are_all_there() -> None:
    assert sorted(nas.__all__) == list(nas.__all__)
    for name in nas.__all__:
        assert callable(getattr(nas, name))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = nas.no_such_name


@pytest.mark.parametrize(
    ("program", "heavy"),
    [
        ("import nas", "torch lightning optuna scipy sklearn"),
        ("import nas.cli.tables, nas.cli.live_view, nas.cli.confirmation_tables", "torch lightning scipy sklearn"),
        ("import nas.study.study, nas.analysis.figures.front, nas.workflows.search", "torch lightning"),
    ],
)
def test_reading_needs_nothing_heavy(program: str, heavy: str) -> None:
    check = f"{program}\nimport sys\nassert not set('{heavy}'.split()) & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True, capture_output=True)


def test_functions_keep_three_or_more_arguments_by_name() -> None:
    """Not more than three by position, `self` aside: what a call means can be read where it stands."""
    for module in MODULES:
        for node in ast.walk(ast.parse(source(module))):
            if isinstance(node, ast.FunctionDef) and not node.decorator_list and not node.name.startswith("_"):
                positional = [argument.arg for argument in node.args.args if argument.arg != "self"]
                overrides = {
                    "sample_independent",
                    "sample_relative",
                    "after_trial",
                    "transfer_batch_to_device",
                    "convert",
                }
                assert len(positional) <= 3 or node.name in overrides, f"{module}.{node.name}"
