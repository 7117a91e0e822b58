"""Trials as flat rows, for tables and CSV: results and costs, then the choices of the space."""

import csv
import io
from collections.abc import Sequence
from typing import Any

from nas.spaces.references import families
from nas.spaces.search_space import SearchSpace
from nas.study.records import TrialRecord, front_of

__all__ = ["csv_text", "trial_rows"]


def trial_rows(records: Sequence[TrialRecord], space: SearchSpace) -> list[dict[str, Any]]:
    """Returns a row per trial, in order.

    `front` says whether it is on the front of accuracy and the study's cost; `reference` is the family of a network
    drawn by hand (`nas.spaces.references`), or None; `by_person` whether a person queued it; `error` the standard error
    of the `estimate`.
    """
    on_front = {record.trial for record in front_of(records)}
    family_of = families(space)
    names = list(dict.fromkeys(name for record in records for name in record.measures))
    return [
        {
            "trial": record.trial,
            "state": record.state,
            "front": record.trial in on_front,
            "name": record.name,
            "reference": family_of.get(record.architecture.key),
            "accuracy": record.accuracy,
            "estimate": record.estimate.accuracy if record.estimate else None,
            "error": record.estimate.standard_error if record.estimate else None,
            "flops": record.flops,
            "params": record.params,
            "activations": record.cost.activations,
            "seconds": record.seconds,
            "length": record.length,
            "epochs": len(record.curve),
            "reason": record.reason,
            "by_person": record.by_person,
            **{name: record.measures.get(name) for name in names},
            **space.point(record.architecture),
        }
        for record in records
    ]


def csv_text(rows: Sequence[dict[str, Any]]) -> str:
    """Formats the rows as comma-separated values with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
