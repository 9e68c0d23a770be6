"""The commands about what there is: published measurements, classes of pictures, components, this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from lorabench import api
from lorabench.api import early_checks
from lorabench.cli import closing
from lorabench.cli.app import app
from lorabench.cli.options import Json, Quiet
from lorabench.cli.output import show
from lorabench.values import LARGEST_SEED


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
    early_checks.existing(clone, "Folder", "")
    from lorabench.api import replaying

    summary = replaying.replayed(clone, out)
    print(json.dumps(summary, indent=1) if as_json else closing.replayed(summary))


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
        Path | None, typer.Argument(metavar="RUN", help="folder of a study's results; else this machine")
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
