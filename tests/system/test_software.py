import warnings

import pytest

from nas.errors import NasWarning, StudyError
from nas.system import software as module
from nas.system.software import check_software, software, version_of


def test_the_same_software_is_no_news() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_software(software())
        check_software({})  # of a search that did not note it
    assert version_of("no such package") is None


def test_another_torch_or_processor_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"nas": "1.2.3", "torch": "2.13.0", "processor": "x86_64"}
    monkeypatch.setattr(module, "software", lambda: {"nas": "1.2.9", "torch": "2.11.0", "processor": "x86_64"})
    with pytest.warns(NasWarning, match=r"has nas 1\.2\.9 instead of 1\.2\.3, torch 2\.11\.0 instead of 2\.13\.0: its"):
        check_software(there)


def test_another_release_of_nas_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"nas": "1.2.3", "torch": "2.13.0", "processor": "x86_64"}
    monkeypatch.setattr(module, "software", lambda: {**there, "nas": "1.3.0"})
    with pytest.raises(StudyError, match=r"has nas 1\.3\.0, and the search was begun with 1\.2\.3; install"):
        check_software(there)
