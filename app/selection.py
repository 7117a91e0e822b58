"""What a person has chosen: study, trial, trials to compare, budget, axis. Kept in the session and in the URL."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import NoReturn

import streamlit as st

from nas.analysis.cost_metrics import CostMetric, default_cost_metric
from nas.study.records import TrialRecord

MOST_COMPARED = 5


@dataclass(frozen=True)
class Selection:
    """All of it as one value; it is replaced, not changed. Without an axis: what the study weighs accuracy against."""

    study: str | None = None
    trial: int | None = None
    compared: tuple[int, ...] = ()
    axis: str | None = None
    budget: float | None = None

    def to_query(self) -> dict[str, str]:
        """The parameters of the URL; what is not chosen is left out."""
        values = {**asdict(self), "compared": ",".join(map(str, self.compared))}
        usual = asdict(Selection())
        return {
            name: f"{value:g}" if isinstance(value, float) else str(value)
            for name, value in values.items()
            if value not in (None, "") and value != usual[name]
        }

    @classmethod
    def from_query(cls, query: dict[str, str]) -> "Selection":
        """The inverse of `to_query`; what cannot be read counts as not chosen."""
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
        )


def current() -> Selection:
    """What is chosen now."""
    chosen: Selection = st.session_state.setdefault("selection", Selection())
    return chosen


def axis_for(records: Sequence[TrialRecord], axes: Mapping[str, CostMetric]) -> CostMetric:
    """The axis that is chosen for a study of these trials, one of `axes`."""
    return axes.get(current().axis or "") or default_cost_metric(records)


def choose(**changes: object) -> None:
    """Replaces a part of what is chosen; another study begins without a choice of trials."""
    chosen = current()
    if chosen.study is not None and changes.get("study", chosen.study) != chosen.study:
        chosen = Selection()
    st.session_state["selection"] = replace(chosen, **changes)  # type: ignore[arg-type]


def choose_trials(trials: Sequence[int]) -> None:
    """One trial is opened; of several, as of a lasso, the first is opened and the first five can be compared."""
    choose(trial=trials[0])
    if len(trials) > 1:
        choose(compared=tuple(trials[:MOST_COMPARED]))


def read_url() -> None:
    """Takes over what the URL says where somebody else wrote it: a colleague, or the Back button."""
    query = st.query_params.to_dict()
    if query and query != st.session_state.get("written"):
        st.session_state["selection"] = Selection.from_query(query)


def write_url() -> None:
    """Makes the URL say what is chosen."""
    query = current().to_query()
    if st.query_params.to_dict() != query:
        st.query_params.from_dict(query)
    st.session_state["written"] = query


def show_in(key: str, value: object) -> None:
    """Makes the widget with that key show a choice; one that shows it already is not disturbed while it is moved."""
    if key not in st.session_state or st.session_state[key] != value:
        st.session_state[key] = value


def go_to(page: str) -> NoReturn:
    """Opens another page with what is chosen."""
    st.switch_page(st.session_state["pages"][page], query_params=current().to_query())


def _whole(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) < 10 else None
