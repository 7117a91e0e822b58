"""Drawing of an architecture: its layers from stem to classifier, with the groups of each convolution side by side."""

from collections.abc import Iterator, Sequence
from math import sqrt
from typing import TYPE_CHECKING, Any, NamedTuple

from nas.analysis.figures.style import BLUE, GREEN, GREY, ORANGE, PINK, SKY, new_figure
from nas.architectures.architecture import Architecture, Sides, Stage, sides_text, strided

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["Bar", "Skip", "drawing_figure", "drawing_numbers", "parts_of"]

STEM, POINTWISE, GROUPED, PROJECTION, CLASSIFIER = "stem 3×3", "1×1", "grouped 3×3", "projection 1×1", "classifier"
KIND_NAMES = {
    "stem": STEM,
    "reduce": POINTWISE,
    "grouped": GROUPED,
    "expand": POINTWISE,
    "projection": PROJECTION,
    "classifier": CLASSIFIER,
}
KIND_COLOURS = {STEM: GREEN, POINTWISE: SKY, GROUPED: BLUE, PROJECTION: PINK, CLASSIFIER: ORANGE}
BLOCKS_DRAWN = 3
THICKNESS = {STEM: 0.7, POINTWISE: 0.45, GROUPED: 1.0, CLASSIFIER: 0.7}
LABELS_AT = 1.18  # bars span -1 to 1


class Bar(NamedTuple):
    """One layer, `channels` wide and split into `groups`. `y` is its centre; the first layer is at the top, at 0."""

    part: str
    kind: str
    channels: int
    groups: int
    y: float


class Skip(NamedTuple):
    """The skip connection of a block, from one height to another; a projection where shapes differ."""

    top: float
    bottom: float
    projection: bool


class Label(NamedTuple):
    """Two lines beside a part: its name and its numbers."""

    y: float
    title: str
    text: str


class Drawing(NamedTuple):
    """The elements of a drawing; of a stage deeper than three blocks, the first two and a count of the rest."""

    bars: list[Bar]
    skips: list[Skip]
    labels: list[Label]
    height: float


def drawing_numbers(architecture: Architecture) -> Drawing:
    """Lays out the layers from top to bottom, in the order of the forward pass."""
    bars: list[Bar] = []
    skips: list[Skip] = []
    labels: list[Label] = []
    sides, y = architecture.input.sides, 0.0
    shape = f"{architecture.input}, {_counted(architecture.input.channels, 'channel')}"
    for conv in architecture.stem:
        sides = strided(sides, conv.stride)
        bars.append(Bar("stem", STEM, conv.width, 1, y))
        y -= 1.0
    labels.append(Label((bars[0].y + bars[-1].y) / 2, "stem", f"{shape} → {' → '.join(_widths(architecture))}"))
    cin = architecture.stem[-1].width
    for number, stage in enumerate(architecture.stages, start=1):
        y -= 0.7
        top, part = y, f"stage {number}"
        drawn = stage.depth if stage.depth <= BLOCKS_DRAWN else BLOCKS_DRAWN - 1
        for block in range(drawn):
            first = y
            for kind, channels, groups in (
                (POINTWISE, stage.mid, 1),
                (GROUPED, stage.mid, stage.groups),
                (POINTWISE, stage.out, 1),
            ):
                bars.append(Bar(part, kind, channels, groups, y))
                y -= 1.0
            skips.append(Skip(first + 0.5, y + 0.5, block == 0 and (stage.stride != 1 or cin != stage.out)))
            y -= 0.35
        if drawn < stage.depth:
            labels.append(Label(y + 0.2, "", f"⋮ {stage.depth - drawn} more blocks like the last"))
            y -= 0.9
        sides, cin = strided(sides, stage.stride), stage.out
        labels.append(Label((top + y) / 2 + 0.6, *_words(part, stage, sides)))
    y = min(y - 0.4, labels[-1].y - 2.4)  # its label is two lines high as well
    bars.append(Bar("classifier", CLASSIFIER, architecture.classes, 1, y))
    labels.append(Label(y, "classifier", f"mean of {cin} → {architecture.classes} classes"))
    return Drawing(bars, skips, labels, 1.4 - y)


