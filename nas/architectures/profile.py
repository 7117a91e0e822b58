"""The result of profiling an architecture, and sentences that summarise it.

Times are compared by their medians; where the interquartile ranges of two overlap, the difference may be noise.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from nas.architectures.architecture import Architecture, Sides, sides_text

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
"""The layer kinds that are 1×1 convolutions."""
EQUAL = 0.02
"""FLOPs that differ by at most this share count as equal."""
MOST_WAITED = 0.1
"""Maximum share of the time that threads may wait for a core; above it, other programs distort the times."""


class Part(NamedTuple):
    """The cost of a stage, a layer kind or the rest for one image, and its share of the time, in [0, 1]."""

    name: str
    flops: int
    params: int
    activations: int
    time: float


class Measured(NamedTuple):
    """One network at one image size: its cost for one image, and its latency for one image and for a batch.

    `name` is groups, dense or narrower dense; `memory` is the peak memory of the batch in bytes.
    """

    name: str
    flops: int
    params: int
    activations: int
    one: "Latency"
    many: "Latency"
    memory: int


class AtSize(NamedTuple):
    """The networks at images of one height and width: the grouped one and its dense twins, or only a dense one."""

    sides: Sides
    networks: tuple[Measured, ...]


@dataclass(frozen=True)
class Profile:
    """The measurements: parts of the architecture at its own size, by stage and by layer kind, and each image size."""

    architecture: Architecture
    stages: tuple[Part, ...]
    kinds: tuple[Part, ...]
    sizes: tuple[AtSize, ...]

    @property
    def device(self) -> str:
        """The readable name of the device measured."""
        return self.sizes[0].networks[0].one.device

    @property
    def sentences(self) -> tuple[str, ...]:
        """A summary in sentences; twins are compared at the architecture's own size, or else at the first one."""
        own = self.architecture.input
        pointwise = pointwise_sentence(self.kinds, sides=own.sides)
        latencies = [latency for at in self.sizes for each in at.networks for latency in (each.one, each.many)]
        doubts = disturbance_sentences(max(latency.waited for latency in latencies))
        if len(self.sizes[0].networks) == 1:
            return ("The network has no groups: it is its own dense twin.", pointwise, *doubts)
        at = next((each for each in self.sizes if each.sides == own.sides), self.sizes[0])
        compared = (saving_sentence(at), crossing_sentence(self.sizes), equal_flops_sentence(at))
        return (*compared, pointwise, *doubts)

    def to_dict(self) -> dict[str, Any]:
        """Returns the values that `--json` prints; times in milliseconds, memory in bytes."""
        return {
            "name": self.architecture.name,
            "architecture": self.architecture.to_dict(),
            "device": self.device,
            "stages": [part._asdict() for part in self.stages],
            "kinds": [part._asdict() for part in self.kinds],
            "sizes": [
                {
                    "size": min(sides),
                    "sides": sides,
                    "networks": [
                        {**each._asdict(), "one": each.one._asdict(), "many": each.many._asdict()} for each in networks
                    ],
                }
                for sides, networks in self.sizes
            ],
            "sentences": list(self.sentences),
        }


def saving_sentence(at: AtSize) -> str:
    """States what the groups save of the dense twin's FLOPs and time."""
    groups, dense = at.networks[:2]
    saved = 1 - groups.flops / dense.flops
    return (
        f"At {sides_text(at.sides)} the groups save {_percent(saved)} of the FLOPs of the dense twin; "
        f"they take {_both_times(groups, dense)}."
    )


def equal_flops_sentence(at: AtSize) -> str:
    """Compares the time of the narrower dense twin with that of the grouped network."""
    groups, narrower = at.networks[0], at.networks[2]
    more = narrower.flops / groups.flops - 1
    flops = "equal" if abs(more) <= EQUAL else f"{_percent(abs(more))} {'more' if more > 0 else 'fewer'}"
    return (
        f"For {flops} FLOPs at {sides_text(at.sides)}, the narrower dense twin takes {_both_times(narrower, groups)}."
    )


def crossing_sentence(sizes: Sequence[AtSize]) -> str:
    """States at which of `sizes`, ascending, the groups beat the dense twin in time by more than the noise."""
    batched = [at for at in sizes if at.networks[0].many.batch > 1]
    single = _where_quicker([(at.sides, at.networks[0].one, at.networks[1].one) for at in sizes])
    many = _where_quicker([(at.sides, at.networks[0].many, at.networks[1].many) for at in batched])
    if not batched:
        found = f"one image at a time {single}"
    elif single == many:
        found = f"one image at a time and in batches {single}"
    else:
        found = f"one image at a time {single}, in batches {many}"
    return f"The groups' fewer FLOPs are fewer milliseconds here: {found}."


def pointwise_sentence(kinds: Iterable[Part], *, sides: Sides) -> str:
    """States the 1×1 convolutions' share of FLOPs and time."""
    parts = list(kinds)
    mine = [part for part in parts if part.name in POINTWISE]
    flops = sum(part.flops for part in mine) / sum(part.flops for part in parts)
    return (
        f"The 1×1 convolutions are {_percent(flops)} of the FLOPs at {sides_text(sides)} and "
        f"{_percent(sum(part.time for part in mine))} of the time of one image."
    )


def disturbance_sentences(waited: float) -> tuple[str, ...]:
    """Returns a warning if threads waited for a core for more than a tenth of the time, else nothing."""
    if waited <= MOST_WAITED:
        return ()
    disturbed = f"Other programs were in the way: threads waited for a core up to {_percent(waited)} of the time."
    return (f"{disturbed} Measure again on a quiet machine.",)


def _both_times(mine: Measured, other: Measured) -> str:
    one, many = _compared(mine.one, other.one), _compared(mine.many, other.many)
    if mine.many.batch == 1:
        return f"{one} at batch 1"
    return f"{one} at batch 1 and {many} at batch {mine.many.batch}"


def _compared(mine: "Latency", other: "Latency") -> str:
    """Compares two medians, as in `12 % less time`; overlapping interquartile ranges count as the same."""
    if _alike(mine, other):
        return "the same time within the noise"
    ratio = mine.median / other.median
    return f"{_percent(1 - ratio)} less time" if ratio < 1 else f"{_percent(ratio - 1)} more time"


def _alike(mine: "Latency", other: "Latency") -> bool:
    return mine.low <= other.high and other.low <= mine.high


def _where_quicker(pairs: "Sequence[tuple[Sides, Latency, Latency]]") -> str:
    """States at which sizes the first of two is faster, and at which the difference is within the noise."""
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


def _listed(sizes: Sequence[Sides]) -> str:
    *most, last = map(sides_text, sizes)
    return f"{', '.join(most)} and {last}" if most else last


def _percent(share: float) -> str:
    percent = 100 * share
    return "less than 1 %" if 0 < percent < 0.5 else f"{percent:.0f} %"
