"""Side-by-side comparison of trials: how their architectures, costs and accuracies differ."""

from collections.abc import Sequence
from operator import attrgetter
from typing import NamedTuple

from nas.architectures.architecture import Architecture
from nas.study.records import TrialRecord
from nas.units import count_text, duration_text, percent_text

__all__ = ["Row", "comparison_rows", "difference", "error_of", "verdict"]


class Row(NamedTuple):
    """One property, with its value for each trial as text."""

    name: str
    values: tuple[str, ...]

    @property
    def differs(self) -> bool:
        """Whether the trials differ in this property."""
        return len(set(self.values)) > 1


def comparison_rows(records: Sequence[TrialRecord], *, images: int | None = None) -> list[Row]:
    """Returns the results and costs of the trials, then their architectures field by field.

    `images` is the number of validation images; if given, a row with the 95 % intervals of the accuracies, estimated
    ones where there are any, is added.
    """
    rows = [
        _row("state", [record.state + (f": {record.reason}" if record.reason else "") for record in records]),
        *(
            [_row("epochs trained for", [str(record.length or "all") for record in records])]
            if any(record.length is not None for record in records)
            else []
        ),
        _row("validation accuracy", [_percent(record.accuracy) for record in records]),
    ]
    if any(record.estimate for record in records):
        rows.append(_row("estimated", [record.estimate.text() if record.estimate else "–" for record in records]))
    if images:
        rows.append(_row("95 % interval", [_interval(record, images) for record in records]))
    rows += [
        _row("FLOPs per image", [count_text(record.flops) for record in records]),
        _row("parameters", [count_text(record.params) for record in records]),
        _row("activations", [count_text(record.cost.activations) for record in records]),
        _row(
            "training time",
            [duration_text(record.seconds) if record.seconds is not None else "–" for record in records],
        ),
    ]
    for name in dict.fromkeys(name for record in records for name in record.measures):
        rows.append(
            _row(name, [f"{record.measures[name]:.3g}" if name in record.measures else "–" for record in records])
        )
    fields = [_fields(record.architecture) for record in records]
    names = dict.fromkeys(name for field in fields for name in field)
    return rows + [_row(name, [field.get(name, "–") for field in fields]) for name in names]


def difference(first: TrialRecord, second: TrialRecord) -> list[str]:
    """Returns the fields in which the second architecture differs from the first, as `stage 2 groups: 4 → 8`."""
    rows = comparison_rows([first, second])
    known = set(_fields(first.architecture)) | set(_fields(second.architecture))
    return [f"{row.name}: {row.values[0]} → {row.values[1]}" for row in rows if row.name in known and row.differs]


def verdict(first: TrialRecord, second: TrialRecord, images: int | None = None) -> str:
    """Compares the second trial's cost and accuracy with the first's in a sentence.

    `images` is the number of validation images; if given, the sentence says whether the difference may be chance.
    """
    costs = f"{_times(second.flops, first.flops)} the FLOPs and {_times(second.params, first.params)} the parameters"
    if first.accuracy is None or second.accuracy is None:
        return f"Trial {second.trial} has {costs} of trial {first.trial}; without both accuracies no more can be said."
    if first.state != second.state:
        return f"Trial {second.trial} has {costs} of trial {first.trial}; one is a short training, the other is not."
    gain = second.quality - first.quality
    words = f"{100 * abs(gain):.2f} points {'more' if gain > 0 else 'less'} accurate than" if gain else "as accurate as"
    chance = ""
    if gain and abs(gain) < max(first, second, key=attrgetter("quality")).least_difference(images):
        chance = " The difference in accuracy may be chance."
    return f"Trial {second.trial} is {words} trial {first.trial}, with {costs}.{chance}"


def _row(name: str, values: Sequence[str]) -> Row:
    return Row(name, tuple(values))


def _fields(architecture: Architecture) -> dict[str, str]:
    fields = {"stem": " → ".join(str(conv.width) for conv in architecture.stem)}
    for number, stage in enumerate(architecture.stages, start=1):
        for name in ("depth", "mid", "groups", "out", "stride"):
            fields[f"stage {number} {name}"] = str(getattr(stage, name))
    return fields


def _percent(accuracy: float | None) -> str:
    return percent_text(accuracy) if accuracy is not None else "–"


def _interval(record: TrialRecord, images: int) -> str:
    interval = record.interval(images)
    if record.accuracy is None or interval is None:
        return "–"
    return f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f} %"


def _times(value: float, base: float) -> str:
    return f"{value / base:.2f}×"


def error_of(record: TrialRecord) -> float | None:
    """The share of validation images that are misclassified, in [0, 1]."""
    return 1 - record.accuracy if record.accuracy is not None else None
