"""The dataset TOML of sd-scripts: `[[datasets]]` of `[[datasets.subsets]]`, each a folder of pictures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Annotated, Any

from pydantic import Field

from lorabench import untrusted
from lorabench.datasets.assumed import Assumed
from lorabench.datasets.captions import BESIDE, read_captions
from lorabench.datasets.description import ConceptEntry, Description
from lorabench.datasets.layouts._entries import entry_of
from lorabench.datasets.pictures import PictureFolder, images_in, is_generic
from lorabench.datasets.words import Descriptor, descriptor_of
from lorabench.errors import UserError
from lorabench.values import MANY, Name, read_toml

_THEIR_EXTENSION = ".caption"  # what sd-scripts reads where nobody says
_REPEATS = re.compile(r"\d+_")


class Settings(untrusted.FileRecord):
    """What is read of `[general]`, `[[datasets]]` and `[[datasets.subsets]]`; what the first two say holds for all."""

    num_repeats: Annotated[int, Field(le=MANY)] | None = None
    class_tokens: str | None = None
    caption_extension: Name | None = None
    caption_prefix: str | None = None
    caption_suffix: str | None = None


class Subset(Settings):
    image_dir: Name
    is_reg: bool = False
    metadata_file: Name | None = None


class Datasets(Settings):
    subsets: list[Subset] = []


class File(untrusted.FileRecord):
    general: Settings = Settings()
    datasets: Annotated[list[Datasets], Field(min_length=1)]


def assume(seen: PictureFolder) -> Assumed | None:
    file = seen.named or _only_file(seen.path)
    if file is None:
        return None
    read = untrusted.checked(read_toml(file), File, str(file))
    subsets = [(each, (each, of, read.general)) for of in read.datasets for each in of.subsets]
    remarks = [
        f"Subset {each.image_dir} is of class images (is_reg) and is left out." for each, _ in subsets if each.is_reg
    ]
    shown = {}
    for each, levels in subsets:
        repeats = _said("num_repeats", levels)
        if each.is_reg or (repeats is not None and repeats < 1):
            continue
        shown[_found(each.image_dir, file, remarks)] = (each, levels)  # once for each resolution it is trained at
    if not shown:
        raise UserError(f"{file}: none of its [[datasets.subsets]] names pictures to learn from (image_dir).")
    entries, origins = [], {}
    for folder, (subset, levels) in shown.items():
        entry, origin = _entry(folder, subset, levels, file, remarks)
        entry = _with_own_path(entry, entries)
        entries.append(entry)
        origins[entry.path] = origin
    remarks.append(f"Of {file.name} the folders, repeats and captions are read; how they train says the study.")
    description = Description(concept=entries)
    return Assumed("sd-scripts' dataset TOML", seen.path, file, description, origins, tuple(dict.fromkeys(remarks)))


def _only_file(folder: Path) -> Path | None:
    """The dataset TOML that lies in a folder. UserError for several."""
    found = [file for file in sorted(folder.glob("*.toml")) if _is_theirs(file)]
    if len(found) > 1:
        raise UserError(f"{folder} holds several dataset TOMLs: name one of {', '.join(map(str, found))}.")
    return found[0] if found else None


def _is_theirs(file: Path) -> bool:
    try:
        return "datasets" in read_toml(file)
    except UserError:  # another program's, and none of this one's business
        return False


def _said(key: str, levels: Sequence[Settings]) -> Any:
    """What a subset says, or else its data set, or else the whole file."""
    return next((value for level in levels if (value := getattr(level, key)) is not None), None)


def _found(text: str, file: Path, remarks: list[str]) -> Path:
    """The folder that is meant: from the file's, from where we are, or of that name beside the file. UserError."""
    name = PureWindowsPath(text).name if "\\" in text else PurePosixPath(text).name
    for folder in (file.parent / Path(text).expanduser(), Path(text).expanduser().absolute()):
        if folder.is_dir():
            return folder
    if name and (file.parent / name).is_dir():
        remarks.append(f"There is no folder {text} on this machine: {name} beside {file.name} is taken for it.")
        return file.parent / name
    raise UserError(f"{file}: there is no folder {text} (image_dir), and none called '{name}' beside the file.")


def _entry(
    folder: Path, subset: Subset, levels: Sequence[Settings], file: Path, remarks: list[str]
) -> tuple[ConceptEntry, str]:
    """The concept of a subset, and where its words were found."""
    root = file.parent
    place = _place(folder, root)
    tokens = " ".join((_said("class_tokens", levels) or "").split())
    about = ConceptEntry(
        path=".",
        trigger="",
        caption_extension=_extension(folder, levels, remarks),
        caption_file="" if subset.metadata_file is None else str(_metadata_file(subset.metadata_file, file)),
        caption_prefix=_said("caption_prefix", levels) or "",
        caption_suffix=_said("caption_suffix", levels) or "",
    )
    captions = read_captions(images_in(folder), root, about)
    said = [" ".join(part for part in (about.caption_prefix, text) if part) for text in captions.given]
    name = _REPEATS.sub("", folder.resolve().name, count=1) or folder.resolve().name
    found = descriptor_of(said, tokens or ("" if is_generic(name) else name))
    repeats = _said("num_repeats", levels) or 1
    entry = entry_of(name, [place], found, captions, caption=tokens or "{}", repeats=repeats)
    extras = {key: getattr(about, key) for key in about.model_fields_set if key.startswith("caption_")}
    remarks += captions.remarks
    if Path(place).is_absolute() and not folder.is_relative_to(root):
        remarks.append(f"Pictures outside of {root} are read: {folder}.")
    origin = found.origin.replace("the folder's name", "class_tokens") if tokens else found.origin
    return entry.model_copy(update=extras), origin


def _place(folder: Path, root: Path) -> str:
    here, there = folder.resolve(), root.resolve()
    return here.relative_to(there).as_posix() if here.is_relative_to(there) else str(here)


def _extension(folder: Path, levels: Sequence[Settings], remarks: list[str]) -> str:
    """Which files hold captions, "" = whichever there are."""
    said = _said("caption_extension", levels)
    if said:
        return str(said if said.startswith(".") else f".{said}")
    kinds = {file.suffix.lower() for file in folder.iterdir()} & set(BESIDE)
    if kinds and _THEIR_EXTENSION not in kinds:
        remarks.append(
            f"The .txt captions in {folder.name} are read, though no caption_extension says so: without it sd-scripts "
            f"itself reads {_THEIR_EXTENSION} files alone."
        )
        return ""
    return _THEIR_EXTENSION if kinds else ""


def _metadata_file(text: str, file: Path) -> Path:
    name = PureWindowsPath(text).name if "\\" in text else PurePosixPath(text).name
    for path in (file.parent / Path(text).expanduser(), Path(text).expanduser().absolute(), file.parent / name):
        if path.is_file():
            return Path(_place(path, file.parent))
    raise UserError(f"{file}: there is no file {text} (metadata_file), and none called '{name}' beside this one.")


def _with_own_path(entry: ConceptEntry, others: Sequence[ConceptEntry]) -> ConceptEntry:
    """The entry under a path that no other concept has."""

    def words(each: ConceptEntry) -> Descriptor:
        return Descriptor(each.trigger, each.class_word, each.keyword)

    path, number = entry.path, 1
    while any(other.path == path and words(other) != words(entry) for other in others):
        number += 1
        path = f"{entry.path} {number}"
    return entry.model_copy(update={"path": path})
