import json
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import optuna
import pytest
import yaml

from nas import NasError, SearchSpace, Study, cost
from nas.strategy.samplers import ValidSampler
from nas.study.catalog import list_studies
from nas.study.config import StudyConfig
from nas.study.records import Outcome, TrialState
from nas.study.search_state import SearchState, SearchStatus
from nas.system.processes import this_worker

DATA = {"source": "digits", "fingerprint": "0123", "classes": ["a", "b"]}


@pytest.fixture
def config(tiny: SearchSpace) -> StudyConfig:
    return StudyConfig(tiny, DATA, 0)


def sampler(study: Study, seed: int = 0) -> ValidSampler:
    begun = {record.architecture.key: study.config.space.recipe.epochs for record in study.records()}
    return ValidSampler(("random", seed), study.config.space, begun)


def complete(study: Study, accuracy: float, seed: int = 0) -> int:
    trial, _ = study.ask(sampler(study, seed))
    return study.tell(trial, Outcome(accuracy, 1.5, (accuracy / 2, accuracy))).trial


def test_what_is_told_is_read_back_in_another_process_s_place(tmp_path: Path, config: StudyConfig) -> None:
    study = Study.create("s", tmp_path, config)
    trial, asked = study.ask(sampler(study))
    told = study.tell(trial, Outcome(0.75, 1.5, (0.5, 0.75)))
    assert asked.architecture == told.architecture
    again = Study.open("s", tmp_path)
    assert again.config == config
    assert again.records() == [told]
    assert (told.accuracy, told.seconds, told.curve, told.state) == (0.75, 1.5, (0.5, 0.75), "complete")


