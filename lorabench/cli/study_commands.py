"""The commands that carry out a study: write a first one, all its stages, or one of them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from lorabench import api
from lorabench.api import early_checks
from lorabench.api.requests import How, Until, shard_of, slurm_share
from lorabench.cli.app import app
from lorabench.cli.closing import finish
from lorabench.cli.options import (
    Address,
    Anchors,
    BudgetGiven,
    ClassWord,
    Compile,
    Criteria,
    Device,
    DryRun,
    Equivalent,
    ExecutorChoice,
    FalseRate,
    Json,
    Limit,
    Only,
    Out,
    Quiet,
    Replace,
    Share,
    StudyFile,
    Trigger,
    UntilWhen,
    Verify,
    Workers,
)
from lorabench.cli.output import on_screen, show
from lorabench.datasets import Words
from lorabench.errors import UserError


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="folder for the new study; made if it is not there")],
    data: Annotated[
        Path | None, typer.Option(help="your pictures, in any usual layout, best with a .txt caption beside each")
    ] = None,
    base: Annotated[str | None, typer.Option(help="mini, hub id, diffusers folder or .safetensors")] = None,
    caption: Annotated[
        str | None,
        typer.Option(
            help="for all pictures without one: a new word and what it is, '[V_mine] toy'; written beside them"
        ),
    ] = None,
) -> None:
    """Write a first study, FOLDER/study.toml, from a folder of pictures: commented, ready to run, to be edited.

    On a terminal it asks for what is not given; else it takes pictures that lie in FOLDER or here, and SD1.5 if that is
    on this machine together with a GPU. Without any it takes those of the miniature world, which comes with lorabench.
    Exit code 1 if the study lacks something before it can run.
    """
    from lorabench.api import starting, studies
    from lorabench.cli import description

    ask = (lambda question, default: typer.prompt(question, default=default, err=True)) if sys.stdin.isatty() else None
    started = starting.write_study(folder, data, base, caption, ask)
    study = started.file
    print(f"Written: {study}")
    for remark in started.remarks:
        print(on_screen(f"note: {remark}"))
    try:
        plan = studies.planned(study, None)
        description.say(plan, "run with --limit 1 for a first look")
    except UserError as error:
        print(on_screen(f"Before it can run: {error}"))
        raise typer.Exit(1) from error
    print(on_screen(f"Next: lorabench grid {study}"))


@app.command()
def grid(
    study: StudyFile,
    out: Out = None,
    device: Device = None,
    workers: Workers = None,
    executor: ExecutorChoice = None,
    address: Address = None,
    compile: Compile = False,
    only: Only = None,
    limit: Limit = None,
    anchors: Anchors = None,
    trigger: Trigger = None,
    class_word: ClassWord = None,
    shard: Share = None,
    until: UntilWhen = None,
    criterion: Criteria = None,
    rate: FalseRate = None,
    equivalent: Equivalent = None,
    budget: BudgetGiven = None,
    dry_run: DryRun = False,
    verify: Verify = False,
    replace: Replace = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run a whole study, train to report. Run again to go on where it stopped."""
    shard = shard or slurm_share(os.environ)
    if dry_run:
        words = Words(trigger or "", class_word or "")
        rows, plan = [early_checks.describe_grid(study)], None
        try:  # the grid can be said even where weights or data are missing; the error then follows it
            early_checks.check_study(study, anchors, words)
            from lorabench.api import studies
            from lorabench.cli import description

            how = How(device, workers, executor, address, compile or None, shard_of(shard))
            going = Until(until, tuple(criterion or ()), rate, equivalent, budget)
            plan = studies.planned(study, out, how, only or (), limit, anchors, words, going)
        finally:
            if plan is None:
                show(rows, as_json)
        from lorabench.api import planned_work
        from lorabench.cli import plan_words

        again = "`lorabench plan` estimates it; or run with --limit 1: then a dry run without it says"
        description.say(plan, again, as_json, before=rows, after=plan_words.rows(planned_work.of_plan(plan)))
        return
    run = api.grid(
        study, out=out, device=device, workers=workers, executor=executor, address=address,
        compile=compile or None, only=only or (), limit=limit, anchors=anchors, trigger=trigger or "",
        class_word=class_word or "", shard=shard, until=until, criteria=criterion or (), rate=rate,
        equivalent=equivalent, budget=budget, verify=verify, replace=replace, quiet=quiet,
    )  # fmt: skip
    finish(run.result, run.folder, as_json, leads=not run.result.waits_for)


def _stage_command(stage: str, help_text: str) -> None:
    def command(
        study: StudyFile,
        out: Out = None,
        device: Device = None,
        workers: Workers = None,
        executor: ExecutorChoice = None,
        address: Address = None,
        only: Only = None,
        limit: Limit = None,
        verify: Verify = False,
        replace: Replace = False,
        as_json: Json = False,
        quiet: Quiet = False,
    ) -> None:
        early_checks.check_study(study)
        from lorabench.api import studies

        plan = studies.planned(study, out, How(device, workers, executor, address), only or (), limit)
        stages = studies.MAKING_STAGES if stage == "train" else (stage,)
        finish(studies.carry_out(plan, stages, quiet, verify=verify, replace=replace), plan.root, as_json)

    command.__doc__ = help_text
    app.command(name=stage)(command)


_stage_command("train", "Train the configs of a study, each with each seed, and make its merges.")
_stage_command("validate", "Compute held-out losses and the health of weights, before any image is drawn.")
_stage_command("generate", "Generate the images of all trained checkpoints and of the base model.")
_stage_command("encode", "Turn images, data set and texts into feature vectors.")
_stage_command("score", "Compute every metric of every checkpoint.")
_stage_command("rank", "Rank the scores and aggregate them over classes and categories.")
_stage_command("explain", "Fit CatBoost and SHAP: which factor moved which metric.")


@app.command()
def join(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="folders of results, two or more, each of a part")],
    out: Annotated[Path, typer.Option(help="folder for the joined run; new, or of a join that was interrupted")],
    study: Annotated[
        Path | None,
        typer.Option(metavar="STUDY", help="its file; default: as the first run says whose paths are on this machine"),
    ] = None,
    device: Device = None,
    workers: Workers = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Join runs of parts of one study (grid --only, on several machines) into one, ranked and reported together.

    The runs are only read; each copied file is compared with what was written once, and what is damaged is left out.
    Refused where they were not made from the same: base model, pictures, prompts, settings, encoders. Where two hold
    the same with other content (another device draws other pixels), that of the first is taken, and scores that had
    been made beside the other are computed again. Interrupted? Run it again to go on.
    """
    run = api.join(*runs, out=out, study=study, device=device, workers=workers, quiet=quiet)
    finish(run.result, run.folder, as_json, leads=True)
