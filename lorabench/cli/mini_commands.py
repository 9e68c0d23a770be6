"""The commands about the embedded miniature world: its pictures, its models, and what was learnt of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from lorabench.api import early_checks
from lorabench.cli.app import mini_app
from lorabench.cli.options import Json
from lorabench.cli.output import show, show_answer
from lorabench.errors import UserError


@mini_app.command(name="dataset")
def mini_dataset(folder: Annotated[Path, typer.Argument(help="where to write it")]) -> None:
    """Write the miniature world's training images as an ordinary image folder with captions and dataset.toml."""
    from lorabench import mini

    print(mini.write_dataset(folder))


@mini_app.command(name="build")
def mini_build(
    only: Annotated[list[str] | None, typer.Option(help="part to train; repeatable, default all")] = None,
    work: Annotated[Path, typer.Option(help="folder of checkpoints and logs; run again to go on")] = Path(
        ".mini-build"
    ),
    out: Annotated[Path | None, typer.Option(help="where the weights go; default: into the package")] = None,
    scale: Annotated[float, typer.Option(min=0.0, help="multiplies every number of steps")] = 1.0,
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cpu",
    seed: Annotated[int, typer.Option(help="of renders and training")] = 1,
    replay: Annotated[
        bool, typer.Option("--replay", help="only repeat the first steps, in a minute, and compare their losses")
    ] = False,
) -> None:
    """Train the miniature models again by the recipe that made the shipped weights; over two hours on two cores.

    With --replay nothing is written: exit code 1 if a loss is more than 1 % from the recorded one.
    """
    from lorabench.api import worlds

    if replay:
        rows = worlds.replay(only, out)
        show(rows, as_json=False)
        raise typer.Exit(int(any(row["agrees"] != "yes" for row in rows)))
    print(worlds.build(only, out, work, scale, device, seed))


@mini_app.command(name="audit")
def mini_audit(
    out: Annotated[Path | None, typer.Option(help="folder for audit.json and contact sheets; default: none")] = None,
    as_json: Json = False,
) -> None:
    """Check the miniature models against their quality gates, and each metric against pictures of known truth.

    Takes about ten minutes on two cores. Exit code 1 if a gate is missed.
    """
    from lorabench.api import worlds

    result = worlds.audit(out)
    if as_json:
        print(json.dumps(result, indent=1))
    else:
        show(result["gates"], as_json=False)
        show(result["metrics"], as_json=False)
    if any(row["reached"] != "yes" for row in result["gates"]):
        raise typer.Exit(1)


@mini_app.command(name="identified")
def mini_identified(
    run: Annotated[Path, typer.Argument(help="folder of a finished study that scored `identification`")],
    sheet: Annotated[Path | None, typer.Option(help="also a PNG: training images, base, last epoch")] = None,
    config: Annotated[str | None, typer.Option(help="the config on the sheet; default: the best identified")] = None,
    as_json: Json = False,
) -> None:
    """Which concepts a study's configs have learnt: a classifier with decoys of equal colours names their images.

    One row a config and category: last epoch, seeds pooled, with Wilson's 95 % interval.
    """
    early_checks.check_run(run)
    from lorabench.api import findings
    from lorabench.cli import cells, finding_words

    found = findings.identified(run)
    if found.empty:
        raise UserError(f"The study in {run} did not score `identification`: see configs/mini.toml for how to.")
    shown = None if sheet is None else findings.adapter_sheet(run, found, config, sheet)
    show_answer(found, as_json, finding_words.identified)
    if shown:
        print("\n".join(cells.wrapped(shown)), file=sys.stderr)
