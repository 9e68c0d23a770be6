"""Captions in one file for many pictures: Hugging Face's metadata.jsonl, .csv and .parquet, sd-scripts' JSON."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from lorabench import untrusted
from lorabench.datasets.pictures import IMAGE_SUFFIXES, count
from lorabench.errors import UserError
from lorabench.values import given

NAMES = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
FILE_COLUMN = "file_name"
CAPTION_COLUMNS = ("text", "caption", "prompt")  # the first that is there

_Row = Mapping[str, Any]


@dataclass(frozen=True)
class Listed:
    """The pictures that a file lists, each with its caption ("" = none), and what is to be said of it."""

    file: Path
    captions: Mapping[str, str]  # by normal path
    remarks: tuple[str, ...] = ()

    def caption(self, picture: Path) -> str | None:
        """None for a picture that is not listed."""
        return self.captions.get(os.path.normpath(picture))


def governing(folder: Path, root: Path) -> Path | None:
    """The file in a folder, or in the nearest one above it up to `root`, that lists pictures; None if there is none."""
    above = [each for each in (folder, *folder.parents) if each.is_relative_to(root)] or [folder]
    return next((each / name for each in above for name in NAMES if _lists(each / name)), None)


def read_listed(file: Path) -> Listed:
    """The rows of metadata.jsonl, .csv or .parquet. UserError for a file that is broken."""
    rows = list(_rows(file))
    columns = {column for row in rows for column in row}
    column = next((name for name in CAPTION_COLUMNS if name in columns), None)
    captions = {}
    for number, row in enumerate(rows, 1):
        place = f"{file}, row {number}"
        name = _text(row.get(FILE_COLUMN), f"{place}: '{FILE_COLUMN}'")
        captions[_below(file.parent, name, place)] = _text(row.get(column), f"{place}: '{column}'") if column else ""
    remarks = []
    if column is None:
        known = ", ".join(CAPTION_COLUMNS)
        others = ", ".join(sorted(columns - {FILE_COLUMN})) or f"nothing but {FILE_COLUMN}"
        remarks.append(f"{file} has no column of captions ({known}), but {others}.")
    absent = [path for path in captions if not Path(path).is_file()]
    if absent:
        remarks.append(f"{file} lists what is not there: {count(len(absent), 'picture')}, first {absent[0]}.")
    return Listed(file, captions, tuple(remarks))


def read_fine_tuning(file: Path, folder: Path) -> Listed:
    """sd-scripts' `metadata_file` for the pictures of a folder: image key -> caption and tags."""
    captions = {}
    for key, entry in untrusted.read_json(file).root.items():
        if not isinstance(entry, dict):
            raise UserError(f"{file}: '{key}': must be a table with a caption, got {given(entry)}.")
        parts = [_text(entry.get(name), f"{file}: '{key}.{name}'") for name in ("caption", "tags")]
        path = PurePosixPath(key.replace("\\", "/"))
        # Keys are paths of the machine on which it was written, with or without a suffix.
        stem = path.stem if path.suffix.lower() in IMAGE_SUFFIXES else path.name
        captions[stem] = ", ".join(part for part in parts if part)
    found = {os.path.normpath(each): captions[each.stem] for each in folder.iterdir() if each.stem in captions}
    return Listed(file, found)


# --- rows -------------------------------------------------------------------------------------------------------------


def _lists(file: Path) -> bool:
    """Is it there, and a list of files? A table without their names is somebody's own."""
    return file.is_file() and any(FILE_COLUMN in row for row in _rows(file))


def _rows(file: Path) -> Iterator[_Row]:
    readers = {".csv": _of_csv, ".parquet": _of_parquet}
    try:
        yield from readers.get(file.suffix, _of_jsonl)(file)
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not UTF-8 text ({error.reason}). Save it as UTF-8.") from error


def _of_jsonl(file: Path) -> Iterator[_Row]:
    for number, line in enumerate(file.read_text(encoding="utf-8-sig").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{file}, line {number}: not valid JSON ({error}).") from error
        if not isinstance(row, dict):
            raise UserError(f"{file}, line {number}: must be a table, {{...}}, got {given(row)}.")
        yield row


def _of_csv(file: Path) -> Iterator[_Row]:
    with file.open(encoding="utf-8-sig", newline="") as opened:
        try:
            yield from csv.DictReader(opened)
        except csv.Error as error:
            raise UserError(f"{file} is not a readable CSV file: {error}.") from error


def _of_parquet(file: Path) -> Sequence[_Row]:
    import pyarrow.parquet  # few data sets have one

    try:
        opened = pyarrow.parquet.ParquetFile(file)
        wanted = [name for name in opened.schema_arrow.names if name in (FILE_COLUMN, *CAPTION_COLUMNS)]
        return opened.read(columns=wanted).to_pylist()
    except MemoryError:
        raise
    except Exception as error:  # a broken file may be broken in any way
        raise UserError(f"{file} is not a readable parquet file: {' '.join(str(error).split())}.") from error


def _text(value: object, place: str) -> str:
    if value is not None and not isinstance(value, str):
        raise UserError(f"{place}: must be text, got {given(value)}.")
    return " ".join((value or "").split())


def _below(folder: Path, name: str, place: str) -> str:
    path = PurePosixPath(name.replace("\\", "/"))
    if not name or path.is_absolute() or ".." in path.parts or "\0" in name:
        raise UserError(f"{place}: '{FILE_COLUMN}' must be a path inside {folder}, got '{name}'.")
    return os.path.normpath(folder / path)
