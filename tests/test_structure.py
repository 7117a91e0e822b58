"""The house rules that a reader could otherwise only trust: which way imports run, what is heavy, what is public."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import nas

PACKAGE = Path(nas.__file__).parent
ROOT = PACKAGE.parent

# A module imports only modules above it; `cli` and the package itself may import all.
ORDER = [
    "errors",
    "resources",
    "signals",
    "files",
    "validation",
    "units",
    "architecture",
    "cost",
    "latency_model",
    "recipe",
    "machine",
    "choices",
    "space",
    "configuration",
    "trained",
    "pareto",
    "workers",
    "records",
    "attributes",
    "rows",
    "chance",
    "luck",
    "growth",
    "fidelity",
    "proxies",
    "failures",
    "data",
    "listing",
    "loading",
    "journal",
    "locks",
    "recovery",
    "storage",
    "confusion",
    "acquisition",
    "surrogate",
    "candidates",
    "front_sampler",
    "samplers",
    "plan",
    "studies",
    "opening",
    "study",
    "keeping",
    "confirmed",
    "network",
    "weights",
    "cuda_graph",
    "latency",
    "stopwatch",
    "batches",
    "checkpoint",
    "trainer",
    "training_module",
    "training",
    "preflight",
    "strategy",
    "trial",
    "turns",
    "memory",
    "loop",
    "joining",
    "watching",
    "supervisor",
    "processes",
    "gpus",
    "together",
    "cluster",
    "throughput",
    "staffing",
    "searching",
    "repeating",
    "confirming",
    "retraining",
    "logs",
    "doctor",
    "benchmark",
    "targets",
    "findings",
    "profiling",
    "axes",
    "picking",
    "winners",
    "standalone",
    "formats",
    "verification",
    "card",
    "bundle",
    "figures",
    "confirmed_figures",
    "drawing",
    "comparison",
    "progress",
    "insights",
    "tables",
    "confirmed_tables",
    "profile_tables",
    "views",
    "terminal",
    "cli_search",
    "cli_studies",
    "cli_models",
    "cli_winners",
    "cli",
]
NEED_TORCH = {
    *("network", "weights", "latency", "batches", "checkpoint"),
    *("trainer", "cuda_graph", "training_module", "training"),
}
modules = pytest.mark.parametrize("module", ORDER)


def tree(module: str) -> ast.Module:
    return ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))


def imported(nodes: Iterator[ast.AST]) -> set[str]:
    names = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
    return names


def ours(names: set[str]) -> set[str]:
    return {name.split(".")[1] for name in names if name.startswith("nas.")} & set(ORDER)


def test_every_module_has_its_place() -> None:
    assert sorted(ORDER) == sorted(file.stem for file in PACKAGE.glob("*.py") if file.stem != "__init__")


@modules
def test_imports_run_upward(module: str) -> None:
    above = set(ORDER[: ORDER.index(module)])
    assert ours(imported(ast.walk(tree(module)))) <= above


@modules
def test_only_what_trains_imports_torch_when_it_is_imported(module: str) -> None:
    at_import = imported(iter(tree(module).body))
    heavy = {"torch", "lightning", "safetensors", "safetensors.torch"} & at_import or ours(at_import) & NEED_TORCH
    assert bool(heavy) == (module in NEED_TORCH)


@modules
def test_all_is_sorted_and_true(module: str) -> None:
    names = importlib.import_module(f"nas.{module}").__all__
    assert sorted(names) == sorted(set(names))
    assert all(hasattr(importlib.import_module(f"nas.{module}"), name) for name in names)


@modules
def test_modules_are_short(module: str) -> None:
    assert len((PACKAGE / f"{module}.py").read_text().splitlines()) <= 350


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
    for module in ORDER:
        for node in ast.walk(tree(module)):
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
