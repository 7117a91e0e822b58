"""What to do with a search that has ended: the next commands."""

import shlex
from pathlib import Path

from rich.console import Console

from nas.study.study import Study

__all__ = ["show_next"]


def show_next(console: Console, study: Study) -> None:
    """Prints the commands, and what each is for."""
    where = "" if study.folder.parent == Path("runs") else f" --runs {shlex.quote(str(study.folder.parent))}"
    best = study.front()[-1]
    take_home = {f"nas export {study.name}{where} --out best": "the most accurate, as files that need no nas"}
    if study.config.folds > 1:
        take_home = {f"nas train {study.name}{where} --all-images": "the recommended one on all images, for nas export"}
    hints = {
        f"nas show {best.trial} {study.name}{where}": "one trial, stage by stage",
        f"nas confirm {study.name}{where}": "checks the front on other seeds",
        **take_home,
        f"nas dashboard{where}": "the front in the browser",
    }
    width = max(map(len, hints))
    beside = 5 + width + max(map(len, hints.values())) <= console.width
    console.print("\nNext:")
    for command, purpose in hints.items():  # a command is never broken: it is to be copied
        text = f"  {command:<{width}}   {purpose}" if beside else f"  {command}\n      {purpose}"
        console.print(text, soft_wrap=True)
