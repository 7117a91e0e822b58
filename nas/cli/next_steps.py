"""The next commands: after a search, and with a trial."""

import shlex

from rich.console import Console

from nas.study.study import Study

__all__ = ["export_command", "show_next", "train_command"]


def show_next(console: Console, study: Study) -> None:
    """Prints the commands, and what each is for."""
    where = "".join(f" {shlex.quote(word)}" for word in _where(study))
    best = study.front()[-1]
    hints = {
        f"nas show {best.trial} {study.name}{where}": "one trial, stage by stage",
        f"nas confirm {study.name}{where}": "checks the front on other seeds",
        f"nas train {study.name}{where} --all-images": "the recommended one, longer and on all images",
        f"nas export {study.name}{where} --out best": "then it, as files that need no nas",
        f"nas dashboard{where}": "the front in the browser",
    }
    width = max(map(len, hints))
    beside = 5 + width + max(map(len, hints.values())) <= console.width
    console.print("\nNext:")
    for command, purpose in hints.items():  # a command is never broken: it is to be copied
        text = f"  {command:<{width}}   {purpose}" if beside else f"  {command}\n      {purpose}"
        console.print(text, soft_wrap=True)


def export_command(study: Study, trial: int) -> str:
    """Returns the shell command that exports a trial."""
    return shlex.join(["nas", "export", study.name, "--trial", str(trial), *_where(study), "--out", "best"])


def train_command(study: Study, trial: int) -> str:
    """Returns the shell command that trains a trial on the validation images too."""
    return shlex.join(["nas", "train", f"{study.name}:{trial}", "--all-images", *_where(study)])


def _where(study: Study) -> list[str]:
    where = [] if str(study.folder.parent) == "runs" else ["--runs", str(study.folder.parent)]
    return [*where, *(["--storage", study.storage] if study.storage else [])]
