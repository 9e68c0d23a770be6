"""kohya's folders: `10_sks dog` is shown ten times an epoch, and "sks dog" is the caption where there is no other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lorabench.datasets.assumed import Assumed
from lorabench.datasets.captions import read_captions
from lorabench.datasets.description import ConceptEntry, Description
from lorabench.datasets.layouts._entries import entry_of
from lorabench.datasets.pictures import PictureFolder, is_generic
from lorabench.datasets.words import descriptor_of
from lorabench.values import MANY

_NAME = re.compile(r"(\d+)_(.*)")


@dataclass(frozen=True)
class Named:
    """A folder whose name says how often and what."""

    path: PurePosixPath
    repeats: int
    words: str
    pictures: Sequence[Path]


def assume(seen: PictureFolder) -> Assumed | None:
    named = [each for path, pictures in seen.groups.items() if (each := _named(path, pictures, seen))]
    shown = [each for each in named if each.repeats]
    if not shown:
        return None
    entries: list[ConceptEntry] = []
    origins: dict[str, str] = {}
    remarks = [f"Folder {each.path} has no repeats and is left out." for each in named if not each.repeats]
    for words in dict.fromkeys(each.words for each in shown):
        for entry, origin, said in _entries(words, [each for each in shown if each.words == words], seen):
            entries.append(entry)
            origins[entry.path] = origin
            remarks += said
    # The folder itself may be one of them.
    name = shown[0].words if not shown[0].path.parts else ""
    description = Description(name=name, concept=entries)
    return Assumed("kohya's folders", seen.path, seen.path, description, origins, tuple(dict.fromkeys(remarks)))


def _named(path: PurePosixPath, pictures: Sequence[Path], seen: PictureFolder) -> Named | None:
    """What a folder's name says; None of any other folder, and of one that lies in folders with names of their own."""
    found = _NAME.fullmatch(path.name if path.parts else seen.path.resolve().name)
    above = path.parts[:-1]
    if not found or int(found[1]) > MANY or len(above) > 1 or not all(map(is_generic, above)):
        return None
    return Named(path, int(found[1]), found[2].strip(), pictures)


def words_of_folder(name: str) -> str:
    """What the name of one of kohya's folders says, "" if it is none."""
    found = _NAME.fullmatch(name)
    return found[2].strip() if found else ""


def _entries(words: str, folders: Sequence[Named], seen: PictureFolder) -> list[tuple[ConceptEntry, str, list[str]]]:
    """Folders of the same words are one concept, an entry each for their repeats; with what is to be said of each."""
    captions = [read_captions(each.pictures, seen.path) for each in folders]
    found = descriptor_of([text for each in captions for text in each.given], words)
    path = "." if not folders[0].path.parts else words or folders[0].path.name
    made = []
    for each, own in zip(folders, captions, strict=True):
        entry = entry_of(path, [str(each.path)], found, own, caption=words or "{}", repeats=each.repeats)
        made.append((entry, found.origin, list(own.remarks)))
    return made
