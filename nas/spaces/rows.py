"""A search space as the rows of a table that people edit: one for each convolution of the stem and for each stage."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from nas.errors import InvalidValue
from nas.spaces.search_space import SearchSpace
from nas.spaces.stage_choices import FIELDS
from nas.validation import integer, shown

__all__ = ["PART", "differences", "from_rows", "to_rows"]

PART, STRIDE = "part", "stride"
STEM, STAGE = "stem", "stage"


def to_rows(space: SearchSpace) -> list[dict[str, Any]]:
    """Returns the rows of a space: values as text, separated by commas, and strides as numbers.

    The columns are `part`, `depth`, `mid`, `groups`, `out` and `stride`; a convolution of the stem has only `mid`, its
    widths, and a stride.
    """
    stem = [
        {PART: f"{STEM} {number}", **dict.fromkeys(FIELDS, ""), "mid": _text(conv.width), STRIDE: conv.stride}
        for number, conv in enumerate(space.stem, start=1)
    ]
    stages = [
        {
            PART: f"{STAGE} {number}",
            **{name: _text(values) if (values := getattr(stage, name)) else "mid" for name in FIELDS},
            STRIDE: stage.stride,
        }
        for number, stage in enumerate(space.stages, start=1)
    ]
    return [*stem, *stages]


def from_rows(space: SearchSpace, rows: Sequence[Mapping[str, Any]]) -> SearchSpace:
    """Returns a space with the stem and the stages of edited rows, and else as it is.

    Args:
        space: what is not in the rows: name, input, budgets, recipe.
        rows: as `to_rows` returns them. `out` may be `mid`: the same width.

    Raises:
        InvalidValue: a value cannot be read or is not allowed; the message names the field.
    """
    stem, stages = [], []
    for row in rows:
        kind, _, number = str(row[PART]).partition(" ")
        name = f"{kind}{number}"
        stride = integer(row[STRIDE], f"{name}.{STRIDE}")
        if kind == STEM:
            stem.append({"width": _numbers(row["mid"], f"{name}.width"), STRIDE: stride})
        else:
            values = {field: _numbers(row[field], f"{name}.{field}") for field in FIELDS if row[field] != "mid"}
            stages.append({"out": "mid", **values, STRIDE: stride})
    return SearchSpace.from_dict({**space.to_dict(), "stem": stem, "stages": stages})


def differences(before: SearchSpace, after: SearchSpace) -> list[str]:
    """Returns a line for each row that two spaces do not share or that differs: `stage 2 mid: 16, 32 → 16, 48`."""
    old, new = ({row[PART]: row for row in to_rows(space)} for space in (before, after))
    lines = [f"{part}: removed" for part in old if part not in new] + [
        f"{part}: added" for part in new if part not in old
    ]
    for part in old:
        for field, value in old[part].items():
            if part in new and new[part][field] != value:
                lines.append(f"{part} {field}: {value} → {new[part][field]}")
    if before.shortcuts != after.shortcuts:
        lines.append(f"shortcuts: {before.shortcuts} → {after.shortcuts}")
    budgets = ((name, getattr(before, name), getattr(after, name)) for name in ("max_flops", "max_params"))
    return lines + [f"{name}: {a or 'no limit'} → {b or 'no limit'}" for name, a, b in budgets if a != b]


def _text(values: Sequence[int]) -> str:
    return ", ".join(map(str, values))


def _numbers(text: object, field: str) -> list[int]:
    parts = re.split(r"[\s,;]+", str(text if text is not None else "").strip())
    if not all(re.fullmatch(r"\d{1,9}", part) for part in parts):
        raise InvalidValue(f"{field}={shown(text)}: must be whole numbers, separated by commas")
    return [int(part) for part in parts]