def test_optuna_s_own_view_is_the_truth(tmp_path: Path, config: StudyConfig) -> None:
    study = Study.create("s", tmp_path, config)
    complete(study, 0.75)
    [trial] = study.optuna_study.trials
    [record] = study.records()
    assert study.optuna_study.metric_names == ["accuracy", "flops"]
    assert [direction.name for direction in study.optuna_study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert trial.values == [0.75, cost(record.architecture).flops]
    assert config.space.architecture(trial.params) == record.architecture
    assert trial.user_attrs["name"] == record.name


def test_study_yaml_tells_people_what_was_searched(tmp_path: Path, config: StudyConfig) -> None:
    Study.create("s", tmp_path, config)
    written = yaml.safe_load((tmp_path / "s" / "study.yaml").read_text())
    assert SearchSpace.from_dict(written["space"]) == config.space
    assert written["data"] == DATA
    assert written["seed"] == 0
    assert set(written["versions"]) == {"nas", "torch", "lightning", "optuna"}
    assert not list((tmp_path / "s").glob("*.partial"))


def test_the_same_configuration_resumes_and_another_is_refused_with_what_differs(
    tmp_path: Path, config: StudyConfig
) -> None:
    complete(Study.create("s", tmp_path, config), 0.5)
    assert len(Study.create("s", tmp_path, config).records()) == 1
    space = config.space.with_changes(max_flops=10**6, recipe=replace(config.space.recipe, epochs=9))
    with pytest.raises(NasError) as raised:
        Study.create("s", tmp_path, StudyConfig(space, {**DATA, "fingerprint": "4567"}, 1))
    for part in (
        "space.max_flops is none there and 1000000 now",
        "space.recipe.epochs is 2 there and 9 now",
        "data.fingerprint is 0123 there and 4567 now",
        "seed is 0 there and 1 now",
    ):
        assert part in str(raised.value)
    assert "depth" not in str(raised.value)


def test_a_space_s_description_and_a_moved_folder_of_images_do_not_matter(tmp_path: Path, config: StudyConfig) -> None:
    Study.create("s", tmp_path, config)
    moved = StudyConfig(replace(config.space, purpose="other words"), {**DATA, "source": "elsewhere"}, 0)
    Study.create("s", tmp_path, moved)


def test_a_search_that_died_is_closed_and_its_architecture_is_first_in_line(
    tmp_path: Path, config: StudyConfig
) -> None:
    study = Study.create("s", tmp_path, config)
    _, left = study.ask(sampler(study))
    again = Study.open("s", tmp_path)
    assert [record.state for record in again.records()] == ["running"]
    again.requeue_stale()
    assert [record.state for record in again.records()] == ["running"]  # its worker, this process, is there
    again.requeue_stale(ended=[this_worker()])
    states = [(record.state, record.reason) for record in again.records()]
    assert states == [("failed", "interrupted"), ("waiting", None)]
    assert not any(record.finished for record in again.records())
    _, asked = again.ask(sampler(again, seed=5))
    assert asked.architecture == left.architecture
    again.requeue_stale(ended=[this_worker()])
    assert [record.state for record in again.records()] == ["failed", "failed", "waiting"]


def test_a_result_of_a_trial_that_others_end_meanwhile_is_dropped(
    tmp_path: Path, config: StudyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study.create("s", tmp_path, config)
    trial, record = study.ask(sampler(study))
    other, set_attr = Study.open("s", tmp_path), optuna.trial.Trial.set_user_attr

    def ended_meanwhile(self: optuna.trial.Trial, key: str, value: object) -> None:
        if key == "seconds":  # this worker has just found the trial running
            monkeypatch.undo()
            other.requeue_stale(ended=[this_worker()])
        set_attr(self, key, value)

    monkeypatch.setattr(optuna.trial.Trial, "set_user_attr", ended_meanwhile)
    told = study.tell(trial, Outcome(0.5, 1.0, curve=(0.25, 0.5)))
    assert (told.trial, told.state, told.reason) == (record.trial, "failed", "interrupted")
    assert [each.state for each in study.records()] == ["failed", "waiting"]


def test_one_search_at_a_time(tmp_path: Path, config: StudyConfig) -> None:
    study = Study.create("s", tmp_path, config)
    with study.locked(), pytest.raises(NasError, match="another search is running"), Study.open("s", tmp_path).locked():
        pass
    with study.locked():
        pass


def test_a_sampler_that_fails_leaves_no_trial_running(tmp_path: Path, config: StudyConfig) -> None:
    study = Study.create("s", tmp_path, config)

    class Broken(optuna.samplers.RandomSampler):
        def sample_relative(self, *args: object) -> dict[str, int]:
            raise RuntimeError("no idea")

        def infer_relative_search_space(self, *args: object) -> dict[str, optuna.distributions.BaseDistribution]:
            return {}

    with pytest.raises(RuntimeError):
        study.ask(Broken())
    assert study.records() == []
    assert [trial.state.name for trial in study.optuna_study.trials] == ["FAIL"]


def test_front_is_sorted_by_flops_and_no_member_beats_another(tmp_path: Path, config: StudyConfig) -> None:
    study = Study.create("s", tmp_path, config)
    for number in range(12):
        complete(study, 0.5 + (number * 7 % 12) / 30, seed=number)
    front = study.front()
    assert len(front) > 1
    assert [record.flops for record in front] == sorted(record.flops for record in front)
    assert [record.quality for record in front] == sorted(record.quality for record in front)
    assert front[-1].quality == max(record.quality for record in study.estimated_records())
    assert not any(record.estimate for record in study.records())


def test_a_copied_folder_is_a_study_of_its_own(tmp_path: Path, config: StudyConfig) -> None:
    complete(Study.create("s", tmp_path, config), 0.5)
    shutil.copytree(tmp_path / "s", tmp_path / "copy")
    copy = Study.create("copy", tmp_path, config)
    complete(copy, 0.6, seed=1)
    assert [len(Study.open(name, tmp_path).records()) for name in ("s", "copy")] == [1, 2]


def test_a_torn_last_line_is_dropped_before_anything_is_appended(tmp_path: Path, config: StudyConfig) -> None:
    study = Study.create("s", tmp_path, config)
    complete(study, 0.5)
    journal = tmp_path / "s" / "journal.log"
    whole = journal.read_bytes()
    for cut in range(1, len(whole.splitlines()[-1]) + 1, 7):
        journal.write_bytes(whole[:-cut])
        again = Study.open("s", tmp_path)
        with again.locked():
            again.requeue_stale(ended=[this_worker()])
            complete(again, 0.6, seed=1)
        states = [record.state for record in Study.open("s", tmp_path).records()]
        assert states.count(TrialState.COMPLETE) >= 1
        assert "running" not in states


def test_studies_are_listed_latest_first(tmp_path: Path, config: StudyConfig) -> None:
    for name in ("a", "b", "c"):
        Study.create(name, tmp_path, config)
    complete(Study.open("a", tmp_path), 0.5)
    assert list_studies(tmp_path)[0] == "a"
    assert set(list_studies(tmp_path)) == {"a", "b", "c"}
    assert list_studies(tmp_path / "nowhere") == []


def test_another_storage_holds_the_trials_and_the_folder_says_where(tmp_path: Path, config: StudyConfig) -> None:
    url = f"sqlite:///{tmp_path / 'trials.db'}"
    complete(Study.create("s", tmp_path / "runs", config, storage=url), 0.5)
    assert not (tmp_path / "runs" / "s" / "journal.log").exists()
    assert len(Study.open("s", tmp_path / "runs").records()) == 1
    assert len(Study.open("s", tmp_path / "elsewhere", storage=url).records()) == 1


@pytest.mark.parametrize("name", ["../up", "", "a/b", ".hidden", "a b", "-x"])
def test_names_that_are_no_folder_are_refused(tmp_path: Path, config: StudyConfig, name: str) -> None:
    with pytest.raises(NasError, match="study="):
        Study.create(name, tmp_path / "runs", config)
    assert not (tmp_path / "up").exists()


def test_studies_that_are_not_there_or_not_whole_are_one_line(tmp_path: Path, config: StudyConfig) -> None:
    with pytest.raises(NasError, match="there are none yet"):
        Study.open("demo", tmp_path)
    study = Study.create("demo", tmp_path, config)
    complete(study, 0.5)
    with pytest.raises(NasError, match="did you mean 'demo'"):
        Study.open("dmeo", tmp_path)
    with pytest.raises(NasError, match="has no trial 7; they go from 0 to 0"):
        study.record(7)
    journal = tmp_path / "demo" / "journal.log"
    lines = journal.read_text().splitlines()
    journal.write_text("\n".join(["{broken", *lines]) + "\n")
    with pytest.raises(NasError, match=r"journal\.log, line 1: is damaged") as raised:
        Study.open("demo", tmp_path)
    assert "\n" not in str(raised.value)
    journal.unlink()
    with pytest.raises(NasError, match=r"journal .* is missing"):
        Study.open("demo", tmp_path)


def test_a_storage_with_a_study_of_another_program_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'trials.db'}"
    optuna.create_study(storage=url, study_name="other")
    with pytest.raises(NasError, match="nas did not write"):
        Study.open("other", tmp_path, storage=url)


def test_records_are_json(tmp_path: Path, config: StudyConfig) -> None:
    study = Study.create("s", tmp_path, config)
    complete(study, 0.5)
    [record] = json.loads(json.dumps([record.to_dict() for record in study.records()]))
    assert record["epochs"] == 2
    assert {"trial", "state", "architecture", "name", "accuracy", "flops", "params", "seconds"} <= set(record)


def test_optuna_dashboard_opens_the_storage(tmp_path: Path, config: StudyConfig) -> None:
    optuna_dashboard = pytest.importorskip("optuna_dashboard")
    study = Study.create("s", tmp_path, config)
    complete(study, 0.75)
    app = optuna_dashboard.wsgi(study.optuna_study._storage)

    def get(path: str, query: str = "") -> Any:
        environment: dict[str, object] = {}
        setup_testing_defaults(environment)
        statuses: list[str] = []
        body = app(
            {**environment, "PATH_INFO": path, "QUERY_STRING": query},
            lambda status, _headers, *_: statuses.append(status),
        )
        assert statuses == ["200 OK"]
        return json.loads(b"".join(body))

    [summary] = get("/api/studies")["study_summaries"]
    assert summary["study_name"] == "s"
    [trial] = get(f"/api/studies/{summary['study_id']}", "after=0")["trials"]
    [record] = study.records()
    assert trial["values"] == [0.75, record.flops]
    params = {param["name"]: int(param["param_external_value"]) for param in trial["params"]}
    assert config.space.architecture(params) == record.architecture


def test_records_know_when_and_where_they_were_trained(tmp_path: Path, config: StudyConfig) -> None:
    study = Study.create("s", tmp_path, config)
    before = time.time()
    complete(study, 0.75)
    [record] = Study.open("s", tmp_path).records()
    assert record.started is not None
    assert record.ended is not None
    assert before - 1 <= record.started <= record.ended <= time.time() + 1
    assert record.worker == this_worker()


def test_another_process_sees_how_far_a_trial_has_come(tmp_path: Path, config: StudyConfig) -> None:
    study = Study.create("s", tmp_path, config)
    watcher = Study.open("s", tmp_path)
    trial, _ = study.ask(sampler(study))
    study.report(trial, [0.5, 0.625])
    [record] = watcher.records()
    assert (record.state, record.curve) == ("running", (0.5, 0.625))
    study.tell(trial, Outcome(0.75, 1.5, (0.5, 0.625, 0.75), measures={"latency (ms)": 3.25}))
    [record] = watcher.records()
    assert (record.state, record.curve, record.measures) == ("complete", (0.5, 0.625, 0.75), {"latency (ms)": 3.25})
    assert watcher.records()[0] is record  # what has ended is not read again


def test_the_search_says_how_it_stands(tmp_path: Path, config: StudyConfig) -> None:
    study = Study.create("s", tmp_path, config)
    assert study.attributes.search is None
    study.attributes.search = SearchState(50, SearchStatus.RUNNING, this_worker())
    state = Study.open("s", tmp_path).attributes.search
    assert state == SearchState(50, SearchStatus.RUNNING, this_worker())
    assert state.live
    assert not state._replace(state=SearchStatus.COMPLETE).live
    host = this_worker().rpartition(":")[0]
    assert not state._replace(worker=f"{host}:999999999").live  # killed, and could not say so


@pytest.mark.parametrize("database", [False, True])
def test_the_version_changes_with_whatever_is_written(tmp_path: Path, config: StudyConfig, database: bool) -> None:
    study = Study.create("s", tmp_path, config, storage=f"sqlite:///{tmp_path}/trials.db" if database else None)
    watcher = Study.open("s", tmp_path)
    seen = [watcher.version()]
    assert watcher.version() == seen[0]
    trial, _ = study.ask(sampler(study))
    seen.append(watcher.version())
    study.report(trial, [0.5])
    seen.append(watcher.version())
    study.tell(trial, Outcome(0.75, 1.5))
    seen.append(watcher.version())
    study.attributes.search = SearchState(9, SearchStatus.COMPLETE, this_worker())
    seen.append(watcher.version())
    assert len(set(seen)) == len(seen)


def test_a_journal_that_was_replaced_or_removed_is_noticed(tmp_path: Path, config: StudyConfig) -> None:
    study = Study.create("s", tmp_path, config)
    complete(study, 0.75)
    journal = study.folder / "journal.log"
    study.version()
    journal.write_bytes(journal.read_bytes()[:100])
    with pytest.raises(NasError, match="was replaced"):
        study.version()
    journal.unlink()
    with pytest.raises(NasError, match="is missing"):
        study.version()


def test_a_study_that_was_replaced_in_a_database_is_noticed(tmp_path: Path, config: StudyConfig) -> None:
    url = f"sqlite:///{tmp_path}/trials.db"
    study = Study.create("s", tmp_path, config, storage=url)
    study.version()
    optuna.delete_study(study_name="s", storage=url)
    with pytest.raises(NasError, match="storage cannot be used"):
        study.version()
    shutil.rmtree(tmp_path / "s")
    Study.create("s", tmp_path, config, storage=url)
    with pytest.raises(NasError, match="was replaced"):
        study.version()


def test_a_trial_that_a_killed_search_left_running_counts_as_interrupted(tmp_path: Path, config: StudyConfig) -> None:
    study = Study.create("s", tmp_path, config)
    study.attributes.search = SearchState(9, SearchStatus.RUNNING, this_worker())
    study.ask(sampler(study))
    assert [record.state for record in study.records()] == ["running"]
    host = this_worker().rpartition(":")[0]
    study.optuna_study.set_user_attr("search", SearchState(9, SearchStatus.RUNNING, f"{host}:999999999")._asdict())
    [record] = study.records()
    assert (record.state, record.reason, record.finished) == ("failed", "interrupted", False)


def test_a_database_s_studies_are_listed(tmp_path: Path, config: StudyConfig) -> None:
    url = f"sqlite:///{tmp_path}/trials.db"
    for name in ("b", "a"):
        Study.create(name, tmp_path, config, storage=url)
    assert list_studies(tmp_path / "nowhere", storage=url) == ["a", "b"]
    with pytest.raises(NasError, match="storage cannot be used"):
        list_studies(tmp_path, storage="nonsense://")
