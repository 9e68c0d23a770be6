"""The command `lorabench`, and how it ends when something is wrong. Its commands are in files of their own."""

from __future__ import annotations

import importlib.metadata
import logging
import sys
import warnings
from typing import Annotated

import typer

from lorabench.api import early_checks
from lorabench.cli.output import on_screen
from lorabench.errors import DISK_FULL, CutShort, UserError

app = typer.Typer(
    name="lorabench",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
mini_app = typer.Typer(help="The embedded miniature world.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(mini_app, name="mini")


def _say_version(asked: bool) -> None:
    if asked:
        print(f"lorabench {importlib.metadata.version('lorabench')}")
        raise typer.Exit()


@app.callback()
def lorabench(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="say which version this is")
    ] = False,
) -> None:
    """Measure adapters of text-to-image models: train, generate paired images, score, rank, explain, report.

    Begin with `lorabench init FOLDER --data PICTURES`.
    """


def main() -> None:
    """Run the command line: exit code 0 done, 1 finished with failures, 2 refused before any work."""
    _quiet_libraries()
    try:
        early_checks.check_words()
        app()
    except UserError as error:
        _leave(f"Error: {error}", 2)
    except CutShort as error:
        _leave(f"Error: {error}", 1)
    except BrokenPipeError:
        sys.exit(1)  # the reader of stdout went away (`| head`)
    except OSError as error:
        if error.filename is None and error.errno not in DISK_FULL:  # nothing that a user could mend
            raise
        place = f"{error.filename}: " if error.filename else ""
        _leave(f"Error: {place}{error.strerror}.", 1 if error.errno in DISK_FULL else 2)


def _leave(message: str, code: int) -> None:
    print(on_screen(message), file=sys.stderr)
    sys.exit(code)


def _quiet_libraries() -> None:
    """Other people's warnings are not results, and a user cannot mend them."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", module=r"peft\.")
    for name in ("diffusers", "transformers", "timm", "open_clip", "root"):
        logging.getLogger(name).setLevel(logging.ERROR)
