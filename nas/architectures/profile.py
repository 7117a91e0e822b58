"""A profile as values, and what its numbers say in sentences.

Times are compared by their medians; where the quartiles of two overlap, their difference may be noise.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from nas.architectures.architecture import Architecture

if TYPE_CHECKING:
    from nas.architectures.latency import Latency

__all__ = [
    "MOST_WAITED",
    "AtSize",
    "Measured",
    "Part",
    "Profile",
    "crossing_sentence",
    "disturbance_sentences",
    "equal_flops_sentence",
    "pointwise_sentence",
    "saving_sentence",
]

POINTWISE = ("reduce", "expand", "projection")
"""The kinds of layer that are 1×1 convolutions."""
EQUAL = 0.02
"""FLOPs that differ by no more than this share are called equal."""
MOST_WAITED = 0.1
"""If threads wait for a core for a greater share of the time, times are those of the other programs, too."""


class Part(NamedTuple):
    """What a stage, a kind of layer or the rest costs for one image, and its share of the time, in [0, 1]."""

    name: str
    flops: int
    params: int
    activations: int
    time: float


class Measured(NamedTuple):
    """One network at one size of images: its cost for one image, its time for one image and for a batch.

    `name` is groups, dense or narrower dense; `memory` is the most bytes that the batch needs at one time.
    """

    name: str
    flops: int
    params: int
    activations: int
    one: "Latency"
    many: "Latency"
    memory: int


class AtSize(NamedTuple):
    """The networks on images of `size` × `size` pixels: with groups and its two dense twins, or a dense one alone."""

    size: int
    networks: tuple[Measured, ...]


@dataclass(frozen=True)
class Profile:
    """What was measured: parts of the architecture at its own size, by stage and by kind of layer; and each size."""

    architecture: Architecture
    stages: tuple[Part, ...]
    kinds: tuple[Part, ...]
    sizes: tuple[AtSize, ...]

    @property
    def device(self) -> str:
        """Where it was measured, in words."""
        return self.sizes[0].networks[0].one.device

    @property
    def sentences(self) -> tuple[str, ...]:
        """What the numbers say. Twins are compared at the architecture's own size, or else at the first one."""
        own = self.architecture.input.size
        pointwise = pointwise_sentence(self.kinds, size=own)
        latencies = [latency for at in self.sizes for each in at.networks for latency in (each.one, each.many)]
        doubts = disturbance_sentences(max(latency.waited for latency in latencies))
        if len(self.sizes[0].networks) == 1:
            return ("The network has no groups: it is its own dense twin.", pointwise, *doubts)
        at = next((each for each in self.sizes if each.size == own), self.sizes[0])
        compared = (saving_sentence(at), crossing_sentence(self.sizes), equal_flops_sentence(at))
        return (*compared, pointwise, *doubts)

    def to_dict(self) -> dict[str, Any]:
        """The form that `--json` prints; times in milliseconds, memory in bytes."""
        return {
            "name": self.architecture.name,
            "architecture": self.architecture.to_dict(),
            "device": self.device,
            "stages": [part._asdict() for part in self.stages],
            "kinds": [part._asdict() for part in self.kinds],
            "sizes": [
                {
                    "size": size,
                    "networks": [
                        {**each._asdict(), "one": each.one._asdict(), "many": each.many._asdict()} for each in networks
                    ],
                }
                for size, networks in self.sizes
            ],
            "sentences": list(self.sentences),
        }


def saving_sentence(at: AtSize) -> str:
    """What the groups save of the dense twin's FLOPs and of its time."""
    groups, dense = at.networks[:2]
    saved = 1 - groups.flops / dense.flops
    return (
        f"At {at.size}×{at.size} the groups save {_percent(saved)} of the FLOPs of the dense twin; "
        f"they take {_both_times(groups, dense)}."
    )


