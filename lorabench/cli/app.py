"""The command `lorabench`: every stage of a study is a command, and `grid` is all of them."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lorabench import api
from lorabench.api import door
from lorabench.cli.output import on_screen, print_json, show
from lorabench.datasets import Words
from lorabench.errors import DISK_FULL, DiskFull, UserError
from lorabench.values import LARGEST_SEED, MANY, MOST_WORKERS

if TYPE_CHECKING:
    import pandas as pd

app = typer.Typer(
    name="lorabench",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
mini_app = typer.Typer(help="The embedded miniature world.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(mini_app, name="mini")

StudyFile = Annotated[
    Path, typer.Argument(metavar="STUDY", help="a study file, or the name of one that comes along: mini, paper, ...")
]
Out = Annotated[Path | None, typer.Option(help="folder of the results; default results/<study>")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1 or mps")]
Workers = Annotated[int | None, typer.Option(min=0, max=MOST_WORKERS, help="processes; 0 = chosen by device and model")]
Only = Annotated[list[str] | None, typer.Option(help="configs to run, as glob patterns; repeatable")]
Limit = Annotated[int | None, typer.Option(min=1, max=MANY, help="at most so many trainings (config x seed)")]
Anchors = Annotated[
    Path | None,
    typer.Option(help="scores.parquet of a run: rank among its checkpoints, so that scores stay as they are"),
]
Trigger = Annotated[str | None, typer.Option(help="the word that calls the concept, where its pictures do not say it")]
ClassWord = Annotated[str | None, typer.Option(help="what it is one of: dog, style, ...")]
AllowUnused = Annotated[
    list[str] | None, typer.Option(help="keys of adapter files that may stay unused, as glob patterns; repeatable")
]
Sheet = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.csv",
        help="a line a file, believed before metadata and names: file, config, seed, epoch, step, scale, own factors",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="results on stdout as JSON")]
Quiet = Annotated[bool, typer.Option(help="no progress on stderr")]
Verify = Annotated[bool, typer.Option("--verify", help="first read all that is there, to find damage that hides")]
Replace = Annotated[bool, typer.Option("--replace", help="do finished work anew where the study says otherwise now")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="check everything and say what would be done")]


def _say_version(asked: bool) -> None:
    if asked:
        print(f"lorabench {importlib.metadata.version('lorabench')}")
        raise typer.Exit()


@app.callback()
def lorabench(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="say which version this is")
    ] = False,
) -> None:
    """Measure adapters of text-to-image models: train, generate paired images, score, rank, explain, report.

    Begin with `lorabench init FOLDER --data PICTURES`.
    """


def main() -> None:
    """Run the command line: exit code 0 done, 1 finished with failures, 2 refused before any work."""
    _quiet_libraries()
    try:
        door.check_words()
        app()
    except UserError as error:
        _leave(f"Error: {error}", 2)
    except DiskFull as error:
        _leave(f"Error: {error}", 1)
    except BrokenPipeError:
        sys.exit(1)  # the reader of stdout went away (`| head`)
    except OSError as error:
        if error.filename is None and error.errno not in DISK_FULL:  # nothing that a user could mend
            raise
        place = f"{error.filename}: " if error.filename else ""
        _leave(f"Error: {place}{error.strerror}.", 1 if error.errno in DISK_FULL else 2)


def _leave(message: str, code: int) -> None:
    print(on_screen(message), file=sys.stderr)
    sys.exit(code)


def _quiet_libraries() -> None:
    """Other people's warnings are not results, and a user cannot mend them."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", module=r"peft\.")
    for name in ("diffusers", "transformers", "timm", "open_clip", "root"):
        logging.getLogger(name).setLevel(logging.ERROR)


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
        plan = studies.planned(study, None, None, None, (), None)
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
    only: Only = None,
    limit: Limit = None,
    anchors: Anchors = None,
    trigger: Trigger = None,
    class_word: ClassWord = None,
    dry_run: DryRun = False,
    verify: Verify = False,
    replace: Replace = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run a whole study, train to report. Run again to go on where it stopped."""
    if dry_run:
        words = Words(trigger or "", class_word or "")
        rows, plan = [door.describe_grid(study)], None
        try:  # the grid can be said even where weights or data are missing; the error then follows it
            door.check_study(study, anchors, words)
            from lorabench.api import studies
            from lorabench.cli import description

            plan = studies.planned(study, out, device, workers, only or (), limit, anchors, words)
        finally:
            if plan is None:
                show(rows, as_json)
        again = "run with --limit 1, which trains one config; then a dry run without it says"
        description.say(plan, again, as_json, before=rows)
        return
    run = api.grid(
        study, out=out, device=device, workers=workers, only=only or (), limit=limit, anchors=anchors,
        trigger=trigger or "", class_word=class_word or "", verify=verify, replace=replace, quiet=quiet,
    )  # fmt: skip
    finish(run.result, run.folder, as_json, leads=True)


@app.command()
def evaluate(
    checkpoints: Annotated[Path, typer.Argument(metavar="CKPT_DIR", help="folder of adapter files, or one file")],
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
    prompts: Annotated[Path | None, typer.Option(help="folder of prompt templates")] = None,
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
    which; --sheet knows better.
    """
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


