"""Names the groups of images that belong together, such as those of one patient, by their files' names or a column."""

import re
from collections.abc import Sequence

from nas.errors import DataError
from nas.validation import shown

__all__ = ["FOLDER", "groups_by_name"]

FOLDER = "folder"
"""Groups images by the name of the folder that they lie in."""


def groups_by_name(source: str, names: Sequence[str], group_by: str) -> tuple[str, ...]:
    """Returns the group of each image.

    Args:
        source: where the images are from, for messages.
        names: the images' paths in the source.
        group_by: `FOLDER`, or a regular expression that is searched for in each path; the group is what its first
            pair of parentheses matches, or the whole match if it has none.

    Raises:
        DataError: it is not a regular expression, or an image does not match.
    """
    if group_by == FOLDER:
        return tuple(name.replace("\\", "/").rpartition("/")[0].rpartition("/")[2] for name in names)
    try:
        pattern = re.compile(group_by)
    except re.error as error:
        raise DataError(
            f"group_by={shown(group_by)}: is neither '{FOLDER}' nor a column nor a regular expression: {error}"
        ) from None
    found = [_group_of(pattern.search(name)) for name in names]
    missed = [name for name, group in zip(names, found, strict=True) if not group]
    if missed:
        raise DataError(
            f"group_by={shown(group_by)}: does not match {shown(missed[0])}, nor {len(missed) - 1} other images of "
            f"{source}; it must be '{FOLDER}', a column, or a regular expression that each path matches"
            if len(missed) > 1
            else f"group_by={shown(group_by)}: does not match {shown(missed[0])} of {source}"
        )
    return tuple(found)


def _group_of(match: re.Match[str] | None) -> str:
    """Returns what names the group; empty if nothing does."""
    return "" if match is None else (match[1] or "") if match.re.groups else match[0]
