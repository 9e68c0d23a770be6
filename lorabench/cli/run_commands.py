"""The commands about the folders of finished runs: what they say, and where their tables go."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lorabench import api
from lorabench.cli.app import app
from lorabench.cli.options import Json
from lorabench.cli.output import show_answer
from lorabench.errors import UserError

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="folder of a finished study")]
Category = Annotated[str, typer.Option(help="category to judge by")]
Epochs = Annotated[list[int] | None, typer.Option("--epoch", help="epoch to judge; repeatable")]
Metrics = Annotated[
    list[str] | None, typer.Option("--metric", help="metric to judge its criterion by; repeatable, one a criterion")
]
Prompts = Annotated[str, typer.Option(help="prompt type to judge by, where the metric has it: train, trigger, ...")]
AtLeast = Annotated[float | None, typer.Option(min=0.0, max=1.0, help="normalised score, 0 = last, 1 = first")]


@app.command()
def claims(
    run: RunFolder,
    as_json: Json = False,
) -> None:
    """Ask a study what the LyCORIS paper claims: each claim with the effect, its interval and a verdict."""
    opened = api.open_run(run)
    from lorabench.cli import finding_words

    show_answer(opened.claims(), as_json, finding_words.claims)


@app.command()
def signals(
    run: RunFolder,
    category: Category = "all",
    epoch: Epochs = None,
    metric: Metrics = None,
    prompts: Prompts = "",
    as_json: Json = False,
) -> None:
    """Say what held-out loss, the gap to held-out pictures, copies and the health of weights foretell of the scores.

    Rank correlations within each concept: among all checkpoints, among those of one algorithm or one epoch, and among
    the epochs of one training. Intervals are clustered by class and config.
    """
    opened = api.open_run(run)
    from lorabench.cli import signal_words

    found = opened.signals(category=category, epochs=epoch or (), metrics=metric or (), prompts=prompts)
    show_answer(found, as_json, signal_words.signals)


@app.command()
def leaderboard(
    run: RunFolder,
    category: Category = "all",
    epoch: Epochs = None,
    metric: Metrics = None,
    prompts: Prompts = "",
    as_json: Json = False,
) -> None:
    """Order the configs of a study by each criterion, and say which of them cannot be told from the best.

    Of each config's last epoch, unless --epoch names others. Differences are paired by class and training seed,
    intervals clustered by both; q is Benjamini and Hochberg's over all pairs of configs. For those that are tied: which
    difference such a study detects in 80 % of cases, and how many more training seeds, or how many times the images at
    the least, would tell this one (empty: none would).
    """
    opened = api.open_run(run)
    from lorabench.cli import choice_words

    found = opened.leaderboard(category=category, epochs=epoch or (), metrics=metric or (), prompts=prompts)
    show_answer(found, as_json, choice_words.leaderboard)


@app.command()
def files(
    run: RunFolder,
    category: Category = "all",
    metric: Metrics = None,
    prompts: Prompts = "",
    as_json: Json = False,
) -> None:
    """Compare the adapter files of a run on its own data: this file against that one, image by image.

    Differences from the best file are paired by class, prompt and noise. They say nothing of other trainings of the
    same configs: that is `lorabench leaderboard`, which needs seeds.
    """
    opened = api.open_run(run)
    from lorabench.cli import file_words

    show_answer(opened.files(category=category, metrics=metric or (), prompts=prompts), as_json, file_words.files)


@app.command()
def epochs(
    run: RunFolder,
    category: Category = "all",
    epoch: Epochs = None,
    metric: Metrics = None,
    prompts: Prompts = "",
    as_json: Json = False,
) -> None:
    """Say which epoch of each config is best by each criterion, and which epochs are tied with it."""
    opened = api.open_run(run)
    from lorabench.cli import choice_words

    found = opened.epochs(category=category, epochs=epoch or (), metrics=metric or (), prompts=prompts)
    show_answer(found, as_json, choice_words.epochs)
    if not as_json and found["verdict"].isin(["best", "cannot be told"]).all():
        from lorabench.cli.closing import answers

        print("\n".join(["", *answers(run)]))  # nothing is told of configs, but of their files


@app.command()
def recipe(
    run: RunFolder,
    min_fidelity: AtLeast = None,
    min_controllability: AtLeast = None,
    min_diversity: AtLeast = None,
    min_preservation: AtLeast = None,
    max_mib: Annotated[float | None, typer.Option(min=0.0, help="size of a checkpoint")] = None,
    category: Category = "all",
    epoch: Epochs = None,
    metric: Metrics = None,
    prompts: Prompts = "",
    as_json: Json = False,
) -> None:
    """Find configs and epochs that are good enough in what you name, the likeliest members of the Pareto front first.

    Exit code 1 if there is none; then it says how near the nearest came.
    """
    opened = api.open_run(run)
    from lorabench.cli import choice_words

    limits = {
        "fidelity": min_fidelity,
        "controllability": min_controllability,
        "diversity": min_diversity,
        "base_model_preservation": min_preservation,
    }
    wanted = {name: least for name, least in limits.items() if least is not None}
    found = opened.recipe(
        wanted, max_mib=max_mib, category=category, epochs=epoch or (), metrics=metric or (), prompts=prompts
    )
    show_answer(found, as_json, choice_words.recipe)
    if found.points.empty:
        print("\n".join(choice_words.nearest(found, wanted, max_mib)), file=sys.stderr)
        raise typer.Exit(1)


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(metavar="RUN_A", help="folder of a finished study")],
    second: Annotated[Path, typer.Argument(metavar="RUN_B", help="another")],
    category: Category = "all",
    as_json: Json = False,
) -> None:
    """Compare the raw values of two runs, config by config: the second less the first, with intervals.

    Paired by class and training seed, intervals clustered by both. Refused where the two did not measure in the same
    way: metric, encoder, data, prompts, sampling.
    """
    runs = api.open_run(first), api.open_run(second)
    from lorabench.cli import finding_words

    show_answer(runs[0].compare(runs[1], category=category), as_json, finding_words.comparison)


@app.command()
def export(
    run: RunFolder,
    out: Annotated[
        Path | None, typer.Argument(metavar="FOLDER", help="where to write; default: a folder csv beside the tables")
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="one CSV file a table (default)")] = False,
    parquet: Annotated[bool, typer.Option("--parquet", help="one parquet file a table, with thumbnails")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON file a table, a record a row")] = False,
) -> None:
    """Write every table of a run for other tools: scores, ranks, attributions, images, costs, losses, failures.

    Into a folder that is not there yet, one a kind.
    """
    opened = api.open_run(run)
    kinds = [kind for kind, wanted in (("csv", csv), ("parquet", parquet), ("json", as_json)) if wanted] or ["csv"]
    if len(kinds) > 1:
        raise UserError("Name one of --csv, --parquet and --json.")
    for file in opened.export(out or run / kinds[0], kinds[0]):
        print(file)


@app.command()
def figures(
    run: RunFolder,
    out: Annotated[Path | None, typer.Option(help="folder for them; default: figures, beside the tables")] = None,
    study: Annotated[str | None, typer.Option(help="which, where the run holds several; default: the first")] = None,
    category: Annotated[
        list[str] | None, typer.Option(help="of this category alone, once or several times; default: all classes")
    ] = None,
) -> None:
    """Draw a run's figures for a paper, SVG and PNG: trade-offs, SHAP beeswarms, epochs, correlations."""
    opened = api.open_run(run, study)
    for each in category or ["all"]:
        for file in opened.write_figures(out, each):
            print(file)
