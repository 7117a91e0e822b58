"""Files of trials in a store that all machines reach: folders, an S3 server on this machine, and stores that fail."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

import nas
from nas.errors import InvalidValue, NasError, StudyError
from nas.spaces.search_space import SearchSpace
from nas.study.artifacts import predictions_of
from nas.study.storage.artifact_store import PROBE, ArtifactStore, artifact_store
from nas.study.study import Study

moto = pytest.importorskip("moto.moto_server.werkzeug_app")
pytest.importorskip("s3fs")
BUCKET = "s3://bucket/weights"


class Server:
    """An S3 server; `answers` are what the next requests get instead: a status, or seconds to wait first."""

    def __init__(self) -> None:
        from werkzeug.serving import make_server

        self.answers: list[int | float] = []
        self._s3 = moto.DomainDispatcherApplication(moto.create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._application, threaded=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        urlopen(Request(f"{self.url}/moto-api/reset", method="POST")).close()  # of earlier ones in this process

    def _application(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, float):
            time.sleep(answer)
        elif answer is not None:
            code = {403: "AccessDenied", 500: "InternalError"}[answer]
            start_response(f"{answer} {code}", [("Content-Type", "application/xml")])
            return [f"<Error><Code>{code}</Code><Message>said so</Message></Error>".encode()]
        found: Iterable[bytes] = self._s3(environ, start_response)
        return found

    def close(self) -> None:
        self._server.shutdown()


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server with one bucket; nothing of it is left in this process's caches."""
    server = Server()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "anybody",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": server.url,
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(
        fsspec.config.conf, "s3", {"config_kwargs": {"read_timeout": 1, "retries": {"max_attempts": 1}}}
    )
    files = fsspec.filesystem("s3")
    monkeypatch.setattr(type(files), "retries", 1)
    files.mkdir("bucket")
    yield server
    type(files).clear_instance_cache()
    artifact_store.cache_clear()
    server.close()


