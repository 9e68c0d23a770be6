"""The command about pictures: what a folder is read as."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lorabench.cli.app import ClassWord, Json, Trigger, app
from lorabench.cli.cells import wrapped
from lorabench.cli.output import on_screen, print_json, show_one, table
from lorabench.datasets import Words


@app.command()
def dataset(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="pictures, however laid out, or the TOML of them")],
    write: Annotated[bool, typer.Option("--write", help="write the dataset.toml that was assumed, to edit")] = False,
    trigger: Trigger = None,
    class_word: ClassWord = None,
    as_json: Json = False,
) -> None:
    """Say what a folder of pictures is read as: layout, concepts, their words, captions, and what is left out.

    Knows a plain folder (DreamBooth), kohya's N_name folders, Hugging Face's imagefolder, sd-scripts' dataset TOML,
    category/class folders and lorabench's own dataset.toml. Exit code 1 where nobody says how prompts call a concept.
    """
    from lorabench.api import pictures

    found = pictures.dataset(folder, Words(trigger or "", class_word or ""))
    file = str(pictures.write(found)) if write else None
    rows, about = found.concepts(), found.facts()
    if as_json:
        print_json(
            about | {"concepts": rows, "assumptions": found.assumptions, "lacking": found.lacking, "written": file}
        )
    else:
        show_one(about, False)
        print(f"\n{table(rows)}\n")
        said = (
            *found.assumptions,
            *([found.lacking] if found.lacking else []),
            *([f"Written: {file}"] if file else []),
        )
        print("\n".join(line for sentence in said for line in wrapped(on_screen(sentence), "  ")))
    if found.lacking:
        raise typer.Exit(1)
