"""Tables in the docs are what the code says; links lead somewhere, commands exist."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
import typer.main
from command_line import ROOT

from lorabench.cli import app

PAGES = pytest.mark.parametrize(
    "page", sorted([*ROOT.glob("*.md"), *ROOT.glob("[!.]*/*.md")]), ids=lambda page: page.name
)


def test_generated_sections_are_fresh():
    """In a process of its own, where no other test has registered a plug-in."""
    command = [sys.executable, "docs/generate.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@PAGES
def test_links_to_files_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    broken = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not broken


@PAGES
def test_commands_in_code_are_commands_with_those_options(page):
    code = [part for pair in re.findall(r"```\w*\n(.*?)```|`([^`\n]+)`", page.read_text(), re.DOTALL) for part in pair]
    lines = [line.split("#")[0].strip() for part in code for line in part.splitlines()]
    called = [line for line in lines if re.match(r"(\.venv/bin/)?lorabench [a-z]+\b(?!:)", line)]
    assert not [line for line in called if _unknown_words(line.split()[1:])]
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {line.split()[1] for line in lines if re.match(r"make [a-z]+\b", line)} <= targets


def _unknown_words(words: list[str]) -> list[str]:
    """The command, or the options of it, that the command line does not have."""
    command = typer.main.get_command(app)
    while (below := getattr(command, "commands", None)) is not None:
        if not words or words[0] not in below:
            return words[:1]
        command = below[words.pop(0)]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    given = {word.split("=")[0] for word in words if word.startswith("--")}
    return sorted(given - known - {"--help"})
