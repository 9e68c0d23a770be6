"""Words on the command line -> pipeline calls. stdout holds results only; progress and errors go to stderr."""

from lorabench.cli import adapter_commands as adapter_commands  # registers its commands
from lorabench.cli.app import app, main

__all__ = ["app", "main"]
