"""A finished run, damaged on purpose: its files by kind, and what can happen to each."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd

TABLES = (
    "scores",
    "normalized",
    "category_scores",
    "attributions",
    "explanations",
    "images",
    "failures",
    "probes",
    "files",
)


def _flip_one_bit(file: Path, other: Path, rng: random.Random) -> None:
    content = bytearray(file.read_bytes())
    place = rng.randrange(len(content))
    content[place] ^= 1 << rng.randrange(8)
    file.write_bytes(content)


def _truncate(file: Path, other: Path, rng: random.Random) -> None:
    os.truncate(file, rng.randrange(1, file.stat().st_size))


def _empty(file: Path, other: Path, rng: random.Random) -> None:
    file.write_bytes(b"")


def _delete(file: Path, other: Path, rng: random.Random) -> None:
    file.unlink()


def _replace(file: Path, other: Path, rng: random.Random) -> None:
    shutil.copyfile(other, file)


DAMAGES: dict[str, Callable[[Path, Path, random.Random], None]] = {
    "one bit": _flip_one_bit,
    "truncated": _truncate,
    "empty": _empty,
    "deleted": _delete,
    "another file's bytes": _replace,
}


def kinds(run: Path) -> dict[str, list[Path]]:
    """Every file of a run by what it is: the part of the run, whose it is, and its name without number."""
    found: dict[str, list[Path]] = {}
    for file in sorted(run.rglob("*")):
        place = file.relative_to(run)
        if not file.is_file() or place.parts[0].startswith("."):
            continue
        owner = place.parts[1] if len(place.parts) > 1 and place.parts[1] in ("base", "dataset", "texts") else "adapter"
        name = "picture" if file.suffix == ".png" else file.name
        kind = name if len(place.parts) == 1 else " ".join((place.parts[0], owner, name))
        found.setdefault(kind, []).append(file)
    return found


def another(file: Path, files: list[Path]) -> Path:
    """A file of the same kind, or where there is none of the same kind of content, whose bytes differ."""
    like = [each for each in files if each != file] or [each for each in file.parent.iterdir() if each != file]
    content = file.read_bytes()
    return next((each for each in like if each.is_file() and each.read_bytes() != content), Path(__file__))


def differences(run: Path, undisturbed: Path) -> list[str]:
    """The tables in which two runs differ; times and versions in `costs` may."""
    different = []
    for name in TABLES:
        ours, theirs = (pd.read_parquet(folder / f"{name}.parquet") for folder in (run, undisturbed))
        if not ours.equals(theirs):
            different.append(name)
    return different
