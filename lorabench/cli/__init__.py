"""Words on the command line -> pipeline calls. stdout holds results only; progress and errors go to stderr."""

# They register their commands.
from lorabench.cli import adapter_commands as adapter_commands
from lorabench.cli import data_commands as data_commands
from lorabench.cli import mini_commands as mini_commands
from lorabench.cli import run_commands as run_commands
from lorabench.cli import trust_commands as trust_commands
from lorabench.cli.app import app, main

__all__ = ["app", "main"]
