"""How a command that worked ends: what failed, who leads, where the results are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from lorabench.cli.output import print_json
from lorabench.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


def finish(result: object, root: Path, as_json: bool, leads: bool = False, means: pd.DataFrame | None = None) -> None:
    """Say what failed, who leads, where the results are, and leave with the code that goes with it."""
    from lorabench.api import studies

    summary = studies.summary(result, root)
    leaders, words = _leaders(root) if leads else (None, [])
    if as_json:
        beside = {"leaderboard": leaders, "choices": _choices(root)} if leads else {}
        print_json(summary | beside | ({} if means is None else {"checkpoints": means}))
    else:
        if leads:
            for line in answers(root):
                print(line)
        if means is not None:
            from lorabench.cli import file_words

            print("\n".join(file_words.raw_means(means)))
        print(studies.closing_words(summary, words))
    raise typer.Exit(int(summary["exit_code"]))


def answers(root: Path) -> list[str]:
    """Which epoch and merge ratio of each config to take, where there is a choice."""
    from lorabench.api import moments
    from lorabench.cli import answer_words

    found = moments.answers_of(root)
    return list(answer_words.answers(found)) if found else []


def _choices(root: Path) -> object:
    from lorabench.api import moments

    try:
        return moments.choices_of(root)
    except UserError:  # nothing is ranked
        return []


def _leaders(root: Path) -> tuple[object, list[str]]:
    """The leaderboard of a run, and its words at the run's end; why there is none where nothing is ranked."""
    from lorabench.api import choosing, files, findings
    from lorabench.cli import file_words, words

    try:
        found = choosing.leaderboard(root)
        if found["verdict"].isin(["best", "cannot be told"]).all():
            return found, list(file_words.closing(files.files(root)))
    except UserError as error:
        return [], [str(error)]
    return found, list(words.closing(found, findings.identified(root)))
