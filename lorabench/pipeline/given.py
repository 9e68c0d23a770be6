"""Adapters that people bring, as what they hold."""

from __future__ import annotations

from pathlib import Path

from lorabench import store
from lorabench.formats import peft


def content_hash(path: Path) -> str:
    """Of a file, or of all files of a folder."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if _is_of(file, path))
    return store.key_of("file", 1, [store.file_hash(file) for file in files], [])


def _is_of(file: Path, folder: Path) -> bool:
    """Is a file one of a peft adapter's? Its trainer saves other adapters below it."""
    return file.is_file() and peft.folder_of(file) == folder
