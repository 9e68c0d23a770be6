"""Hugging Face's imagefolder: metadata.jsonl, .csv or .parquet lists the pictures, in split folders or without."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Literal

from lorabench.datasets import metadata_files
from lorabench.datasets.assumed import Assumed
from lorabench.datasets.captions import read_captions
from lorabench.datasets.description import Description
from lorabench.datasets.layouts._entries import entry_of
from lorabench.datasets.pictures import PictureFolder, is_generic, is_split
from lorabench.datasets.words import descriptor_of


def assume(seen: PictureFolder) -> Assumed | None:
    """One concept for each metadata file; None if other pictures lie beside those that such files list."""
    groups: dict[PurePosixPath, list[PurePosixPath]] = {}
    for folder in seen.groups:
        file = metadata_files.governing(seen.path / folder, seen.path)
        if file is None:
            return None
        groups.setdefault(seen.relative(file.parent), []).append(folder)
    entries, origins, remarks = [], {}, []
    repeats: int | Literal["balance"] = "balance" if len(groups) > 1 else 1
    for place, folders in groups.items():
        pictures = [picture for folder in folders for picture in seen.groups[folder]]
        captions = read_captions(pictures, seen.path)
        if not captions.texts:
            continue
        path = _concept_path(place)
        found = descriptor_of(captions.given, path.name.replace("_", " "))
        listed = list(dict.fromkeys(str(seen.relative(picture.parent)) for picture in captions.texts))
        entries.append(entry_of(str(path), listed, found, captions, repeats=repeats))
        origins[str(path)] = found.origin
        remarks += captions.remarks
    if not entries:
        return None
    return Assumed(
        f"Hugging Face's imagefolder ({_file_name(seen, groups)})",
        seen.path,
        seen.path,
        Description(concept=entries),
        origins,
        tuple(dict.fromkeys(remarks)),
    )


def _concept_path(place: PurePosixPath) -> PurePosixPath:
    """Of a split's folder the data set is the concept."""
    return PurePosixPath(*[part for part in place.parts if not (is_split(part) or is_generic(part))])


def _file_name(seen: PictureFolder, groups: dict[PurePosixPath, list[PurePosixPath]]) -> str:
    file = metadata_files.governing(seen.path / next(iter(groups)), seen.path)
    return Path(file).name if file else ""
