"""The user's selection: study, trial, trials to compare, budget, axis. Stored in the session and in the URL."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import NoReturn

import streamlit as st

from nas.analysis.cost_metrics import CostMetric, default_cost_metric
from nas.study.records import TrialRecord

MOST_COMPARED = 5


@dataclass(frozen=True)
class Selection:
    """The selection as one immutable value; `axis` None stands for the study's own cost metric.

    `design` has the changes to the selected trial's network on the page Design, as `nas predict --set` takes them.
    """

    study: str | None = None
    trial: int | None = None
    compared: tuple[int, ...] = ()
    axis: str | None = None
    budget: float | None = None
    design: str | None = None

    def to_query(self) -> dict[str, str]:
        """Returns the URL's query parameters, without those that have no value."""
        values = {**asdict(self), "compared": ",".join(map(str, self.compared))}
        usual = asdict(Selection())
        return {
            name: f"{value:g}" if isinstance(value, float) else str(value)
            for name, value in values.items()
            if value not in (None, "") and value != usual[name]
        }

    @classmethod
    def from_query(cls, query: dict[str, str]) -> "Selection":
        """Returns the selection of a query, the inverse of `to_query`; invalid values count as not selected."""
        compared = [_whole(part) for part in query.get("compared", "").split(",")]
        try:
            budget = float(query["budget"])
        except (KeyError, ValueError):
            budget = 0.0
        return cls(
            query.get("study"),
            _whole(query.get("trial", "")),
            tuple(dict.fromkeys(number for number in compared if number is not None))[:MOST_COMPARED],
            query.get("axis"),
            budget if 0 < budget < float("inf") else None,
            query.get("design"),
        )


def current() -> Selection:
    """Returns the session's current selection."""
    chosen: Selection = st.session_state.setdefault("selection", Selection())
    return chosen


def axis_for(records: Sequence[TrialRecord], axes: Mapping[str, CostMetric]) -> CostMetric:
    """Returns the selected axis if it is one of `axes`, else the default cost metric of these trials."""
    return axes.get(current().axis or "") or default_cost_metric(records)


def choose(**changes: object) -> None:
    """Updates fields of the selection; switching to another study resets all other fields."""
    chosen = current()
    if chosen.study is not None and changes.get("study", chosen.study) != chosen.study:
        chosen = Selection()
    st.session_state["selection"] = replace(chosen, **changes)  # type: ignore[arg-type]


def choose_trials(trials: Sequence[int]) -> None:
    """Opens the first of the given trials, and selects the first five for comparison if there are several."""
    choose(trial=trials[0])
    if len(trials) > 1:
        choose(compared=tuple(trials[:MOST_COMPARED]))


def read_url() -> None:
    """Adopts the URL's selection if this session did not write it, as after opening a link or the Back button."""
    query = st.query_params.to_dict()
    if query and query != st.session_state.get("written"):
        st.session_state["selection"] = Selection.from_query(query)


def write_url() -> None:
    """Updates the URL to the current selection."""
    query = current().to_query()
    if st.query_params.to_dict() != query:
        st.query_params.from_dict(query)
    st.session_state["written"] = query


def show_in(key: str, value: object, label: object = None) -> None:
    """Sets a widget's value unless it already has it, so that a widget in use is not disturbed.

    `label` is the text that stands for the value, if it may change; the browser would go on with the old one.
    """
    known = st.session_state.get(f"label of {key}")
    if key not in st.session_state or st.session_state[key] != value or known != label:
        st.session_state[key], st.session_state[f"label of {key}"] = value, label


def go_to(page: str) -> NoReturn:
    """Opens another page with the current selection."""
    st.switch_page(st.session_state["pages"][page], query_params=current().to_query())


def _whole(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) < 10 else None
