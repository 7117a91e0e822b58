"""StudyAttributes: what a study stores besides its trials, such as the plan of its search, as typed values."""

import time
from collections.abc import Mapping
from typing import Any

import optuna

from nas.architectures.latency_model import LatencyModel
from nas.study.plan import SearchPlan
from nas.study.search_state import Act, SearchState
from nas.study.storage.backend import storage_errors
from nas.study.storage.schema import checked_study

__all__ = ["StudyAttributes"]

SEARCH, PLAN, TESTED, BASELINES, ACTS = "search", "plan", "tested", "baselines", "acts"
MOST_ACTS = 100
LATENCIES, LATENCY_DEVICE, LATENCY_MODEL = "latencies", "latency_device", "latency_model"


class StudyAttributes:
    """The typed attributes of a study. Reading one validates it; assigning one stores it.

    Every access raises `StudyError` where the storage cannot be used, or holds what nas does not write.

    Args:
        optuna_study: the Optuna study that holds them.
        name: the study's name, for error messages.
    """

    def __init__(self, optuna_study: optuna.Study, name: str) -> None:
        self._study, self._name = optuna_study, name

    @property
    def search(self) -> SearchState | None:
        """The status of the last search; None before the first one."""
        return SearchState(**written) if (written := self._read(SEARCH)) else None

    @search.setter
    def search(self, state: SearchState) -> None:
        self._write(SEARCH, state._asdict())

    @property
    def plan(self) -> SearchPlan | None:
        """The settings of the last search; None before the first one."""
        with storage_errors(self._name):
            return SearchPlan.from_dict(written) if (written := self._read(PLAN)) is not None else None

    @plan.setter
    def plan(self, plan: SearchPlan) -> None:
        self._write(PLAN, plan.to_dict())

    @property
    def latency_model(self) -> LatencyModel | None:
        """The latency model that guides the search; None if accuracy is traded off against FLOPs."""
        return LatencyModel.from_dict(written) if (written := self._read(LATENCY_MODEL)) else None

    @latency_model.setter
    def latency_model(self, model: LatencyModel) -> None:
        self._write(LATENCY_MODEL, model.to_dict())

    @property
    def latencies(self) -> dict[int, float]:
        """Milliseconds for one image, by trial, measured after the trials had ended on `latency_device`."""
        return self._by_trial(LATENCIES)

    @latencies.setter
    def latencies(self, latencies: Mapping[int, float]) -> None:
        self._write(LATENCIES, _plain(latencies))

    @property
    def latency_device(self) -> str | None:
        """The readable name of the device that `latencies` were measured on."""
        device: str | None = self._read(LATENCY_DEVICE)
        return device

    @latency_device.setter
    def latency_device(self, device: str) -> None:
        self._write(LATENCY_DEVICE, device)

    @property
    def tested(self) -> dict[int, float]:
        """Accuracy on the test images, by trial, of a study that holds repeated trainings."""
        return self._by_trial(TESTED)

    @tested.setter
    def tested(self, tested: Mapping[int, float]) -> None:
        self._write(TESTED, _plain(tested))

    @property
    def baselines(self) -> dict[str, float]:
        """Accuracy on the validation images of classifiers on the pixels, by name; empty if they were not trained."""
        return dict(self._read(BASELINES) or {})

    @baselines.setter
    def baselines(self, accuracies: Mapping[str, float]) -> None:
        self._write(BASELINES, dict(accuracies))

    @property
    def acts(self) -> list[Act]:
        """What people did to the study while it was searched, the last `MOST_ACTS` of it, oldest first."""
        return [Act(*act) for act in self._read(ACTS) or ()]

    def add_act(self, what: str) -> None:
        """Records that a person did something, in words, just now; call it under the study's `ask_lock`."""
        self._write(ACTS, [*map(list, self.acts[1 - MOST_ACTS :]), [time.time(), what]])

    def _by_trial(self, key: str) -> dict[int, float]:
        return {int(trial): value for trial, value in (self._read(key) or {}).items()}

    def _read(self, key: str) -> Any:
        with storage_errors(self._name):
            return checked_study(key, self._study.user_attrs.get(key))

    def _write(self, key: str, value: Any) -> None:
        with storage_errors(self._name):
            self._study.set_user_attr(key, value)


def _plain(by_trial: Mapping[int, float]) -> dict[str, float]:
    return {str(trial): value for trial, value in by_trial.items()}
