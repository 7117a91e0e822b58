"""Membership: whether a search space holds an architecture, and what keeps one out."""

from collections.abc import Iterator

from nas.architectures.architecture import Architecture
from nas.architectures.cost import cost
from nas.spaces.search_space import SearchSpace

__all__ = ["misfits"]


def misfits(architecture: Architecture, space: SearchSpace) -> list[str]:
    """Returns a line for each value of an architecture that a space does not hold; empty: the space holds it.

    The number of classes follows the data and is not compared.
    """
    return list(_misfits(architecture, space))


def _misfits(architecture: Architecture, space: SearchSpace) -> Iterator[str]:
    if architecture.input != space.input:
        own, wanted = architecture.input, space.input
        yield f"input={own.channels}×{own}: the space has {wanted.channels}×{wanted} (channels × height × width)"
    if architecture.shortcuts != space.shortcuts:
        yield f"shortcuts={architecture.shortcuts}: the space has {space.shortcuts}"
    for part, mine, theirs in (("stem", architecture.stem, space.stem), ("stages", architecture.stages, space.stages)):
        if len(mine) != len(theirs):
            yield f"{part}: it has {len(mine)}, the space {len(theirs)}"
    for number, (conv, stem) in enumerate(zip(architecture.stem, space.stem, strict=False), start=1):
        yield from _unlisted(
            f"stem{number}", {"width": (conv.width, stem.width), "stride": (conv.stride, (stem.stride,))}
        )
    for number, (stage, choices) in enumerate(zip(architecture.stages, space.stages, strict=False), start=1):
        yield from _unlisted(
            f"stage{number}",
            {
                "depth": (stage.depth, choices.depth),
                "mid": (stage.mid, choices.mid),
                "groups": (stage.groups, choices.groups),
                "out": (stage.out, choices.out if choices.out is not None else (stage.mid,)),
                "stride": (stage.stride, (choices.stride,)),
            },
        )
    amounts = cost(architecture)
    for name, amount, most in (
        ("max_flops", amounts.flops, space.max_flops),
        ("max_params", amounts.params, space.max_params),
    ):
        if most is not None and amount > most:
            yield f"{name}={most:,}: it has {amount:,}"


def _unlisted(part: str, fields: dict[str, tuple[int, tuple[int, ...]]]) -> Iterator[str]:
    for field, (value, allowed) in fields.items():
        if value not in allowed:
            yield f"{part}.{field}={value}: the space has {', '.join(map(str, allowed))}"
