"""Where the files that are not Python modules lie: the ready search spaces and the dashboard.

A wheel carries them inside the package; in a checkout they stand beside it, at the top.
"""

from pathlib import Path

__all__ = ["dashboard_script", "ready_spaces"]


def ready_spaces() -> dict[str, Path]:
    """The spaces that come with nas, by name."""
    return {path.stem: path for path in sorted(_folder("search_spaces").glob("*.yaml"))}


def dashboard_script() -> Path:
    """The script that `streamlit run` takes."""
    return _folder("app") / "dashboard.py"


def _folder(name: str) -> Path:
    package = Path(__file__).resolve().parent
    inside = package / name
    return inside if inside.is_dir() else package.parent / name
