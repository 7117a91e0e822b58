import csv
import io
from pathlib import Path

import nas
from nas import SearchSpace
from nas.analysis.trial_table import csv_text, trial_rows
from nas.spaces.references import FAMILIES
from nas.study.records import RESERVED_NAMES
from tests.helpers import formula


def test_a_row_has_what_a_trial_gave_and_its_choices(tmp_path: Path, tiny: SearchSpace) -> None:
    study = nas.search(tiny, trials=12, runs=tmp_path, name="s", evaluate=formula)
    rows = trial_rows(study.estimated_records(), tiny)
    assert [row["trial"] for row in rows] == list(range(12))
    assert {row["trial"] for row in rows if row["front"]} == {record.trial for record in study.front()}
    for row, record in zip(rows, study.records(), strict=True):
        assert tiny.architecture({name: row[name] for name in tiny.parameters}) == record.architecture
        assert (row["accuracy"], row["flops"], row["epochs"]) == (record.accuracy, record.flops, 2)
    drawn_by_hand = {row["trial"]: row["reference"] for row in rows if row["reference"]}
    assert set(drawn_by_hand.values()) <= set(FAMILIES)
    assert 10 in drawn_by_hand  # the first one is due after ten trainings
    assert set(rows[0]) - set(tiny.parameters) <= RESERVED_NAMES  # which no measure may have
    read = list(csv.DictReader(io.StringIO(csv_text(rows))))
    assert [float(line["accuracy"]) for line in read] == [row["accuracy"] for row in rows]
    assert csv_text([]).strip() == ""