@pytest.fixture(params=["file", "memory", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder that does not exist yet."""
    if request.param == "s3":
        request.getfixturevalue("s3")
        return BUCKET
    return f"file://{tmp_path}/new folder/weights" if request.param == "file" else f"memory://{tmp_path.name}/weights"


def test_what_is_put_is_there_for_others_until_it_is_deleted(url: str) -> None:
    store, other = ArtifactStore(url), ArtifactStore(url)
    store.check()
    assert (other.names(), other.get("a")) == (set(), None)
    store.put("a", b"first")
    store.put("a", b"second")
    store.put("b", bytes(3_000_000))
    assert other.names() == {"a", "b"}
    assert (other.get("a"), other.get("b")) == (b"second", bytes(3_000_000))
    other.delete(["a", "never there"])
    assert (store.names(), store.get("a")) == ({"b"}, None)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("weights", "artifacts='weights': is no URL; allowed: the URL of a folder, such as s3://BUCKET/FOLDER"),
        ("nowhere://x", "artifacts='nowhere://x': Protocol not known: nowhere; allowed"),
        ("gdrive://x", "artifacts='gdrive://x': "),
    ],
)
def test_what_is_no_store_is_refused_before_anything_is_trained(
    url: str, said: str, tmp_path: Path, tiny: SearchSpace
) -> None:
    with pytest.raises(InvalidValue) as raised:
        nas.search(tiny, "digits", runs=tmp_path, trials=1, artifacts=url)
    assert str(raised.value).startswith(said)
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_a_bucket_that_does_not_exist_is_named_at_once(s3: Server) -> None:
    store = ArtifactStore("s3://elsewhere/x", patience=60)
    start = time.monotonic()
    with pytest.raises(StudyError, match=r"artifacts=s3://elsewhere/x: can-be-written cannot be written: .*bucket"):
        store.check()
    assert time.monotonic() - start < 10


def test_a_missing_right_is_named_at_once(s3: Server) -> None:
    store = ArtifactStore(BUCKET, patience=60)
    start = time.monotonic()
    s3.answers = [403] * 20
    with pytest.raises(StudyError, match=f"artifacts={BUCKET}: a cannot be written: "):
        store.put("a", b"content")
    assert time.monotonic() - start < 10
    s3.answers = []
    assert store.names() == set()


@pytest.mark.parametrize("answers", [[500] * 6, [1.5] * 2, [0.3] * 5])
def test_a_store_that_fails_for_a_while_is_waited_for(answers: list[int | float], s3: Server) -> None:
    store = ArtifactStore(BUCKET, patience=60)
    s3.answers = list(answers)
    store.put("a", b"content")
    assert len(s3.answers) < len(answers)
    s3.answers = list(answers)
    assert store.get("a") == b"content"


def test_a_store_that_does_not_come_back_is_given_up(s3: Server, caplog: pytest.LogCaptureFixture) -> None:
    store = ArtifactStore(BUCKET, patience=6)
    s3.answers = [500] * 1000
    with caplog.at_level("WARNING", "nas"), pytest.raises(StudyError, match="a cannot be read: "):
        store.get("a")
    assert any(f"{BUCKET} cannot be used" in line for line in caplog.messages)


def test_a_trial_is_exported_on_a_machine_that_has_only_the_database_and_the_store(
    tmp_path: Path, tiny: SearchSpace, s3: Server
) -> None:
    database = f"sqlite:///{tmp_path}/study.db"
    options: dict[str, Any] = {"storage": database, "device": "cpu", "epochs": 2, "fidelities": 1, "keep": "all"}
    here = nas.search(tiny, "digits", runs=tmp_path / "here", name="s", trials=2, artifacts=BUCKET, **options)
    there = Study.open("s", tmp_path / "there", storage=database)
    assert not there.weights_file(0).exists()
    assert len(predictions_of(there, there.record(0))) == len(predictions_of(here, here.record(0)))
    exported = nas.export(there, tmp_path / "bundle", formats=("safetensors", "python"), data="digits")
    assert exported.accuracy == pytest.approx(exported.trained.accuracy)
    nas.confirm(there, top=1, seeds=1, data="digits", device="cpu")
    found = nas.confirm(Study.open("s", tmp_path / "third", storage=database), top=1, seeds=1, test=True, device="cpu")
    assert found.members[0].test is not None  # by weights that the second machine trained


def test_a_study_keeps_its_store(tmp_path: Path, tiny: SearchSpace) -> None:
    options: dict[str, Any] = {"runs": tmp_path / "runs", "name": "s", "device": "cpu", "epochs": 1, "fidelities": 1}
    store = f"file://{tmp_path}/store"
    study = nas.search(tiny, "digits", trials=1, artifacts=store, **options)
    nas.search(tiny, "digits", trials=2, keep="all", **options)
    with pytest.raises(InvalidValue, match=f"earlier trials' files are in {store}"):
        nas.search(tiny, "digits", trials=3, artifacts=f"file://{tmp_path}/other", **options)
    stored = {file.name for file in (tmp_path / "store").rglob("*.safetensors")}
    assert stored == {study.weights_file(trial).name for trial in (0, 1)}


def test_weights_of_the_beaten_are_deleted_in_the_store_too(tmp_path: Path, tiny: SearchSpace) -> None:
    study = nas.search(
        tiny, "digits", trials=10, runs=tmp_path / "runs", name="s", device="cpu", artifacts=f"file://{tmp_path}/store"
    )
    here = {file.name for file in study.weights_file(0).parent.glob("trial-*")}
    assert {file.name for file in (tmp_path / "store").rglob("trial-*")} == here
    assert len([name for name in here if name.endswith(".safetensors")]) < len(study.records())


class Failing(MemoryFileSystem):  # type: ignore[misc]
    """A store that breaks off once the search has begun."""

    protocol = "failing"
    broken = False

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: Any) -> None:
        if Failing.broken and not path.endswith(PROBE):
            raise ConnectionError("the cable was cut")
        super().pipe_file(path, value, mode, **options)


def test_a_trial_whose_weights_cannot_be_stored_waits_for_the_next_search(
    tmp_path: Path, tiny: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsspec.register_implementation("failing", Failing, clobber=True)
    options: dict[str, Any] = {"runs": tmp_path, "name": "s", "device": "cpu", "epochs": 1, "fidelities": 1}
    options |= {"artifacts": "failing://store", "patience_storage": 0, "workers": 1}

    monkeypatch.setattr(Failing, "broken", True)
    with pytest.raises(NasError, match=r"artifacts=failing://store/.*cannot be written: the cable was cut"):
        nas.search(tiny, "digits", trials=1, **options)
    monkeypatch.setattr(Failing, "broken", False)
    study = nas.search(tiny, "digits", trials=1, **options)
    assert [record.state for record in study.records() if record.trained] == ["complete"]
