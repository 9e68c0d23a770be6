"""Files: whole or not at all, under names that every file system takes, and known by size, times and SHA-256."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import os
import re
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import numpy as np
from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from lorabench.errors import UserError
from lorabench.hashes import file_hash

SEAL = "seal"
LONGEST_NAME = 150  # bytes; file systems stop at 255, and temporary names are longer than the final ones
# How libraries that write through native code say what the system answered: without an errno.
_SYSTEM_ERROR = re.compile(r"(?:os error|errno) (\d+)", re.I)
_DISK_FULL = re.compile(r"no space left|storage ?full|file write failed|unexpected pos", re.I)
_Record = TypeVar("_Record")


@dataclass(frozen=True, config={"strict": True, "extra": "forbid"})
class FileRecord:
    """What a file held when it was written. `modified` and `changed` are its times of content and of inode, in ns."""

    bytes: int
    sha256: str
    modified: int
    changed: int


def record_of(path: Path) -> FileRecord:
    """A file as it is now."""
    state = path.stat()
    return FileRecord(state.st_size, file_hash(path), state.st_mtime_ns, state.st_ctime_ns)


def compare(path: Path, record: FileRecord, thorough: bool = False) -> tuple[str, FileRecord]:
    """What is wrong with a file ("" = nothing), and its record with the times that it has now.

    A file whose size and times are as recorded is hashed only if `thorough`: times change with every writing, but not
    where a disk loses a bit.
    """
    fault = size_fault(path, record)
    if fault:
        return fault, record
    try:
        state = path.stat()
        now = replace(record, modified=state.st_mtime_ns, changed=state.st_ctime_ns)
        if (thorough or now != record) and file_hash(path) != record.sha256:
            return f"{path.name} does not hold what was written (its SHA-256 differs)", record
    except (FileNotFoundError, NotADirectoryError):
        return f"{path.name} is missing", record
    except OSError as error:
        return f"{path.name} cannot be read: {error.strerror}", record
    return "", now


def size_fault(path: Path, record: FileRecord) -> str:
    """What is wrong with a file as far as its size shows; "" = nothing."""
    try:
        size = path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return f"{path.name} is missing"
    except OSError as error:
        return f"{path.name} cannot be read: {error.strerror}"
    return "" if size == record.bytes else f"{path.name} has {size} bytes, not the {record.bytes} that were written"


def examine(
    folder: Path, files: Mapping[str, FileRecord], thorough: bool = False
) -> tuple[dict[str, str], dict[str, FileRecord]]:
    """What is wrong with which of the files in `folder`, and the records of all with their present times."""
    found = {name: compare(folder / name, record, thorough) for name, record in files.items()}
    faults = {name: fault for name, (fault, _) in found.items() if fault}
    return faults, {name: record for name, (_, record) in found.items()}


def write_sealed(path: Path, record: Any) -> None:
    """A dataclass as a JSON file with a hash of its own: JSON with another digit is JSON too."""
    content = asdict(record)
    write_json(path, content | {SEAL: hashlib.sha256(_canonical(content)).hexdigest()})


def read_sealed(path: Path, kind: type[_Record]) -> _Record:
    """The record of such a file. FileNotFoundError if there is none, ValueError with what is wrong with it."""
    try:
        content = json.loads(path.read_bytes())
        seal = content.pop(SEAL, "") if isinstance(content, dict) else ""
        text = _canonical(content)
        if hashlib.sha256(text).hexdigest() != seal:
            raise ValueError(f"{path.name} does not hold what was written")
        return _adapter(kind).validate_json(text)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(str(path)) from error
    except OSError as error:
        raise ValueError(f"{path.name} cannot be read: {error.strerror}") from error
    except (ValidationError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path.name} is no record that this version writes") from error


def _canonical(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True, default=plain).encode()


_adapter = functools.cache(TypeAdapter)


@functools.lru_cache(maxsize=2**14)
def safe_name(text: str) -> str:
    """A text as one path component that every file system takes, readable by eye; long ones end in a hash."""
    if text in (".", ".."):
        return text.replace(".", "%2E")
    name = quote(text, safe=" -_.,()+=")
    return name if len(name) <= LONGEST_NAME else f"{name[:130]}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


@contextlib.contextmanager
def system_errors(path: Path) -> Iterator[None]:
    """Inside, what native code says of a full or read-only disk is raised as the OSError that it is, about `path`."""
    try:
        yield
    except (OSError, UserError):
        raise
    except Exception as error:
        said = _SYSTEM_ERROR.search(str(error))
        if said is None and not _DISK_FULL.search(str(error)):
            raise
        number = int(said[1]) if said else errno.ENOSPC
        raise OSError(number, os.strerror(number), str(path)) from error


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `path` if nothing goes wrong and vanishes if something does.

    UserError if `path` exists, OSError if it cannot be written.
    """
    if path.exists():
        raise UserError(f"{path} exists; remove it or name another one.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".partial-") as scratch:
        filled = Path(scratch) / path.name
        filled.mkdir()
        with system_errors(path):
            yield filled
        filled.rename(path)


def write_json(path: Path, content: Any) -> None:
    """A JSON file, whole or not at all."""
    text = json.dumps(content, indent=1, sort_keys=True, default=plain) + "\n"
    replace_file(path, lambda scratch: scratch.write_text(text))


def read_json(path: Path) -> Any:
    """The content of a JSON file, or None if there is none."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """What `write` puts into the file that it is given becomes `path`, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        write(scratch)
        sync(scratch)
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def let_read(path: Path) -> None:
    """Give a new file the mode that `open` gives: safetensors lets nobody but the owner read what it writes."""
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)


def sync(path: Path) -> None:
    """Push a file, or a folder and all in it, to the disk: a rename must not outrun its content."""
    for item in [path, *path.rglob("*")] if path.is_dir() else [path]:
        handle = os.open(item, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def plain(value: Any) -> Any:
    """What JSON does not know: dataclasses, paths, numpy scalars."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"Cannot write {type(value).__name__} as JSON")