def equal_flops_sentence(at: AtSize) -> str:
    """How the time of the narrower dense twin compares with that of the groups."""
    groups, narrower = at.networks[0], at.networks[2]
    more = narrower.flops / groups.flops - 1
    flops = "equal" if abs(more) <= EQUAL else f"{_percent(abs(more))} {'more' if more > 0 else 'fewer'}"
    return f"For {flops} FLOPs at {at.size}×{at.size}, the narrower dense twin takes {_both_times(narrower, groups)}."


def crossing_sentence(sizes: Sequence[AtSize]) -> str:
    """At which of the sizes, ascending, the groups are quicker than the dense twin by more than the noise."""
    batched = [at for at in sizes if at.networks[0].many.batch > 1]
    single = _where_quicker([(at.size, at.networks[0].one, at.networks[1].one) for at in sizes])
    many = _where_quicker([(at.size, at.networks[0].many, at.networks[1].many) for at in batched])
    if not batched:
        found = f"one image at a time {single}"
    elif single == many:
        found = f"one image at a time and in batches {single}"
    else:
        found = f"one image at a time {single}, in batches {many}"
    return f"The groups' fewer FLOPs are fewer milliseconds here: {found}."


def pointwise_sentence(kinds: Iterable[Part], *, size: int) -> str:
    """The share of the 1×1 convolutions in FLOPs and time."""
    parts = list(kinds)
    mine = [part for part in parts if part.name in POINTWISE]
    flops = sum(part.flops for part in mine) / sum(part.flops for part in parts)
    return (
        f"The 1×1 convolutions are {_percent(flops)} of the FLOPs at {size}×{size} and "
        f"{_percent(sum(part.time for part in mine))} of the time of one image."
    )


def disturbance_sentences(waited: float) -> tuple[str, ...]:
    """A warning where threads had to wait for a core for more than a tenth of the time; else none."""
    if waited <= MOST_WAITED:
        return ()
    said = f"Other programs were in the way: threads waited for a core up to {_percent(waited)} of the time."
    return (f"{said} Measure again on a quiet machine.",)


def _both_times(mine: Measured, other: Measured) -> str:
    one, many = _compared(mine.one, other.one), _compared(mine.many, other.many)
    if mine.many.batch == 1:
        return f"{one} at batch 1"
    return f"{one} at batch 1 and {many} at batch {mine.many.batch}"


def _compared(mine: "Latency", other: "Latency") -> str:
    """`12 % less time`; where the quartiles overlap the difference may be chance."""
    if _alike(mine, other):
        return "the same time within the noise"
    ratio = mine.median / other.median
    return f"{_percent(1 - ratio)} less time" if ratio < 1 else f"{_percent(ratio - 1)} more time"


def _alike(mine: "Latency", other: "Latency") -> bool:
    return mine.low <= other.high and other.low <= mine.high


def _where_quicker(pairs: "Sequence[tuple[int, Latency, Latency]]") -> str:
    """At which sizes the first of two is quicker, and where that cannot be told."""
    sizes = [size for size, _, _ in pairs]
    alike = [size for size, mine, other in pairs if _alike(mine, other)]
    quicker = [size for size, mine, other in pairs if mine.median < other.median and size not in alike]
    doubt = f" (within the noise at {_listed(alike)})" if alike else ""
    if not quicker:
        return f"at no size measured{doubt}"
    if quicker == sizes:
        return "at every size measured"
    if len(quicker) > 1 and quicker == sizes[-len(quicker) :]:
        return f"from {_listed(quicker[:1])} on{doubt}"
    return f"only at {_listed(quicker)}{doubt}"


def _listed(sizes: Sequence[int]) -> str:
    *most, last = [f"{size}×{size}" for size in sizes]
    return f"{', '.join(most)} and {last}" if most else last


def _percent(share: float) -> str:
    percent = 100 * share
    return "less than 1 %" if 0 < percent < 0.5 else f"{percent:.0f} %"
