"""Validates values that users write: each error is one line naming the field, its value and what is allowed."""

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
"""Upper limit of widths, depths, sizes and class counts; anything above is a typing error, not a network."""
LARGEST_FILE = 2**20
"""Maximum size of a YAML file in bytes, far above any written by hand; the parser takes seconds for this much."""
SHOWN = 60
LONGEST_NAME = 100
"""Names longer than this get no suggestion: fuzzy matching would be slow and find nothing."""


class _Short(reprlib.Repr):
    """A `repr` that reads no more of a value than it shows, however large or deeply nested the value is."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 4
        self.maxstring = self.maxother = self.maxlong = 4 * SHOWN  # `shown` then cuts the end, not the middle
        self.maxlist = self.maxtuple = self.maxdict = SHOWN

    def repr_bytes(self, value: bytes, level: int) -> str:
        return repr(value[: 4 * SHOWN])

    def repr_int(self, value: int, level: int) -> str:
        try:
            return repr(value)
        except ValueError:  # Python refuses to format integers of thousands of digits
            return "a number of too many digits"

    def repr_dict(self, value: dict[Any, Any], level: int) -> str:
        if level <= 0:
            return "{...}"
        members = [f"{self.repr1(key, level - 1)}: {self.repr1(value[key], level - 1)}" for key in [*value][:SHOWN]]
        return f"{{{', '.join(members)}}}"


def shown(value: object) -> str:
    """Returns a value as an error message shows it: short, and on one line."""
    text = " ".join(visible(_Short().repr(value)).split())
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


def integer(value: object, field: str, *, minimum: int = 1, maximum: int = LARGEST) -> int:
    """Returns `value` if it is an `int` in [minimum, maximum]; True and 3.0 are rejected.

    Raises:
        InvalidValue: `value` is another type or out of range.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidValue(f"{field}={shown(value)}: must be a whole number from {minimum} to {maximum}")
    if not minimum <= value <= maximum:
        nearest = min(max(value, minimum), maximum)
        raise InvalidValue(f"{field}={shown(value)}: must be from {minimum} to {maximum}; nearest valid: {nearest}")
    return value


def real(value: object, field: str, *, minimum: float, maximum: float) -> float:
    """Returns `value` as a float if it is a number in [minimum, maximum].

    Raises:
        InvalidValue: `value` is not a number, NaN or out of range.
    """
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
    """Returns `value` if it is a `bool`, else raises InvalidValue."""
    if not isinstance(value, bool):
        raise InvalidValue(f"{field}={shown(value)}: must be true or false")
    return value


def one_of(value: object, field: str, allowed: Collection[str]) -> str:
    """Returns `value` if it is one of the `allowed` strings, else raises InvalidValue with the closest of them."""
    if not isinstance(value, str) or value not in allowed:
        hint = nearest_name(value, allowed)
        raise InvalidValue(f"{field}={shown(value)}: must be one of {', '.join(allowed)}{hint}")
    return value


def text(value: object, field: str) -> str:
    """Returns `value` if it is a string without control characters; it may have several lines.

    Raises:
        InvalidValue: `value` is anything else.
    """
    if not isinstance(value, str) or any(visible(line) != line for line in value.split("\n")):
        raise InvalidValue(f"{field}={shown(value)}: must be a text without control characters")
    return value


def sequence(value: object, field: str) -> Sequence[Any]:
    """Returns `value` if it is a non-empty list or tuple, else raises InvalidValue."""
    if not isinstance(value, list | tuple):
        raise InvalidValue(f"{field}={shown(value)}: must be a list")
    if not value:
        raise InvalidValue(f"{field}=[]: must have at least one member")
    return value


def mapping(
    value: object, field: str, *, required: Collection[str], optional: Collection[str] = ()
) -> Mapping[str, Any]:
    """Returns `value` if it is a mapping with all `required` keys and no others except the `optional` ones.

    Raises:
        InvalidValue: `value` is not a mapping, or has a missing or unknown key.
    """
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
    """Returns a hint to append to a message, `; did you mean 'groups'?`, or "" if no known name is similar."""
    if not isinstance(name, str) or len(name) > LONGEST_NAME:
        return ""
    near = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.5)
    return f"; did you mean '{near[0]}'?" if near else ""


class _StrictLoader(yaml.SafeLoader):
    """A safe YAML loader that rejects aliases and duplicate keys, of which plain YAML silently keeps the last."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        # Nested aliases expand a few lines into gigabytes; nothing here needs them.
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not allowed")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.value in seen if isinstance(key_node, yaml.ScalarNode) else False:
                raise yaml.MarkedYAMLError(
                    problem=f"the key '{key_node.value}' is repeated", problem_mark=key_node.start_mark
                )
            if isinstance(key_node, yaml.ScalarNode):
                seen.add(key_node.value)
        return super().construct_mapping(node, deep=deep)


def read_yaml(path: Path) -> Any:
    """Returns the content of a YAML file.

    Raises:
        InvalidValue: the file cannot be read or is not valid YAML; the message names the file and the line.
    """
    try:
        if path.exists() and not path.is_file():  # opening a pipe would block
            raise InvalidValue(f"{path}: is not a file")
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
    except Exception as error:  # on malicious input the parser raises more than its own errors
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or next(iter(str(error).splitlines()), type(error).__name__)
        raise InvalidValue(f"{path}{place}: is not valid YAML: {problem}") from None
