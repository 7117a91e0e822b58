"""The `nas` commands that steer a running search from elsewhere: pause, resume, stop, extend, workers."""

from typing import TYPE_CHECKING

import click

from nas.cli.console import reads_study
from nas.errors import InvalidValue

if TYPE_CHECKING:
    from nas.study.study import Study

__all__ = ["extend", "pause", "resume", "stop", "workers"]


@click.command(short_help="Let a running search start no more trainings for now.")
@reads_study
def pause(study: "Study") -> None:
    """Let the running search of STUDY start no more trainings until `nas resume`; those that run end as usual."""
    from nas.workflows import steering

    steering.pause(study)
    click.echo(f"{study.name} pauses once its running trainings have ended; nas resume {study.name} goes on.")


@click.command(short_help="Let a paused or stopping search go on.")
@reads_study
def resume(study: "Study") -> None:
    """Withdraw a pause of STUDY's search, or a stop while its last trainings are still running."""
    from nas.workflows import steering

    steering.resume(study)
    click.echo(f"{study.name} goes on.")


@click.command(short_help="End a running search, or one of its trainings.")
@reads_study
@click.option("--now", is_flag=True, help="End the running trainings too; a resumed search trains them on.")
@click.option("--trial", type=int, metavar="N", help="End this training alone; the search goes on without it.")
def stop(study: "Study", now: bool, trial: int | None) -> None:
    """End the running search of STUDY once its running trainings have ended. `nas search` resumes it."""
    from nas.workflows import steering

    if trial is not None:
        if now:
            raise InvalidValue("--now and --trial: only one of them; a single training always ends at once")
        steering.end_training(study, trial)
        click.echo(f"Trial {trial} of {study.name} ends after its current epoch.")
        return
    steering.stop(study, now=now)
    when = "after the current epoch of its running trainings" if now else "once its running trainings have ended"
    click.echo(f"{study.name} ends {when}.")


@click.command(short_help="Add to the budget of a running search.")
@click.argument("trials", type=int, metavar="N")
@reads_study
def extend(study: "Study", trials: int) -> None:
    """Add N full-length trainings to the budget of STUDY's running search."""
    from nas.workflows import steering

    click.echo(f"{study.name} now searches for {steering.extend(study, trials)} full-length trainings.")


@click.command(short_help="Give a running search more or fewer workers.")
@click.argument("number", type=int, metavar="N")
@reads_study
def workers(study: "Study", number: int) -> None:
    """Let STUDY's running search have N workers; a training whose worker ends is trained on later by another."""
    from nas.workflows import steering

    steering.set_workers(study, number)
    click.echo(f"{study.name} has {number} workers from now on.")
