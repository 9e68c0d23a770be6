"""`lorabench evaluate`: adapters, or pictures that were drawn with them elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lorabench import api, mini
from lorabench.api import door
from lorabench.api.asked import GivenImages
from lorabench.cli.app import app
from lorabench.cli.closing import finish
from lorabench.cli.options import (
    AllowUnused,
    Anchors,
    ClassWord,
    Device,
    DryRun,
    Json,
    Out,
    Quiet,
    Replace,
    Sheet,
    Trigger,
    Verify,
    Workers,
)
from lorabench.config import MINI
from lorabench.datasets import Words
from lorabench.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


@app.command()
def evaluate(
    checkpoints: Annotated[
        Path | None, typer.Argument(metavar="[CKPT_DIR]", help="folder of adapter files, or one file")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option("--images", help="instead: pictures that were drawn elsewhere, a sub-folder a checkpoint"),
    ] = None,
    study: Annotated[Path | None, typer.Option(help="a study file whose base, data, images and metrics to use")] = None,
    base: Annotated[
        str | None, typer.Option(help="base model: hub id, diffusers folder, .safetensors, or mini")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="pictures that the adapters were trained on: a folder, or its TOML")
    ] = None,
    trigger: Trigger = None,
    class_word: ClassWord = None,
    concept: Annotated[list[str] | None, typer.Option(help="concept ids to measure, as glob patterns")] = None,
    prompts: Annotated[
        Path | None, typer.Option(help="folder of prompt templates; with --images also a list of theirs")
    ] = None,
    allow_unused: AllowUnused = None,
    anchors: Anchors = None,
    sheet: Sheet = None,
    out: Out = None,
    device: Device = None,
    workers: Workers = None,
    dry_run: DryRun = False,
    verify: Verify = False,
    replace: Replace = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Score the adapters in a folder: generate paired images, measure, rank among themselves, report.

    Which files are epochs and seeds of one config is read from their metadata, else from their names, and it says
    which; --sheet knows better. With --images score pictures that were drawn elsewhere, without a base model: prompts
    and seeds are read from what AUTOMATIC1111, ComfyUI and InvokeAI write into them, from text files beside them, or
    from a list (JSON lines: file_name, prompt, seed), there as prompts.jsonl or given as --prompts FILE.
    """
    if (checkpoints is None) == (images is None):
        raise UserError("Name a folder of adapters, or one of pictures (--images FOLDER): one of the two.")
    if images is not None:
        is_folder = prompts is not None and prompts.is_dir()
        given = GivenImages(
            folder=images, reference=data, words=Words(trigger or "", class_word or ""),
            prompts=None if is_folder else prompts, templates=prompts if is_folder else None,
            study=_settings(base, study), concepts=tuple(concept or ()), anchors=anchors, sheet=sheet, out=out,
            device=device, workers=workers,
        )  # fmt: skip
        _score_images(given, dry_run, as_json, verify=verify, replace=replace, quiet=quiet)
        return
    if dry_run:
        words = Words(trigger or "", class_word or "")
        door.check_evaluation(checkpoints, study, base, data, concept or (), prompts, anchors, words)
        from lorabench.api.sheet import read_sheet

        said = read_sheet(sheet)
        from lorabench.api import evaluation
        from lorabench.cli import description

        plan, refused = evaluation.planned(
            checkpoints, study, base, data, concept or (), prompts, allow_unused or (), anchors, out, device, workers,
            words, said,
        )  # fmt: skip
        left_out = [{"stage": "left out", "count": "", "what": each.message, "tasks to do": ""} for each in refused]
        again = "start it: the bar of the whole run says after a while"
        description.say(plan, again, as_json, after=left_out)
        return
    run = api.evaluate(
        checkpoints, data=data, trigger=trigger or "", class_word=class_word or "", base=base, study=study,
        concepts=concept or (), prompts=prompts, allow_unused=allow_unused or (), anchors=anchors,
        sheet=sheet, out=out, device=device, workers=workers, verify=verify, replace=replace, quiet=quiet,
    )  # fmt: skip
    finish(run.result, run.folder, as_json, leads=True, means=_raw_means(run))


def _raw_means(run: api.Run) -> pd.DataFrame | None:
    """Of what was evaluated, unless nothing could be ranked."""
    from lorabench.api import evaluation

    unranked = any(failure.stage == "rank" for failure in run.result.failures)
    return None if unranked else evaluation.raw_means(run.folder)


def _settings(base: str | None, study: Path | None) -> Path | None:
    """The study whose settings count for pictures; `--base mini` is the miniature world's, as it is for adapters."""
    if base not in (None, MINI):
        raise UserError(
            "Pictures that are there need no base model: leave --base out. What the base model draws from the same "
            "prompts and seeds can be a sub-folder called 'base'."
        )
    return mini.evaluation_study() if base == MINI and study is None else study


def _score_images(given: GivenImages, dry_run: bool, as_json: bool, **how: bool) -> None:
    if not dry_run:
        run = api.score(given, **how)
        finish(run.result, run.folder, as_json, leads=True, means=_raw_means(run))
    door.check_images(given)
    from lorabench.api import elsewhere
    from lorabench.cli import description

    description.say(elsewhere.planned(given), "start it: the bar of the whole run says after a while", as_json)
