"""Folders as category/class[/sub-class], or a folder a class: the paper's, and any collection of subjects."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Literal

from lorabench.datasets.assumed import Assumed
from lorabench.datasets.captions import Captions, read_captions
from lorabench.datasets.description import DESCRIPTION, ConceptEntry, Description
from lorabench.datasets.hierarchy import place_of, usual_alignment
from lorabench.datasets.layouts._entries import entry_of
from lorabench.datasets.pictures import PictureFolder, is_split
from lorabench.datasets.words import Descriptor, descriptor_of
from lorabench.errors import UserError


def assume(seen: PictureFolder) -> Assumed:
    entries, origins, remarks = [], {}, []
    repeats: int | Literal["balance"] = "balance" if len(seen.groups) > 1 else 1
    for folder, pictures in seen.groups.items():
        path = _concept_path(folder)
        if len(path.parts) > 3:
            raise UserError(
                f"Data set {seen.path}: '{folder}' is deeper than category/class/sub-class. "
                f"Move the images up or write a {DESCRIPTION}."
            )
        captions = read_captions(pictures, seen.path)
        found = _descriptor(path, captions, seen)
        entries.append(_entry(path, folder, found, captions, repeats))
        origins[str(path)] = found.origin
        remarks += captions.remarks
    if repeats == "balance":
        remarks.append("Images are repeated so that an epoch shows every class about equally often.")
    return Assumed(
        "folders that are category/class[/sub-class]",
        seen.path,
        seen.path,
        Description(concept=entries),
        origins,
        tuple(dict.fromkeys(remarks)),
    )


def _concept_path(folder: PurePosixPath) -> PurePosixPath:
    """train/dog is of the class dog."""
    return folder.relative_to(folder.parts[0]) if len(folder.parts) > 1 and is_split(folder.parts[0]) else folder


def _descriptor(path: PurePosixPath, captions: Captions, seen: PictureFolder) -> Descriptor:
    _, class_name, subclass = place_of(path, seen.path.resolve().name)
    found = descriptor_of(captions.given, class_name.replace("_", " "))
    second = {(caption.split(",") + [""])[1].strip() for caption in captions.given}
    # A sub-class's keyword follows the descriptor in every caption; of a class without sub-classes it is just a tag.
    keyword = second.pop() if subclass and len(second) == 1 else ""
    return Descriptor(found.trigger, found.class_word, keyword, found.origin)


def _entry(
    path: PurePosixPath, folder: PurePosixPath, found: Descriptor, captions: Captions, repeats: int | Literal["balance"]
) -> ConceptEntry:
    category, class_name = path.parts[0] if len(path.parts) > 1 else "", path.parts[min(1, len(path.parts) - 1)]
    alignment = usual_alignment(category, class_name.replace("_", " "), found.class_word)
    return entry_of(str(path), [str(folder)], found, captions, repeats=repeats, alignment=alignment)
