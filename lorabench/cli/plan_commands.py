"""The commands that look ahead: what a study takes, and the weights that it needs."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from lorabench import api
from lorabench.cli.app import app
from lorabench.cli.options import ClassWord, Device, DryRun, Json, Limit, Only, Out, StudyFile, Trigger


@app.command()
def plan(
    study: StudyFile,
    out: Out = None,
    device: Device = None,
    only: Only = None,
    limit: Limit = None,
    trigger: Trigger = None,
    class_word: ClassWord = None,
    tflops: Annotated[
        float | None, typer.Option(min=0.001, max=1e9, help="TFLOP/s that the machine sustains; default: measured here")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what a study takes: trainings, images, operations, disk, memory and time, what dominates, what to turn.

    Neither weights nor pictures are needed: operations are counted on the published architectures, pictures as a
    dataset.toml states them. Times are those of the run where it has begun, else those of a matrix product of two
    seconds on the study's device, or of --tflops.
    """
    found = api.plan(
        study, out=out, device=device, only=only or (), limit=limit, trigger=trigger or "",
        class_word=class_word or "", tflops=tflops,
    )  # fmt: skip
    from lorabench.cli import plan_words

    plan_words.say(found, as_json)


@app.command()
def fetch(study: StudyFile, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Bring the weights that a study needs from the hub: base model and encoders. Say what is here and what is not.

    With HF_HUB_OFFLINE, or --dry-run, it only says. A download that was interrupted goes on when it is run again. Exit
    code 1 if something is missing.
    """
    if not dry_run:
        print("Looking for the weights here, then in the hub.", file=sys.stderr)
    found = api.fetch(study, dry_run=dry_run)
    from lorabench.cli import fetch_words

    fetch_words.say(found, as_json)
    if any(each.state == "missing" for each in found):
        raise typer.Exit(1)
