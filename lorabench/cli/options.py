"""What several commands may be told."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lorabench.api.requests import How
from lorabench.values import MANY, MOST_WORKERS

StudyFile = Annotated[
    Path, typer.Argument(metavar="STUDY", help="a study file, or the name of one that comes along: mini, paper, ...")
]
Out = Annotated[Path | None, typer.Option(help="folder of the results; default results/<study>")]
Device = Annotated[
    str | None, typer.Option(callback=lambda name: How(name).device, help="auto, cpu, cuda, cuda:1 or mps")
]  # a name that is none is refused before torch is loaded
Workers = Annotated[int | None, typer.Option(min=0, max=MOST_WORKERS, help="processes; 0 = chosen by device and model")]
ExecutorChoice = Annotated[
    str | None, typer.Option("--executor", help="local: this machine; ray: all machines of a Ray cluster")
]
Address = Annotated[
    str | None, typer.Option(help="of the Ray cluster: auto (the one of this machine), or HOST:PORT of its head")
]
Compile = Annotated[
    bool, typer.Option("--compile", help="compile the U-Net for drawing: minutes at the start, faster pictures")
]
Share = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="i/n",
        help="do the i-th of n shares of the tasks, beside others in the same folder; by default the task of a Slurm "
        "array; 1/1 = all",
    ),
]
Only = Annotated[list[str] | None, typer.Option(help="configs to run, as glob patterns; repeatable")]
Limit = Annotated[int | None, typer.Option(min=1, max=MANY, help="at most so many trainings (config x seed)")]
UntilWhen = Annotated[
    str | None,
    typer.Option("--until", help="all: draw every image; decided: in rounds, until it is known which configs are best"),
]
Criteria = Annotated[
    list[str] | None,
    typer.Option("--criterion", help="to be decided: fidelity, ...; repeatable; default: all that are measured"),
]
FalseRate = Annotated[
    float | None,
    typer.Option("--rate", help="share of the differences called real that may be expected to be none; default 0.05"),
]
Equivalent = Annotated[
    float | None, typer.Option(help="scores (0 = last, 1 = first) that differ by less are as good as equal")
]
BudgetGiven = Annotated[
    str | None,
    typer.Option("--budget", metavar="AMOUNT", help="stop after 20h of work, 100000img, 15% of the images or 10kWh"),
]
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
