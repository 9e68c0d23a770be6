"""Words on the command line -> what the program can do. stdout holds results; progress and errors go to stderr."""

# They register their commands, in the order in which --help lists them.
from lorabench.cli import study_commands as study_commands  # isort: split

from lorabench.cli import plan_commands as plan_commands  # isort: split

from lorabench.cli import evaluate_command as evaluate_command  # isort: split

from lorabench.cli import world_commands as world_commands  # isort: split

from lorabench.cli import adapter_commands as adapter_commands
from lorabench.cli import data_commands as data_commands
from lorabench.cli import mini_commands as mini_commands
from lorabench.cli import run_commands as run_commands
from lorabench.cli import trust_commands as trust_commands
from lorabench.cli.app import app, main

__all__ = ["app", "main"]
