"""How a command that worked ends: what failed, who leads, where the results are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from lorabench.cli.output import print_json
from lorabench.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from lorabench.report.tables import RunTables

SHOWN_DAMAGE = 10  # sentences at the end of a run; all of them scroll by, and --json has them


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
            for line in (*answers(root), *_merges(root), *_collapsed(root), *_unlike(root)):
                print(line)
        if means is not None:
            from lorabench.cli import file_words

            print("\n".join(file_words.raw_means(means)))
        print(closing_words(summary, words))
    raise typer.Exit(int(summary["exit_code"]))


def answers(root: Path) -> list[str]:
    """Which epoch and merge ratio of each config to take, where there is a choice."""
    from lorabench.api import moment_choices
    from lorabench.cli import answer_words

    found = moment_choices.answers_of(root)
    return list(answer_words.answers(found)) if found else []


def _collapsed(root: Path) -> list[str]:
    """Which checkpoints drew pictures that show nothing."""
    from lorabench.cli.cells import wrapped
    from lorabench.report import runs
    from lorabench.report.health import collapsed_pictures

    rows = collapsed_pictures(runs.read_run(root, only=("collapsed",)).collapsed)
    lines = [f"{row['checkpoint']}: {row['kinds']}; the first is {row['first']}" for row in rows[:SHOWN_DAMAGE]]
    more = [f"and of {len(rows) - SHOWN_DAMAGE} more checkpoints"] if len(rows) > SHOWN_DAMAGE else []
    said = "Pictures that collapsed, and are left out of what is measured:"
    return [said, *(part for line in (*lines, *more) for part in wrapped(line, "  "))] if rows else []


def _unlike(root: Path) -> list[str]:
    """Which checkpoints' weights are unlike those of the others."""
    from lorabench.cli import health_words
    from lorabench.report import runs
    from lorabench.statistics.validation import unlike_others

    rows = unlike_others(runs.read_run(root, only=("health",)).health).to_dict("records")
    return ["Weights unlike those of the others:", *health_words.unlike(rows)] if rows else []


def _merges(root: Path) -> list[str]:
    """What merges leave of their parents, where a run has merges."""
    from lorabench.api import merge_losses
    from lorabench.cli import merge_words

    try:
        return list(merge_words.lines(merge_losses.merge_losses(root)))
    except UserError:  # nothing is ranked
        return []


def _choices(root: Path) -> object:
    from lorabench.api import moment_choices

    try:
        return moment_choices.choices_of(root)
    except UserError:  # nothing is ranked
        return []


def _leaders(root: Path) -> tuple[object, list[str]]:
    """The leaderboard of a run, and its words at the run's end; why there is none where nothing is ranked."""
    from lorabench.api import choosing, file_comparison, findings
    from lorabench.cli import choice_words, file_words
    from lorabench.report import runs

    try:
        found = choosing.leaderboard(root)
        decisions = runs.read_run(root, only=("decisions",))
        if len(decisions.decisions):
            return found, _decided(decisions)
        if found["verdict"].isin(["best", "cannot be told"]).all():
            return found, list(file_words.closing(file_comparison.files(root)))
    except UserError as error:
        return [], [str(error)]
    return found, list(choice_words.closing(found, findings.identified(root)))


def _decided(run: RunTables) -> list[str]:
    """What rounds of images decided, and what they saved."""
    from lorabench.cli.cells import wrapped
    from lorabench.report.decided import criteria, summary

    lines = [f"{each.name}, {each.judged_by}: {each.told}" for each in criteria(run.decisions)]
    return [part for line in (*lines, *summary(run.study["decided"])) for part in wrapped(line, "  ")]


def closing_words(summary: dict[str, Any], leaders: Sequence[str] = ()) -> str:
    """The summary for a person: failures first by kind, then who leads, then where to look."""
    lines = []
    if summary["damage"]:
        more = len(summary["damage"]) - SHOWN_DAMAGE
        lines += [f"{len(summary['damage'])} damaged:", *(f"  {text}" for text in summary["damage"][:SHOWN_DAMAGE])]
        lines += [f"  and {more} more"] if more > 0 else []
    if summary["failures"]:
        kinds = Counter(failure["status"] for failure in summary["failures"])
        lines.append(", ".join(f"{count} {kind}" for kind, count in kinds.items()) + ":")
        lines += [f"  {f['stage']} {f['item']}: {f['status']}: {f['message']}" for f in summary["failures"]]
    made = sum(summary["made"].values())
    if not made and not summary["failures"]:
        lines.append("Everything was up to date.")
    elif not leaders:
        lines.append(f"{made} artifacts made.")
    lines += leaders
    if summary["report_is_stale"]:
        lines.append(f"Results: {summary['results']}")
        lines.append("The report there is of what was there before; run the whole study to bring it up to date.")
    else:
        lines.append(f"Report: {summary['report']}" if summary["report"] else f"Results: {summary['results']}")
    return "\n".join(lines)


def replayed(summary: dict[str, Any]) -> str:
    """The summary of a replay for a person: what is missing first, then where to look."""
    lines = list(summary["notes"])
    for study in summary["studies"]:
        counts = f"{study['checkpoints']} checkpoints, {study['values']:,} values"
        lines.append(f"{study['name']}: {counts}; report: {study['report']}")
    if summary["diversity_ratios"]:
        lines.append(f"Diversity ratios (H.1): {summary['results']}/diversity_ratios.parquet")
    if summary["studies"]:
        lines.append(f"What the paper claims, asked of these values: lorabench claims {summary['results']}")
    return "\n".join(lines)