def drawing_figure(architecture: Architecture) -> "go.Figure":
    """Draws the architecture: bars as wide as the square root of their channels, with gaps between groups."""
    drawing = drawing_numbers(architecture)
    figure = new_figure(height=round(60 + 15 * drawing.height), name=f"drawing {architecture.key}")
    for projection, name, colour in ((False, "skip", GREY), (True, PROJECTION, PINK)):
        ways = [skip for skip in drawing.skips if skip.projection == projection]
        if ways:
            _draw_skips(figure, ways, name=name, line={"color": colour, "width": 2 if projection else 1.5})
    for kind in dict.fromkeys(bar.kind for bar in drawing.bars):
        _draw_bars(figure, drawing, kind)
    for label in drawing.labels:
        figure.add_annotation(
            x=LABELS_AT,
            y=label.y,
            text=f"<b>{label.title}</b><br>{label.text}" if label.title else label.text,
            xanchor="left",
            align="left",
            showarrow=False,
            font={"size": 12},
        )
    hidden = {"visible": False, "fixedrange": True}
    figure.update_xaxes(range=[-1.25, 3.7], **hidden)
    figure.update_yaxes(range=[0.9 - drawing.height, 0.9], **hidden)
    figure.update_layout(margin={"l": 5, "r": 5, "t": 40, "b": 5}, dragmode=False)
    return figure


def _draw_skips(figure: "go.Figure", skips: Sequence[Skip], *, name: str, line: dict[str, Any]) -> None:
    """Draws skip connections as brackets on the left."""
    figure.add_scatter(
        name=name,
        x=[x for _ in skips for x in (-0.75, -1.15, -1.15, -0.75, None)],
        y=[y for skip in skips for y in (skip.top, skip.top, skip.bottom, skip.bottom, None)],
        mode="lines",
        line=line,
        hoverinfo="skip",
    )


def _draw_bars(figure: "go.Figure", drawing: Drawing, kind: str) -> None:
    """Draws the layers of one kind as filled bars, with an invisible point in the middle of each for its hover text."""
    bars = [bar for bar in drawing.bars if bar.kind == kind]
    widest = max(bar.channels for bar in drawing.bars)
    corners = [corner for bar in bars for corner in _outline(bar, widest)]
    figure.add_scatter(
        name=kind,
        x=[x for x, _ in corners],
        y=[y for _, y in corners],
        fill="toself",
        mode="lines",
        line={"width": 0},
        fillcolor=KIND_COLOURS[kind],
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=[0] * len(bars),
        y=[bar.y for bar in bars],
        text=[_told(bar) for bar in bars],
        mode="markers",
        marker={"opacity": 0, "size": 14},
        hovertemplate="%{text}<extra></extra>",
        showlegend=False,
    )


def parts_of(architecture: Architecture) -> list[str]:
    """Returns the names of the parts: stem, stage 1, stage 2, …, classifier."""
    return ["stem", *(f"stage {number}" for number, _ in enumerate(architecture.stages, start=1)), "classifier"]


def _outline(bar: Bar, widest: int) -> Iterator[tuple[float | None, float | None]]:
    """Yields the corners of a bar's groups, with a break in the line after each."""
    half, thick = sqrt(bar.channels / widest), THICKNESS[bar.kind] / 2
    step = 2 * half / bar.groups
    gap = 0.2 * step if bar.groups > 1 else 0.0
    for group in range(bar.groups):
        left = -half + group * step + gap / 2
        right = left + step - gap
        for x, y in ((left, -thick), (right, -thick), (right, thick), (left, thick), (left, -thick)):
            yield x, bar.y + y
        yield None, None


def _told(bar: Bar) -> str:
    per_group = f" in {_counted(bar.groups, 'group')} of {bar.channels // bar.groups}" if bar.kind == GROUPED else ""
    return f"{bar.part}, {bar.kind}: {bar.channels} {'classes' if bar.kind == CLASSIFIER else 'channels'}{per_group}"


def _words(part: str, stage: Stage, sides: Sides) -> tuple[str, str]:
    title = f"{part} · {_counted(stage.depth, 'block')} · {sides_text(sides)}"
    groups = f"{_counted(stage.groups, 'group')} of {stage.mid // stage.groups}"
    return title, f"{stage.mid} wide, {groups} → {stage.out}"


def _widths(architecture: Architecture) -> list[str]:
    return [str(conv.width) for conv in architecture.stem]


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
