"""Locates the non-module files: the bundled search spaces and the dashboard.

A wheel carries them inside the package; in a checkout they lie beside it, at the top level.
"""

from pathlib import Path

__all__ = ["dashboard_server", "ready_spaces"]


def ready_spaces() -> dict[str, Path]:
    """Returns the paths of the search spaces bundled with nas, by name."""
    return {path.stem: path for path in sorted(_folder("search_spaces").glob("*.yaml"))}


def dashboard_server() -> Path:
    """Returns the path of the program that serves the dashboard."""
    return _folder("app") / "server.py"


def _folder(name: str) -> Path:
    package = Path(__file__).resolve().parents[1]
    inside = package / name
    return inside if inside.is_dir() else package.parent / name