def _stage_command(stage: str, help_text: str) -> None:
    def command(
        study: StudyFile,
        out: Out = None,
        device: Device = None,
        workers: Workers = None,
        only: Only = None,
        limit: Limit = None,
        verify: Verify = False,
        replace: Replace = False,
        as_json: Json = False,
        quiet: Quiet = False,
    ) -> None:
        door.check_study(study)
        from lorabench.api import studies

        plan = studies.planned(study, out, device, workers, only or (), limit)
        finish(studies.carry_out(plan, (stage,), quiet, verify=verify, replace=replace), plan.root, as_json)

    command.__doc__ = help_text
    app.command(name=stage)(command)


_stage_command("train", "Train the configs of a study, each with each seed.")
_stage_command("generate", "Generate the images of all trained checkpoints and of the base model.")
_stage_command("encode", "Turn images, data set and texts into feature vectors.")
_stage_command("score", "Compute every metric of every checkpoint.")
_stage_command("rank", "Rank the scores and aggregate them over classes and categories.")
_stage_command("explain", "Fit CatBoost and SHAP: which factor moved which metric.")


@app.command()
def replay(
    clone: Annotated[
        Path, typer.Argument(help="clone of cyber-meow/LyCORIS-evaluation, or of peft for its image-gen comparison")
    ],
    out: Annotated[Path, typer.Option(help="folder of the results")] = Path("results/replay"),
    as_json: Json = False,
) -> None:
    """Take the measurements that the LyCORIS paper's authors published through our ranks, SHAP and report.

    Reads whichever of their CSV files are below the folder, and says which are missing. The grid and the captions
    experiment are ranked apart; the column `study` of the tables tells them apart. Also takes the JSON results of
    peft's method_comparison/image-gen.
    """
    door.existing(clone, "Folder", "")
    from lorabench.api import replaying

    summary = replaying.replayed(clone, out)
    print(json.dumps(summary, indent=1) if as_json else replaying.words(summary))


@app.command()
def diversity(
    folder: Annotated[Path, typer.Argument(help="pictures, a folder a class")],
    encoder: Annotated[str, typer.Option(help="see `lorabench list encoders`")] = "dinov2",
    weights: Annotated[Path | None, typer.Option(help="of the encoder; default: the published ones")] = None,
    resize: Annotated[str | None, typer.Option(help="letterbox, center_crop, stretch or scale")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps")] = "auto",
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="of the sample of sets above 1000 pictures")] = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Ask which encoder sees what classes of a data set share: diversity of a class / of all pictures (LyCORIS H.1).

    A low ratio says that the encoder is sensitive to what tells the classes apart. Classes of more than 50 pictures;
    Vendi score, intra-dissimilarity and variance. With --json one row a class.
    """
    table = api.diversity(
        folder, encoder=encoder, weights=weights, resize=resize, device=device, seed=seed, quiet=quiet
    )
    from lorabench.api import class_diversity

    show(table.to_dict("records") if as_json else class_diversity.summary(table), as_json)


@app.command(name="list")
def list_components(
    kind: Annotated[
        str | None, typer.Argument(help="metrics, encoders, algorithms, formats, ... or studies; default all")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the metrics, encoders, algorithms and checkpoint formats there are, and the studies that come along."""
    from lorabench.api import inventory

    show(inventory.components_table(kind), as_json)


@app.command()
def doctor(
    run: Annotated[
        Path | None, typer.Argument(metavar="[RUN]", help="folder of a study's results; else this machine")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Check this machine: versions, device, disk, weights, hub cache, extras. Says what is missing and how to get it.

    With RUN read all that a study has made and list what is damaged, orphaned (the study does not come to it any more)
    or from another study; the next `grid` makes what is damaged again. Exit code 1 if something is missing or damaged.
    """
    if run is not None:
        from lorabench.api import inventory

        rows = inventory.check_up(run, quiet)
        if rows or as_json:
            show(rows if as_json else inventory.gathered(rows), as_json)
        else:
            print("Nothing is damaged, orphaned or from another study.")
        raise typer.Exit(int(any(row["finding"] == "damaged" for row in rows)))
    from lorabench.api import machine

    checks = machine.checks()
    show(checks, as_json)
    if any(check["status"] == "missing" for check in checks):
        raise typer.Exit(1)


def finish(result: object, root: Path, as_json: bool, leads: bool = False, means: pd.DataFrame | None = None) -> None:
    """Say what failed, who leads, where the results are, and leave with the code that goes with it."""
    from lorabench.api import studies

    summary = studies.summary(result, root)
    leaders, words = _leaders(root) if leads else (None, [])
    if as_json:
        beside = {"leaderboard": leaders} if leads else {}
        print_json(summary | beside | ({} if means is None else {"checkpoints": means}))
    else:
        if means is not None:
            from lorabench.cli import file_words

            print("\n".join(file_words.raw_means(means)))
        print(studies.closing_words(summary, words))
    raise typer.Exit(int(summary["exit_code"]))


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
