"""The commands that say how far a study is to be trusted, and write its page: audit, report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lorabench.api import early_checks
from lorabench.api.requests import How
from lorabench.cli.app import app
from lorabench.cli.closing import closing_words, finish
from lorabench.cli.options import (
    Address,
    Device,
    ExecutorChoice,
    Json,
    Limit,
    Only,
    Out,
    Quiet,
    StudyFile,
    Verify,
    Workers,
)
from lorabench.cli.output import print_json, rows_of, show


@app.command()
def report(
    study: Annotated[
        Path, typer.Argument(metavar="STUDY.toml|RUN", help="a study, or a folder that holds the tables of one")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="folder of the results; of a RUN: where the page goes"),
    ] = None,
    device: Device = None,
    workers: Workers = None,
    only: Only = None,
    limit: Limit = None,
    verify: Verify = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the HTML report of a study, or of the tables that somebody has kept of one.

    Of a study at any time, also while it runs: ranks, explanation and page of what has been measured so far.
    Of a folder of tables one page a study; pictures and probes may be missing, and are then not shown.
    """
    if study.is_dir():
        early_checks.check_run(study)
        from lorabench.api import exporting

        pages = exporting.pages(study, out or study)
        show([{"report": str(page)} for page in pages], as_json=True) if as_json else print(*pages, sep="\n")
        return
    early_checks.check_study(study)
    from lorabench.api import studies
    from lorabench.pipeline.run import TABLE_STAGES

    plan = studies.planned(study, out, How(device, workers), only or (), limit)
    finish(studies.carry_out(plan, TABLE_STAGES, quiet, verify=verify), plan.root, as_json)


@app.command()
def audit(
    study: StudyFile,
    out: Out = None,
    device: Device = None,
    workers: Workers = None,
    executor: ExecutorChoice = None,
    address: Address = None,
    only: Only = None,
    limit: Limit = None,
    verify: Verify = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Ask which metrics can be trusted on your data: probe them on its own images, before anything is trained.

    Do they tell the concept from another, and notice damage? Where a study has been scored, also whether its seeds and
    its other encoders agree. What fails is grey in the report.
    """
    early_checks.check_study(study)
    from lorabench.api import auditing, studies
    from lorabench.cli import finding_words

    plan = studies.planned(study, out, How(device, workers, executor, address), only or (), limit)
    result = studies.carry_out(plan, ("audit",), quiet, verify=verify)
    found = auditing.verdicts(plan)
    if as_json:
        summary = studies.summary(result, plan.root)
        print_json(summary | {"audit": found.assign(why=[finding_words.why(row) for row in rows_of(found)])})
    else:
        print("\n".join(finding_words.audit(found)))
        print(closing_words(studies.summary(result, plan.root), [f"Probes: {plan.root / 'probes.parquet'}"]))
    raise typer.Exit(result.exit_code)
