"""Loads a search space by file or by the name of a built-in one."""

from pathlib import Path

from nas.errors import InvalidValue
from nas.spaces.search_space import SearchSpace
from nas.system.resources import ready_spaces
from nas.validation import nearest_name, read_yaml, shown

__all__ = ["load_space"]


def load_space(source: str | Path) -> SearchSpace:
    """Loads a search space from a YAML file, or a ready-made one by name.

    Raises:
        InvalidValue: there is no such file or name, or its content is not a valid space; the message names the file.
    """
    if not isinstance(source, str | Path):
        raise InvalidValue(f"space={shown(source)}: must be a SearchSpace, a name or a file; images are given as data")
    ready = ready_spaces()
    path = ready.get(str(source), Path(str(source)))
    try:
        there = path.is_file()
    except OSError:  # not a possible file name
        there = False
    if not there:
        raise InvalidValue(
            f"space {str(source)!r}: no such file, and no ready space of that name"
            f"{nearest_name(str(source), ready)}; ready: {', '.join(ready)}"
        )
    data = read_yaml(path)
    try:
        return SearchSpace.from_dict(data)
    except InvalidValue as error:
        raise InvalidValue(f"{path}: {error}") from None
