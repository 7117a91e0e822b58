"""Values and files that no friend would hand over, and what must become of them: a result, or one short line."""

import copy
import datetime
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from nas.errors import LONGEST_MESSAGE, NasError, visible

SECONDS = 2.0
"""No input may take longer, in this process's own time."""


def nested(depth: int, wrap: Callable[[Any], Any]) -> Any:
    """A value inside so many others."""
    value: Any = wrap(1)
    for _ in range(depth):
        value = wrap(value)
    return value


def _of_itself() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


PLAIN: list[Any] = [
    math.nan,
    math.inf,
    -math.inf,
    1e308,
    1e-320,
    -1,
    0,
    1,
    7,
    65_536,
    65_537,
    10**18,
    10**400,
    -(10**5000),
    True,
    None,
    "",
    "nan",
    "1e999",
    "8",
    "mid",
    "../x",
    "\0",
    "a\nb\x1b[31m\u202e",
    "x" * 100_000,
    [],
    {},
    [[]],
    [1, 1],
    ["a", None],
    [math.nan],
    {"low": 1, "high": 1000},
    {"low": 1, "high": 10**18},
    {"low": 5, "high": 1},
    {"": 1},
    list(range(2000)),
    nested(200, lambda value: [value]),
    nested(200, lambda value: {"a": value}),
]
"""What JSON, or Python's reading of it, can bring."""
ODD: list[Any] = [
    b"",
    b"x" * 100_000,
    datetime.date(2000, 1, 1),
    datetime.datetime(1, 1, 1, tzinfo=datetime.UTC),
    {1, 2},
    frozenset(),
    (1,),
    1j,
    "\ud800",
    {1: 2},
    {None: None},
    {math.nan: 1},
    {(1, 2): 3},
    {"k" * 10**6: 1},
    dict.fromkeys(map(str, range(10_000)), 1),
    "9" * 5000,
    "x" * 10**7,
    b"x" * 10**7,
    list(range(10**6)),
    nested(10_000, lambda value: [value]),
    nested(10_000, lambda value: {"a": value}),
    nested(10_000, lambda value: (value,)),
    _of_itself(),
    object(),
    float,
]
"""What only YAML or Python can."""


def paths(document: Any, so_far: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to each branch and leaf of nested dicts and lists, the whole included."""
    yield so_far
    members = document.items() if isinstance(document, dict) else enumerate(document) if _is_list(document) else ()
    for key, member in members:
        yield from paths(member, (*so_far, key))


def _is_list(document: Any) -> bool:
    return isinstance(document, list)


def mutated(valid: Any, values: list[Any]) -> st.SearchStrategy[Any]:
    """The document with one to three branches or leaves replaced, left out, doubled or renamed."""
    places = list(paths(valid))
    place, value, deed = st.sampled_from(places), st.sampled_from(values), st.sampled_from("rrrrddwns")
    return st.lists(st.tuples(place, value, deed), min_size=1, max_size=3).map(lambda deeds: _done(valid, deeds))


def _done(valid: Any, deeds: list[tuple[tuple[Any, ...], Any, str]]) -> Any:
    document = copy.deepcopy(valid)
    for place, given, deed in deeds:
        value = copy.copy(given) if isinstance(given, list | dict) else given  # a later deed may change it
        if not place:
            document = value
            continue
        branch = document
        try:
            for key in place[:-1]:
                branch = branch[key]
            key = place[-1]
            if deed == "r":
                branch[key] = value
            elif deed == "d":
                del branch[key]
            elif deed == "w":
                branch[key] = [branch[key], value]
            elif deed == "n":
                branch[value] = branch.pop(key)
            else:
                branch[key] = branch[key] * 2 if isinstance(branch[key], list | str | int) else [branch[key]] * 100
        except (LookupError, TypeError, AttributeError, ValueError):  # an earlier deed has done away with the place
            continue
    return document


def thorough(examples: int) -> settings:
    """So many examples, the same each time."""
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def refused(read: Callable[..., Any], *arguments: Any, **options: Any) -> str | None:
    """The line by which it was refused; None where it was read. Nothing else may come out, and it may not take long."""
    began = time.process_time()
    try:
        read(*arguments, **options)
        line = None
    except NasError as error:
        line = str(error)
        assert line.strip()
        assert visible(line) == line
        assert len(line) <= LONGEST_MESSAGE
    took = time.process_time() - began
    assert took < SECONDS, f"took {took:.1f} s"
    return line


def listing(folder: Path, *, but: Path | None = None) -> dict[str, tuple[int, int]]:
    """Every file and folder below, with its size and when it was changed; without those below `but`."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if but is not None and path.is_relative_to(but):
            continue
        status = path.lstat()
        found[str(path.relative_to(folder))] = (status.st_size, status.st_mtime_ns) if path.is_file() else (0, 0)
    return found
