"""Validates the attributes of trials and studies in a storage, which may be written by untrusted parties."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from nas.errors import InvalidValue, visible
from nas.study.records import LATENCY_KEY
from nas.study.search_state import Request, SearchStatus
from nas.validation import boolean, integer, mapping, one_of, real, shown, text

__all__ = ["checked_study", "checked_trial"]

MOST = 1e15
"""Largest absolute value of a time, in seconds or milliseconds, or of any other measure."""
MOST_EPOCHS = 100_000
LONGEST = 10_000
WORKER = re.compile(r"[^\s/\\\0]{1,255}:[0-9]{1,9}(@[\w.]{0,64})?")
"""Format of `nas.system.processes.worker_named`, and its older form; safe as part of a file name."""


def checked_trial(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the validated trial attributes that make up a `TrialRecord`; None and missing ones are left out.

    Raises:
        InvalidValue: an attribute is not one that nas writes.
    """
    return {name: check(attrs[name], name) for name, check in _OF_TRIALS.items() if attrs.get(name) is not None}


def checked_study(name: str, value: Any) -> Any:
    """Returns a validated study attribute; None stays None, and unknown names pass unchecked.

    Raises:
        InvalidValue: the value is not one that nas writes.
    """
    return _OF_STUDIES[name](value, name) if value is not None and name in _OF_STUDIES else value


def _share(value: object, field: str) -> float:
    return real(value, field, minimum=0, maximum=1)


def _amount(value: object, field: str) -> float:
    return real(value, field, minimum=-MOST, maximum=MOST)


def _time(value: object, field: str) -> float:
    return real(value, field, minimum=0, maximum=MOST)


def _latency(value: object, field: str) -> float:
    return real(value, field, minimum=1e-9, maximum=MOST)  # positive, as its logarithm is taken


def _curve(value: object, field: str) -> tuple[float, ...]:
    if not isinstance(value, list) or len(value) > MOST_EPOCHS:
        raise InvalidValue(f"{field}={shown(value)}: must be a list of at most {MOST_EPOCHS} accuracies")
    return tuple(_share(accuracy, field) for accuracy in value)


def _words(value: object, field: str) -> str:
    """Validates a text, possibly from a custom training function, and makes it printable."""
    if not isinstance(value, str):
        raise InvalidValue(f"{field}={shown(value)}: must be a text")
    return "\n".join(visible(line) for line in value[:LONGEST].split("\n"))


def _word(value: object, field: str) -> str:
    return " ".join(_words(value, field).split())


def _worker(value: object, field: str) -> str:
    if not isinstance(value, str) or not WORKER.fullmatch(value):
        raise InvalidValue(f"{field}={shown(value)}: must be HOST:PID")
    return value


def _named(value: object, field: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise InvalidValue(f"{field}={shown(value)}: must be a mapping")
    return value


def _measures(value: object, field: str) -> dict[str, float]:
    measures = {visible(name): measure for name, measure in _named(value, field).items()}
    return {
        name: (_latency if name == LATENCY_KEY else _amount)(measure, f"{field}.{name}")
        for name, measure in measures.items()
    }


def _shares(value: object, field: str) -> dict[str, float]:
    return {visible(name): _share(share, f"{field}.{name}") for name, share in _named(value, field).items()}


def _counts(value: object, field: str) -> dict[str, int]:
    return {name: _count(count, field) for name, count in _named(value, field).items()}


def _count(value: object, field: str) -> int:
    return integer(value, field, minimum=0, maximum=10**12)


def _by_trial(check: Callable[[object, str], float]) -> Callable[[object, str], dict[str, float]]:
    """Returns a validator for a mapping from trial numbers to values that `check` validates."""

    def checked(value: object, field: str) -> dict[str, float]:
        found = _named(value, field)
        if strange := [trial for trial in found if not re.fullmatch("[0-9]{1,9}", trial)]:
            raise InvalidValue(f"{field}: {shown(strange[0])} is not the number of a trial")
        return {trial: check(number, field) for trial, number in found.items()}

    return checked


def _search(value: object, field: str) -> dict[str, Any]:
    found = mapping(value, field, required=("trials", "state", "worker"), optional=("before", "request", "workers"))
    return {
        "trials": _count(found["trials"], f"{field}.trials"),
        "state": SearchStatus(one_of(found["state"], f"{field}.state", [*SearchStatus])),
        "worker": _worker(found["worker"], f"{field}.worker"),
        "before": _count(found.get("before", 0), f"{field}.before"),
        "request": None
        if found.get("request") is None
        else Request(one_of(found["request"], f"{field}.request", [*Request])),
        "workers": None if found.get("workers") is None else _count(found["workers"], f"{field}.workers"),
    }


def _acts(value: object, field: str) -> list[tuple[float, str]]:
    if not isinstance(value, list) or not all(isinstance(act, list) and len(act) == 2 for act in value):
        raise InvalidValue(f"{field}={shown(value)}: must be a list of times and texts")
    return [(_time(time, field), _word(what, field)) for time, what in value]


def _model(value: object, field: str) -> dict[str, Any]:
    found = mapping(value, field, required=("terms", "error", "least", "most"), optional=("device",))
    return {
        "terms": {
            name: _time(term, f"{field}.terms") for name, term in _named(found["terms"], f"{field}.terms").items()
        },
        "error": None if found["error"] is None else _time(found["error"], f"{field}.error"),
        "least": _latency(found["least"], f"{field}.least"),
        "most": _latency(found["most"], f"{field}.most"),
        "device": text(found.get("device", ""), f"{field}.device"),
    }


_OF_TRIALS: dict[str, Callable[[object, str], Any]] = {
    "accuracy": _share,
    "seconds": _time,
    "curve": _curve,
    "reason": _word,
    "detail": _words,
    "started": _time,
    "ended": _time,
    "worker": _worker,
    "measures": _measures,
    "length": lambda value, field: integer(value, field, maximum=MOST_EPOCHS),
    "avoided": _counts,
    "seed": lambda value, field: integer(value, field, minimum=0, maximum=2**32 - 1),
    "by_person": boolean,
}
_OF_STUDIES: dict[str, Callable[[object, str], Any]] = {
    "search": _search,
    "acts": _acts,
    "plan": _named,
    "latencies": _by_trial(_latency),
    "latency_model": _model,
    "latency_device": text,
    "tested": _by_trial(_share),
    "baselines": _shares,
}
