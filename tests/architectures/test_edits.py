import pytest

from nas.architectures.architecture import Architecture, Input, Stage, StemConv
from nas.architectures.edits import changes_text, edited, read_edits
from nas.errors import InvalidValue

PLAIN = Architecture(Input(3, 32), 10, (StemConv(16),), (Stage(1, 16, 4, 16), Stage(2, 32, 8, 64)))


def test_fields_change_together() -> None:
    changed = edited(PLAIN, ["stage2.mid=24", "stage2.groups = 3", "stem1.width=8", "stage1.stride=1"])
    assert changed.stages[1] == Stage(2, 24, 3, 64)
    assert changed.stem == (StemConv(8),)
    assert changed.stages[0].stride == 1
    assert edited(PLAIN, []) == PLAIN


def test_stages_are_added_and_removed_at_the_end() -> None:
    longer = edited(PLAIN, ["stages=4", "stage4.mid=64", "stems=2"])
    assert longer.stages == (*PLAIN.stages, Stage(2, 32, 8, 64, 1), Stage(2, 64, 8, 64, 1))
    assert longer.stem == (StemConv(16), StemConv(16, 1))
    assert edited(longer, ["stages=2", "stems=1"]) == PLAIN


@pytest.mark.parametrize(
    "edits",
    [[], ["stages=1"], ["stages=3", "stage3.depth=5", "stage1.mid=8"], ["stems=3", "stem2.width=4"], ["stage2.out=9"]],
)
def test_changes_are_the_edits_that_lead_there(edits: list[str]) -> None:
    after = edited(PLAIN, edits)
    assert edited(PLAIN, read_edits(changes_text(PLAIN, after))) == after
    assert edited(after, read_edits(changes_text(after, PLAIN))) == PLAIN


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ("stage2.groups=5", r"stage2\.groups=5: must divide stage2\.mid=32; nearest valid: 4"),
        ("stage3.groups=4", r"set='stage3\.groups=4': there is no stage3; allowed: 1 to 2"),
        ("stage0.groups=4", r"there is no stage0; allowed: 1 to 2"),
        ("stage1.group=4", r"a stage has depth, mid, groups, out, stride; did you mean 'groups'\?"),
        ("stem1.groups=4", r"a stem has width, stride"),
        ("groups=4", r"set='groups=4': must be such as stage2\.groups=16, stem1\.width=8 or stages=4"),
        ("stage1.groups=-4", r"must be such as"),
        ("stages=0", r"set='stages=0': must be such as"),
    ],
)
def test_what_cannot_be_is_one_line(edit: str, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        edited(PLAIN, [edit])
