"""The one place that knows where a picture's caption stands: beside it, or in a file for many pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lorabench.datasets import metadata_files
from lorabench.datasets.description import ConceptEntry
from lorabench.datasets.metadata_files import Listed
from lorabench.datasets.pictures import count
from lorabench.errors import UserError

BESIDE = (".txt", ".caption")  # the first that is there
NONE = ConceptEntry(path=".", trigger="")  # says nothing of captions


@dataclass(frozen=True)
class Captions:
    """The captions of some pictures, "" where there is none, and what is to be said of them."""

    texts: Mapping[Path, str]
    unlisted: tuple[Path, ...] = ()  # not in the file that lists the pictures of their folder: no training pictures
    remarks: tuple[str, ...] = ()

    @property
    def given(self) -> list[str]:
        """Those that say something."""
        return [text for text in self.texts.values() if text]

    @property
    def missing(self) -> list[Path]:
        return [path for path, text in self.texts.items() if not text]


def read_captions(pictures: Sequence[Path], root: Path, entry: ConceptEntry = NONE) -> Captions:
    """Captions as they are written, on one line each; `entry` says where else than usual they are. UserError."""
    texts: dict[Path, str] = {}
    unlisted: list[Path] = []
    remarks: dict[str, None] = {}
    beside_twice, listed_too = [], []
    folders: dict[Path, list[Path]] = {}
    for picture in pictures:
        folders.setdefault(picture.parent, []).append(picture)
    files_read: dict[Path, Listed] = {}
    for folder, inside in folders.items():
        beside = _texts_in(folder, (entry.caption_extension,) if entry.caption_extension else BESIDE)
        listed = _listed(folder, root, entry, files_read)
        remarks |= dict.fromkeys(listed.remarks if listed else ())
        for picture in inside:
            files, row = _files_of(picture, beside), listed.caption(picture) if listed else None
            if listed and row is None and not files:
                unlisted.append(picture)
                continue
            texts[picture] = row or next((text for text in map(_read, files) if text), "")
            beside_twice += [picture] if len(files) > 1 and not row else []
            listed_too += [picture] if files and row else []
    return Captions(texts, tuple(unlisted), (*remarks, *_of_two(beside_twice, BESIDE), *_of_two(listed_too, _IN_FILE)))


_IN_FILE = ("the metadata file's", "one beside it")


def read_beside(pictures: Sequence[Path], extension: str) -> dict[Path, str]:
    """The captions in files of that extension beside the pictures that have one. UserError."""
    beside = {folder: _texts_in(folder, (extension,)) for folder in {picture.parent for picture in pictures}}
    files = {picture: _files_of(picture, beside[picture.parent]) for picture in pictures}
    return {picture: _read(found[0]) for picture, found in files.items() if found}


def _of_two(pictures: Sequence[Path], kinds: tuple[str, str]) -> list[str]:
    """The sentence about pictures with two captions: the first kind is read."""
    if not pictures:
        return []
    what = count(len(pictures), "picture")
    return [f"{what} with two captions, {kinds[0]} and {kinds[1]} ({pictures[0].name}, ...): {kinds[0]} is read."]


def _listed(folder: Path, root: Path, entry: ConceptEntry, files_read: dict[Path, Listed]) -> Listed | None:
    """What the file that lists a folder's pictures says of them; None where there is none."""
    if entry.caption_file and Path(entry.caption_file).suffix == ".json":
        return metadata_files.read_fine_tuning(_existing(root / entry.caption_file), folder)
    if entry.caption_file:
        file: Path | None = _existing(root / entry.caption_file)
    else:
        file = None if entry.caption_extension else metadata_files.governing(folder, root)
    if file is None:
        return None
    if file not in files_read:
        files_read[file] = metadata_files.read_listed(file)
    return files_read[file]


def _existing(file: Path) -> Path:
    if not file.is_file():
        raise UserError(f"There is no file {file} of captions (caption_file).")
    return file


def _texts_in(folder: Path, extensions: Sequence[str]) -> list[Mapping[str, Path]]:
    """For each extension, however it is spelled, the files of a folder by their name without it."""
    files = sorted(file for file in folder.iterdir() if file.is_file())
    # a.TXT is of a.jpg, too; where there is a.txt, that.
    return [
        {file.name[: -len(end)]: file for file in reversed(files) if file.name.lower().endswith(end.lower())}
        for end in extensions
    ]


def _files_of(picture: Path, beside: Sequence[Mapping[str, Path]]) -> list[Path]:
    """The caption files of a picture, a.txt or a.jpg.txt of a.jpg, an extension each, the one to read first."""
    found = [texts.get(picture.stem) or texts.get(picture.name) for texts in beside]
    return [file for file in found if file is not None]


def _read(file: Path) -> str:
    try:
        return " ".join(file.read_text(encoding="utf-8-sig").split())
    except UnicodeDecodeError as error:
        raise UserError(f"Caption {file} is not UTF-8 text ({error.reason}). Save it as UTF-8.") from error
