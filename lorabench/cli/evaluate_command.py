"""`lorabench evaluate`: adapters, or pictures that were drawn with them elsewhere."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lorabench import api, config, mini
from lorabench.api.requests import Drawing, GivenAdapters, GivenImages, How, shard_of, slurm_share
from lorabench.cli.app import app
from lorabench.cli.closing import finish
from lorabench.cli.options import (
    Address,
    AllowUnused,
    Anchors,
    ClassWord,
    Compile,
    Device,
    DryRun,
    ExecutorChoice,
    Json,
    Out,
    Quiet,
    Replace,
    Share,
    Sheet,
    Trigger,
    Verify,
    Workers,
)
from lorabench.config import MINI
from lorabench.datasets import Words
from lorabench.errors import UserError
from lorabench.values import MANY

if TYPE_CHECKING:
    import pandas as pd

WHOLE_TEXTS = ("negative_prompt",)  # of which commas are a part


@app.command()
def evaluate(
    checkpoints: Annotated[
        Path | None, typer.Argument(metavar="CKPT_DIR", help="folder of adapter files, or one file")
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
    reference: Annotated[
        Path | None,
        typer.Option(help="pictures of the same that they were not trained on: how much of fidelity is copying?"),
    ] = None,
    trigger: Trigger = None,
    class_word: ClassWord = None,
    concept: Annotated[list[str] | None, typer.Option(help="concept ids to measure, as glob patterns")] = None,
    prompts: Annotated[
        Path | None, typer.Option(help="folder of prompt templates; with --images also a list of theirs")
    ] = None,
    per_set: Annotated[
        int | None,
        typer.Option(min=1, max=MANY, help="images of each concept and prompt type; default: what one waits for"),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, max=1000, help="of sampling")] = None,
    guidance: Annotated[float | None, typer.Option(min=0, help="classifier-free guidance")] = None,
    scales: Annotated[
        str | None,
        typer.Option(metavar="0,0.5,1", help="merge ratios at which each adapter is drawn; 0 is the base model"),
    ] = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE,VALUE",
            help="draw with each value of steps, guidance, scheduler, clip_skip, scale, base or vae, or of "
            "negative_prompt (one a time); repeatable, all combinations",
        ),
    ] = None,
    paper: Annotated[bool, typer.Option("--paper", help="draw as much as the paper: 100 images a set")] = False,
    allow_unused: AllowUnused = None,
    anchors: Anchors = None,
    sheet: Sheet = None,
    out: Out = None,
    device: Device = None,
    workers: Workers = None,
    executor: ExecutorChoice = None,
    address: Address = None,
    compile: Compile = False,
    shard: Share = None,
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
    how = How(device, workers, executor, address, compile or None, shard_of(shard or slurm_share(os.environ)))
    words = Words(trigger or "", class_word or "")
    drawing = Drawing(per_set, steps, guidance, _ratios(scales), _swept(sweep or ()), paper)
    if images is not None:
        if drawing != Drawing() or allow_unused or compile:
            raise UserError(
                "Pictures that are there are taken as they are: leave out --per-set, --steps, --guidance, --scales, "
                "--sweep, --paper, --compile and --allow-unused."
            )
        is_folder = prompts is not None and prompts.is_dir()
        given: GivenAdapters | GivenImages = GivenImages(
            folder=images, data=data, reference=reference, words=words, prompts=None if is_folder else prompts,
            templates=prompts if is_folder else None, study=_settings(base, study), concepts=tuple(concept or ()),
            anchors=anchors, sheet=sheet, out=out, how=how,
        )  # fmt: skip
    else:
        given = GivenAdapters(
            folder=checkpoints, data=data, reference=reference, words=words, base=base, study=study,
            concepts=tuple(concept or ()), templates=prompts, unused=tuple(allow_unused or ()),
            drawing=drawing, anchors=anchors, sheet=sheet, out=out, how=how,
        )  # fmt: skip
    if not dry_run:
        run = api.score(given, verify=verify, replace=replace, quiet=quiet)
        done = not run.result.waits_for
        finish(run.result, run.folder, as_json, leads=done, means=_raw_means(run) if done else None)
    plan, refused = api.plan_of(given)
    from lorabench.cli import description

    left_out = [{"stage": "left out", "count": "", "what": each.message, "tasks to do": ""} for each in refused]
    description.say(plan, "start it: the bar of the whole run says after a while", as_json, after=left_out)


def _ratios(text: str | None) -> tuple[float, ...]:
    """ "0,0.5,1" -> those numbers."""
    try:
        return tuple(float(part) for part in text.split(",")) if text else ()
    except ValueError:
        raise UserError(f"--scales are numbers with commas between them, 0,0.5,1, not '{text}'.") from None


def _swept(texts: Sequence[str]) -> dict[str, list[str | float]]:
    """["steps=30,50", "scheduler=DDIM"] -> {"steps": [30, 50], "scheduler": ["DDIM"]}; text has commas of its own."""
    found: dict[str, list[str | float]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or name not in config.DRAWN:
            raise UserError(f"--sweep {text}: write NAME=VALUE,VALUE, where NAME is one of {', '.join(config.DRAWN)}.")
        parts = [values] if name in WHOLE_TEXTS else [_number(part.strip()) for part in values.split(",")]
        found.setdefault(name, []).extend(parts)
    return found


def _number(text: str) -> str | float:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _raw_means(run: api.Run) -> pd.DataFrame | None:
    """Of what was evaluated, unless nothing could be ranked."""
    from lorabench.api import evaluate_adapters

    unranked = any(failure.stage == "rank" for failure in run.result.failures)
    return None if unranked else evaluate_adapters.raw_means(run.folder)


def _settings(base: str | None, study: Path | None) -> Path | None:
    """The study whose settings count for pictures; `--base mini` is the miniature world's, as it is for adapters."""
    if base not in (None, MINI):
        raise UserError(
            "Pictures that are there need no base model: leave --base out. What the base model draws from the same "
            "prompts and seeds can be a sub-folder called 'base'."
        )
    return mini.evaluation_study() if base == MINI and study is None else study
