"""Entry point of `nas`: thin commands over the package, with heavy imports deferred so that `nas --help` is fast."""

import errno
import io
import os
import sys
from typing import NoReturn

import click

from nas.cli import catalog as cli_catalog
from nas.cli import data as cli_data
from nas.cli import design as cli_design
from nas.cli import networks as cli_models
from nas.cli import results as cli_winners
from nas.cli import search as cli_search
from nas.cli import steering as cli_steering
from nas.cli import studies as cli_studies
from nas.cli.console import fail, show_warnings
from nas.errors import NasError
from nas.system.logs import LEVEL, show_log
from nas.system.signals import INTERRUPTED_CODE

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="nas", message="nas %(version)s")
@click.option("--verbose", is_flag=True, help="Log what happens behind a search, as NAS_LOG=info does.")
def cli(verbose: bool) -> None:
    """Finds, for your own images, the grouped-convolution network with the best accuracy for its compute."""
    if verbose:
        os.environ[LEVEL] = "info"  # for the worker processes, too
    show_log()


for module in (cli_search, cli_steering, cli_studies, cli_winners, cli_models, cli_design, cli_catalog, cli_data):
    for name in module.__all__:
        cli.add_command(getattr(module, name))


def main() -> NoReturn:
    """Runs a command; user errors print one line to standard error and exit with code 2, Ctrl-C exits with 130."""
    show_warnings()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # where × cannot be encoded, ? has to do
            stream.reconfigure(errors="replace")
    try:
        cli.main(prog_name="nas", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "")
    except click.exceptions.NoSuchCommand as error:
        listed = "" if error.possibilities or error.ctx is None else f" '{error.ctx.command_path} --help' lists them."
        fail(error.format_message() + listed)
    except click.ClickException as error:
        fail(error.format_message())
    except NasError as error:
        fail(str(error))
    except (KeyboardInterrupt, click.Abort):
        sys.exit(INTERRUPTED_CODE)
    except (MemoryError, RuntimeError) as error:
        from nas.system.memory import is_out_of_memory

        if not is_out_of_memory(error):
            raise
        fail("there is not enough memory for a network or images of that size")
    except BrokenPipeError:  # the reader, such as `head`, has closed the pipe
        sys.stderr.close()
    except OSError as error:
        of_output = error.errno == errno.ENOSPC and error.filename is None
        fail(f"standard output cannot be written: {error.strerror}" if of_output else str(error))
    except UnicodeError as error:  # an invalid path
        fail(str(error))
    sys.exit(0)


if __name__ == "__main__":
    main()
