from pathlib import Path

from nas import SearchSpace, Study
from nas.strategy.samplers import ValidSampler
from nas.study.config import StudyConfig
from nas.study.records import Outcome
from nas.workers.supervisor import Watcher
from tests.workers.test_process_pool import Diary


def test_what_others_do_is_told_once_and_what_was_there_is_no_news(tmp_path: Path, tiny: SearchSpace) -> None:
    Study.create("s", tmp_path, StudyConfig(tiny, {"source": "evaluate"}, 0))
    writes, reads = Study.open("s", tmp_path), Study.open("s", tmp_path)
    before, _ = writes.ask(ValidSampler(("random", 0), tiny, {}))
    writes.tell(before, Outcome(0.5, 1.0, (0.4, 0.5)))
    diary = Diary()
    watcher = Watcher(reads, diary)
    watcher.look()
    assert diary.lines == []
    trial, _ = writes.ask(ValidSampler(("random", 1), tiny, {}))
    watcher.look()
    watcher.look()
    assert diary.lines == [("start", 1)]
    writes.report(trial, (0.4,))
    watcher.look()
    watcher.look()
    assert diary.lines == [("start", 1), ("epoch", 1)]
    writes.tell(trial, Outcome(0.5, 1.0, (0.4, 0.5)))
    quick, _ = writes.ask(ValidSampler(("random", 2), tiny, {}))  # begun and ended between two looks
    writes.tell(quick, Outcome(None, 1.0, reason="error"))
    interrupted, _ = writes.ask(ValidSampler(("random", 3), tiny, {}))
    writes.tell(interrupted, Outcome(None, 1.0, reason="interrupted"))
    watcher.look()
    watcher.look()
    told = diary.lines[2:]
    assert told == [("end", 1), ("start", 2), ("end", 2), ("start", 3), ("end", 3)]  # and what waits is not begun
