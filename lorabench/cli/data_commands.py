"""The command about pictures: what a folder is read as."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lorabench import api
from lorabench.cli.app import app
from lorabench.cli.options import ClassWord, Device, Json, Quiet, StudyFile, Trigger
from lorabench.cli.output import on_screen, print_json, rows_of, show_one, table
from lorabench.errors import UserError
from lorabench.values import MOST_PICTURES


@app.command()
def captions(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="pictures, however laid out, or the TOML of them")],
    strategy: Annotated[str | None, typer.Option(help="write captions: all, adjusted or none")] = None,
    tags: Annotated[str, typer.Option(help="extension of files with tags beside the pictures")] = "",
    tagger: Annotated[str, typer.Option(help="wd14, blip, or mini, the miniature world's own")] = "",
    weights: Annotated[Path | None, typer.Option(help="folder of the tagger's files")] = None,
    threshold: Annotated[float, typer.Option(min=0, max=1, help="probability from which a tag is taken")] = 0.35,
    blacklist: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help='tags bound to concepts: "toys/*" = ["red", "animal"]')
    ] = None,
    kind: Annotated[str, typer.Option(help='what the captions are called; default: "all tags", "no tags", ...')] = "",
    trigger: Trigger = None,
    class_word: ClassWord = None,
    replace: Annotated[bool, typer.Option("--replace", help="write caption files that are there anew")] = False,
    device: Device = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say which tags a data set's pictures have, by concept, and write captions made of them.

    Tags are those of the captions that are there, of files (--tags), or of a tagger. A tag that most pictures of a
    concept have is likely bound to it: a caption that names it teaches the tag, not the concept.
    """
    found = api.captions(
        folder, strategy=strategy, tags=tags, tagger=tagger, weights=weights, threshold=threshold, blacklist=blacklist,
        kind=kind, trigger=trigger or "", class_word=class_word or "", replace=replace, device=device, quiet=quiet,
    )  # fmt: skip
    if as_json:
        print_json(vars(found))
        return
    usual = found.table.groupby("concept", sort=False).head(MOST_TAGS)
    words = {"share": usual["share"].map("{:.0%}".format), "dropped": usual["dropped"].map({True: "yes", False: ""})}
    print(table(rows_of(usual.assign(**words))) if len(usual) else "No picture has a tag.")
    more = len(found.table) - len(usual)
    print(f"{more} rarer tags are left out; --json has them." if more else "")
    if strategy:
        example = next(iter(found.captions.values()), "")
        print(f"{len(found.written)} captions are written, {len(found.kept)} files stay as they were; e.g. '{example}'")


@app.command("class-images")
def class_images(
    study: StudyFile,
    count: Annotated[int, typer.Option(min=1, max=MOST_PICTURES, help="pictures of each class word")] = 100,
    out: Annotated[Path | None, typer.Option(help="folder for them; default: the study's data.class_images")] = None,
    device: Device = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Draw pictures of each class with the base model, for training.prior_weight (DreamBooth's prior preservation).

    A folder a class word, each picture with its caption; those that are there stay, so it goes on where it was
    interrupted.
    """
    found = api.class_images(study, count=count, out=out, device=device, quiet=quiet)
    if as_json:
        print_json(vars(found))
        return
    for word, number in found.classes.items():
        print(f"{word}: {number} pictures")
    print(f"{found.folder}: {found.made} are new")


MOST_TAGS = 8  # of a concept, on a terminal
_WORDS = {"class_word": "class word", "without_caption": "without"}


@app.command()
def dataset(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="pictures, however laid out, or the TOML of them")],
    into: Annotated[
        Path | None,
        typer.Argument(metavar="INTO", help="after a skeleton's name: INTO --skeleton NAME"),
    ] = None,
    write: Annotated[bool, typer.Option("--write", help="write the dataset.toml that was assumed, to edit")] = False,
    skeleton: Annotated[
        str, typer.Option(help="paper: write that data set's dataset.toml, without pictures, and say what is missing")
    ] = "",
    trigger: Trigger = None,
    class_word: ClassWord = None,
    as_json: Json = False,
) -> None:
    """Say what a folder of pictures is read as: layout, concepts, their words, captions, and what is left out.

    Knows a plain folder (DreamBooth), kohya's N_name folders, Hugging Face's imagefolder, sd-scripts' dataset TOML,
    category/class folders and lorabench's own dataset.toml. Exit code 1 where nobody says how prompts call a concept.
    """
    from lorabench.cli.cells import without_empty, wrapped

    if into is not None:
        if skeleton:
            raise UserError(f"Name one folder with --skeleton {skeleton}, not both {folder} and {into}.")
        folder, skeleton = into, str(folder)
    found = api.dataset(folder, trigger=trigger or "", class_word=class_word or "", write=write, skeleton=skeleton)
    if as_json:
        said = {"assumptions": found.assumptions, "lacking": found.lacking, "written": found.written}
        print_json(found.facts() | {"concepts": found.concepts()} | said)
    else:
        show_one({name.replace("_", " "): value for name, value in found.facts().items()}, False)
        concepts = rows_of(found.concepts().rename(columns=_WORDS))
        print(f"\n{table(without_empty(concepts))}\n" if concepts else "")
        said = [*found.assumptions, found.lacking, f"Written: {found.written}" if found.written else ""]
        print("\n".join(line for sentence in said for line in wrapped(on_screen(sentence), "  ")))
    if found.lacking:
        raise typer.Exit(1)
