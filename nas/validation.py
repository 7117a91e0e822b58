"""Checks on values that people write: each failure is one line naming field, value and what is allowed."""

import difflib
import math
import reprlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from nas.errors import InvalidValue, visible

__all__ = [
    "LARGEST",
    "boolean",
    "integer",
    "mapping",
    "nearest_name",
    "one_of",
    "read_yaml",
    "real",
    "sequence",
    "shown",
    "text",
]

LARGEST = 65_536
"""No width, depth, size or number of classes may be above it: a slip of the keyboard, not a network."""
LARGEST_FILE = 2**20
"""No YAML file that people write is longer, in bytes; the parser takes seconds for so much."""
SHOWN = 60
LONGEST_NAME = 100
"""Looking for the name that a longer one may mean takes long and finds nothing."""


class _Short(reprlib.Repr):
    """`repr` that looks at no more of a value than is shown, however large or nested it is."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 4
        self.maxstring = self.maxother = self.maxlong = 4 * SHOWN  # which is then cut at its end, not in its middle
        self.maxlist = self.maxtuple = self.maxdict = SHOWN

    def repr_bytes(self, value: bytes, level: int) -> str:
        return repr(value[: 4 * SHOWN])

    def repr_int(self, value: int, level: int) -> str:
        try:
            return repr(value)
        except ValueError:  # Python refuses to write out integers of thousands of digits
            return "a number of too many digits"

    def repr_dict(self, value: dict[Any, Any], level: int) -> str:
        if level <= 0:
            return "{...}"
        members = [f"{self.repr1(key, level - 1)}: {self.repr1(value[key], level - 1)}" for key in [*value][:SHOWN]]
        return f"{{{', '.join(members)}}}"


def shown(value: object) -> str:
    """The value as it stands in an error message: short, and on one line."""
    text = " ".join(visible(_Short().repr(value)).split())
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


def integer(value: object, field: str, *, minimum: int = 1, maximum: int = LARGEST) -> int:
    """`value` if it is a whole number in [minimum, maximum]; True and 3.0 are not whole numbers here."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidValue(f"{field}={shown(value)}: must be a whole number from {minimum} to {maximum}")
    if not minimum <= value <= maximum:
        nearest = min(max(value, minimum), maximum)
        raise InvalidValue(f"{field}={shown(value)}: must be from {minimum} to {maximum}; nearest valid: {nearest}")
    return value


def real(value: object, field: str, *, minimum: float, maximum: float) -> float:
    """`value` as a float if it is a finite number in [minimum, maximum]."""
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or (isinstance(value, float) and math.isnan(value))
    ):
        raise InvalidValue(f"{field}={shown(value)}: must be a number from {minimum:g} to {maximum:g}")
    if not minimum <= value <= maximum:
        raise InvalidValue(f"{field}={shown(value)}: must be from {minimum:g} to {maximum:g}")
    return float(value)


def boolean(value: object, field: str) -> bool:
    """`value` if it is true or false."""
    if not isinstance(value, bool):
        raise InvalidValue(f"{field}={shown(value)}: must be true or false")
    return value


def one_of(value: object, field: str, allowed: Collection[str]) -> str:
    """`value` if it is one of the allowed words."""
    if not isinstance(value, str) or value not in allowed:
        hint = nearest_name(value, allowed)
        raise InvalidValue(f"{field}={shown(value)}: must be one of {', '.join(allowed)}{hint}")
    return value


def text(value: object, field: str) -> str:
    """`value` if it is a text that can be shown as it is; it may have several lines."""
    if not isinstance(value, str) or any(visible(line) != line for line in value.split("\n")):
        raise InvalidValue(f"{field}={shown(value)}: must be a text without control characters")
    return value


def sequence(value: object, field: str) -> Sequence[Any]:
    """`value` if it is a list (or tuple) with at least one member."""
    if not isinstance(value, list | tuple):
        raise InvalidValue(f"{field}={shown(value)}: must be a list")
    if not value:
        raise InvalidValue(f"{field}=[]: must have at least one member")
    return value


def mapping(
    value: object, field: str, *, required: Collection[str], optional: Collection[str] = ()
) -> Mapping[str, Any]:
    """`value` if it is a mapping with all the required keys and none but these and the optional ones."""
    if not isinstance(value, Mapping):
        raise InvalidValue(f"{field}={shown(value)}: must be a mapping with the keys {', '.join(required)}")
    known = [*required, *optional]
    for key in value:
        if key not in known:
            raise InvalidValue(
                f"{field}: unknown key {shown(key)}{nearest_name(key, known)}; known: {', '.join(known)}"
            )
    missing = [key for key in required if key not in value]
    if missing:
        raise InvalidValue(f"{field}: missing key '{missing[0]}'; required: {', '.join(required)}")
    return value


def nearest_name(name: object, known: Collection[str]) -> str:
    """A hint to append to a message: `; did you mean 'groups'?`, or nothing when no known name is near."""
    if not isinstance(name, str) or len(name) > LONGEST_NAME:
        return ""
    near = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.5)
    return f"; did you mean '{near[0]}'?" if near else ""


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML that refuses a repeated key, which plain YAML would let the last one win, and aliases."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        # Nested aliases blow a few lines up into gigabytes; nothing here needs them.
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not allowed")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.value in seen if isinstance(key_node, yaml.ScalarNode) else False:
                raise yaml.MarkedYAMLError(
                    problem=f"the key '{key_node.value}' stands twice", problem_mark=key_node.start_mark
                )
            if isinstance(key_node, yaml.ScalarNode):
                seen.add(key_node.value)
        return super().construct_mapping(node, deep=deep)


def read_yaml(path: Path) -> Any:
    """The content of a YAML file.

    Raises:
        InvalidValue: it cannot be read or is not YAML; the line names the file and the place.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise InvalidValue(f"{path}: is no file")
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise InvalidValue(f"{path}: is longer than {LARGEST_FILE} bytes; nas writes and reads none that long")
        return yaml.load(content.decode("utf-8"), Loader=_StrictLoader)
    except InvalidValue:
        raise
    except FileNotFoundError:
        raise InvalidValue(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidValue(f"{path}: cannot be read: {error}") from None
    except RecursionError:
        raise InvalidValue(f"{path}: is nested too deeply") from None
    except Exception as error:  # on hostile text the parser raises more than its own errors
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or next(iter(str(error).splitlines()), type(error).__name__)
        raise InvalidValue(f"{path}{place}: is not valid YAML: {problem}") from None
