"""`nas`: thin commands over the package. What is heavy is imported inside them, so that `nas --help` is quick."""

import sys
from typing import NoReturn

import click

from nas.cli import networks as cli_models
from nas.cli import results as cli_winners
from nas.cli import search as cli_search
from nas.cli import studies as cli_studies
from nas.cli.console import fail, show_warnings
from nas.errors import NasError
from nas.system.signals import INTERRUPTED_CODE

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="nas", message="nas %(version)s")
def cli() -> None:
    """Finds, for your own images, the grouped-convolution network with the best accuracy for its compute."""


for module in (cli_search, cli_studies, cli_winners, cli_models):
    for name in module.__all__:
        cli.add_command(getattr(module, name))


def main() -> NoReturn:
    """Runs a command; a user's mistake is one line on standard error and exit code 2, Ctrl-C is 130."""
    show_warnings()
    try:
        cli.main(prog_name="nas", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "")
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
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        sys.stderr.close()
    except (OSError, UnicodeError) as error:  # a disk that is full, a path that no system allows
        fail(str(error))
    sys.exit(0)


if __name__ == "__main__":
    main()
