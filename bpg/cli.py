"""The command `bpg`. Commands import what they need only when they run: `--help` loads nothing."""

import functools
import os
import signal
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

import typer

from bpg.errors import BPGError

app = typer.Typer(
    name="bpg",
    help="Semantic segmentation from scribbles: use, export and inspect trained networks.",
    epilog="bpg COMMAND --help describes a command.",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain text: loads ten times as fast, and pipes into anything
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def command(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function the command of its name, with whatever goes wrong said in one line.

    The exit status is 1 for bad input and a lack of resources, 2 for a wrong command line and 130
    after Ctrl-C or SIGTERM.

    Args:
        function: Its parameters are the arguments and options, its docstring is the help.
    """
    name = function.__name__.removesuffix("_")

    @functools.wraps(function)
    def reported(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except BPGError as error:
            _fail(name, str(error))
        except BrokenPipeError:
            # Whoever reads has enough, as `head` does; Python would complain when it flushes.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None
        except OSError as error:
            _fail(name, f"{error.filename or 'a file'}: {error.strerror or error}")
        except MemoryError:
            _fail(name, "the memory is full; close other programs, or give smaller images")
        except KeyboardInterrupt:
            typer.echo(f"bpg {name}: interrupted", err=True)
            raise typer.Exit(130) from None

    return app.command(name)(reported)


def _fail(name: str, message: str) -> None:
    typer.echo(f"bpg {name}: error: {message}", err=True)
    raise typer.Exit(1)


def _print_version(wanted: bool) -> None:
    if wanted:
        try:
            typer.echo(f"bpg {version('bpg')}")
        except PackageNotFoundError:
            typer.echo("bpg, not installed")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Say the version."),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line."""
    # Batch systems send SIGTERM before they kill; it acts like Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    app()
