"""Edits: changes to an architecture as a person writes them, such as `stage2.groups=16`."""

import re
from collections.abc import Iterable

from nas.architectures.architecture import Architecture
from nas.errors import InvalidValue
from nas.validation import nearest_name, shown

__all__ = ["changes_text", "edited", "read_edits"]

EDIT = re.compile(r"(stem|stage)([0-9]{1,3})\.([a-z]+)=([0-9]{1,9})")
COUNT = re.compile(r"(stem|stage)s=([1-9][0-9]?)")
FIELDS = {"stem": ("width", "stride"), "stage": ("depth", "mid", "groups", "out", "stride")}


def edited(architecture: Architecture, edits: Iterable[str]) -> Architecture:
    """Returns an architecture with fields changed, all at once: groups and mid may change together.

    Args:
        architecture: the one to start from.
        edits: changes such as `stage2.groups=16` or `stem1.width=8`, by stages and stem convolutions counted from 1;
            `stages=4` and `stems=1` remove the last ones, or repeat the last one with stride 1.

    Raises:
        InvalidValue: an edit cannot be read or names what is not there, or the result is not valid.
    """
    whole = architecture.to_dict()
    parts = {"stem": whole["stem"], "stage": whole["stages"]}
    for edit in edits:
        if count := COUNT.fullmatch(edit.replace(" ", "")):
            old, number = parts[count[1]], int(count[2])
            old[number:] = [{**old[-1], "stride": 1} for _ in range(number - len(old))]
            continue
        match = EDIT.fullmatch(edit.replace(" ", ""))
        if match is None:
            raise InvalidValue(f"set={shown(edit)}: must be such as stage2.groups=16, stem1.width=8 or stages=4")
        part, number, field, value = match[1], int(match[2]), match[3], int(match[4])
        if not 1 <= number <= len(parts[part]):
            raise InvalidValue(f"set={shown(edit)}: there is no {part}{number}; allowed: 1 to {len(parts[part])}")
        if field not in FIELDS[part]:
            hint = nearest_name(field, FIELDS[part])
            raise InvalidValue(f"set={shown(edit)}: a {part} has {', '.join(FIELDS[part])}{hint}")
        parts[part][number - 1][field] = value
    return Architecture.from_dict(whole)


def read_edits(text: str | None) -> list[str]:
    """Returns the edits in a text that `changes_text` wrote; none for None."""
    return [edit for edit in (text or "").split(",") if edit]


def changes_text(before: Architecture, after: Architecture) -> str:
    """Returns the edits that turn one architecture into another for the same images, separated by commas."""
    pairs = (("stem", before.stem, after.stem), ("stage", before.stages, after.stages))
    changes = [f"{part}s={len(new)}" for part, old, new in pairs if len(old) != len(new)]
    before = edited(before, changes)
    for part, befores, afters in (("stem", before.stem, after.stem), ("stage", before.stages, after.stages)):
        for number, (old, new) in enumerate(zip(befores, afters, strict=True), start=1):
            changes += [
                f"{part}{number}.{field}={getattr(new, field)}"
                for field in FIELDS[part]
                if getattr(new, field) != getattr(old, field)
            ]
    return ",".join(changes)
