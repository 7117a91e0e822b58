import pytest

from nas import Architecture, Input, Stage, StemConv, cost
from nas.analysis.figures.architecture import drawing_figure, drawing_numbers, parts_of
from nas.analysis.figures.costs import cost_figure, cost_numbers


@pytest.fixture
def network() -> Architecture:
    stages = (Stage(2, 32, 8, 32, 1), Stage(6, 64, 1, 128, 2))
    return Architecture(Input(3, 32), 10, (StemConv(32), StemConv(32)), stages)


def test_layers_are_drawn_in_order_with_their_groups(network: Architecture) -> None:
    bars = drawing_numbers(network).bars
    assert [(bar.part, bar.kind, bar.channels, bar.groups) for bar in bars[:5]] == [
        ("stem", "stem 3×3", 32, 1),
        ("stem", "stem 3×3", 32, 1),
        ("stage 1", "1×1", 32, 1),
        ("stage 1", "grouped 3×3", 32, 8),
        ("stage 1", "1×1", 32, 1),
    ]
    assert bars[-1][:4] == ("classifier", "classifier", 10, 1)
    heights = [bar.y for bar in bars]
    assert heights == sorted(heights, reverse=True)


def test_of_a_deep_stage_two_blocks_are_drawn_and_the_rest_counted(network: Architecture) -> None:
    drawing = drawing_numbers(network)
    grouped = [bar for bar in drawing.bars if bar.kind == "grouped 3×3"]
    assert [bar.part for bar in grouped] == ["stage 1", "stage 1", "stage 2", "stage 2"]
    assert [label.text for label in drawing.labels if "more blocks" in label.text] == ["⋮ 4 more blocks like the last"]


def test_a_skip_is_a_projection_where_shapes_differ(network: Architecture) -> None:
    assert [skip.projection for skip in drawing_numbers(network).skips] == [False, False, True, False]


def test_labels_say_depth_width_and_groups(network: Architecture) -> None:
    labels = {label.title: label.text for label in drawing_numbers(network).labels}
    assert labels["stage 1 · 2 blocks · 32×32"] == "32 wide, 8 groups of 4 → 32"
    assert labels["stage 2 · 6 blocks · 16×16"] == "64 wide, 1 group of 64 → 128"
    assert labels["stem"] == "32×32, 3 channels → 32 → 32"


def test_the_figure_has_a_box_for_each_group(network: Architecture) -> None:
    traces = {trace.name: trace for trace in drawing_figure(network).data if trace.name}
    assert list(traces["grouped 3×3"].x).count(None) == 8 + 8 + 1 + 1
    assert max(x for x in traces["1×1"].x if x is not None) == 1  # the widest layer fills the width


def test_costs_by_part_and_kind_add_up(network: Architecture) -> None:
    amounts = cost_numbers(network)
    assert list(amounts) == ["stem 3×3", "1×1", "grouped 3×3", "projection 1×1", "classifier"]
    cells = [cell for parts in amounts.values() for cell in parts.values()]
    assert sum(flops for flops, _ in cells) == cost(network).flops
    assert sum(params for _, params in cells) == cost(network).params
    assert amounts["grouped 3×3"]["stage 1"][0] == 2 * 32 * 4 * 9 * 32 * 32
    assert parts_of(network) == ["stem", "stage 1", "stage 2", "classifier"]


def test_the_cost_figure_shows_these_numbers(network: Architecture) -> None:
    bars = [(bar.name, bar.xaxis, dict(zip(bar.y, bar.x, strict=True))) for bar in cost_figure(network).data]
    amounts = cost_numbers(network)
    for name, axis, values in bars:
        for part, value in values.items():
            assert value == amounts[name].get(part, (0, 0))[axis == "x2"]
