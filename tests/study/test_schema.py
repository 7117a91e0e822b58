import pytest

from nas.errors import InvalidValue
from nas.study.records import LATENCY_KEY
from nas.study.search_state import SearchState, SearchStatus
from nas.study.storage.schema import checked_study, checked_trial


def test_what_nas_writes_passes() -> None:
    trial = {
        "accuracy": 0.5,
        "seconds": 1,
        "curve": [0, 0.5],
        "reason": "error",
        "detail": "two\nlines",
        "worker": "host:12@c6d1b1a9.5",
        "measures": {LATENCY_KEY: 0.1, "loss": -3.5},
        "length": 3,
        "avoided": {"duplicates": 2},
        "seed": 0,
    }
    assert checked_trial({**trial, "name": "1-1", "deaths": 1, "started": None}) == {**trial, "curve": (0, 0.5)}
    state = SearchState(9, SearchStatus.RUNNING, "host:12", 4)
    assert checked_study("search", state._asdict()) == state._asdict()
    assert checked_study("search", {"trials": 9, "state": "running", "worker": "host:12"})["before"] == 0
    assert checked_study("latencies", {"12": 0.5}) == {"12": 0.5}
    assert checked_study("tested", None) is None
    assert checked_study("worker-host-12", 3.5) == 3.5


@pytest.mark.parametrize(
    ("attribute", "line"),
    [
        ({"curve": [0.5, 1.5]}, r"curve=1.5: must be from 0 to 1"),
        ({"accuracy": float("nan")}, "accuracy=nan: must be a number"),
        ({"measures": {LATENCY_KEY: 0}}, r"measures.latency \(ms\)=0: must be from 1e-09"),
        ({"worker": "../x:1"}, "worker='../x:1': must be HOST:PID"),
        ({"reason": ["x"]}, "reason="),
    ],
)
def test_what_it_does_not_is_named(attribute: dict[str, object], line: str) -> None:
    with pytest.raises(InvalidValue, match=line):
        checked_trial(attribute)
