"""Where artifacts live: each whole or not at all, under a key that says what it was made from.

An artifact is a folder whose `meta.json` was written last. It is prepared in `<run>/.tmp`, synced to disk and renamed
into place, so a reader sees all of it or none, whatever moment a process dies at.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd

from lorabench.errors import UserError
from lorabench.records import Provenance

META = "meta.json"
LONGEST_NAME = 150  # bytes; file systems stop at 255, and temporary names are longer than the final ones
# How libraries that write through native code say what the system answered: without an errno.
_SYSTEM_ERROR = re.compile(r"(?:os error|errno) (\d+)", re.I)
_DISK_FULL = re.compile(r"no space left|storage ?full|file write failed|unexpected pos", re.I)
RECORDED_PACKAGES = ("torch", "torchvision", "diffusers", "transformers", "timm", "open_clip_torch", "catboost", "shap")


def key_of(stage: str, version: int, parameters: Any, inputs: Sequence[str]) -> str:
    """sha256 over the stage, its version, its parameters (JSON-able or dataclasses) and the keys of its inputs."""
    content = json.dumps([stage, version, parameters, list(inputs)], sort_keys=True, default=_plain)
    return hashlib.sha256(content.encode()).hexdigest()


def file_hash(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def safe_name(text: str) -> str:
    """A text as one path component that every file system takes, readable by eye; long ones end in a hash."""
    if text in (".", ".."):
        return text.replace(".", "%2E")
    name = quote(text, safe=" -_.,()+=")
    return name if len(name) <= LONGEST_NAME else f"{name[:130]}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


class RunFolder:
    """The folder of one study's results: artifacts, tables, and a lock so that two runs do not mix."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._scratch = root / ".tmp"

    def path(self, *parts: str) -> Path:
        return self.root.joinpath(*(safe_name(part) for part in parts))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process. UserError if it cannot be written or another run holds it."""
        import fcntl

        try:
            self.root.mkdir(parents=True, exist_ok=True)
            lock = (self.root / ".lock").open("w")
        except OSError as error:
            raise UserError(
                f"Cannot write results to {self.root}: {error.strerror}. Choose another folder with --out."
            ) from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError(
                    f"Another run is writing to {self.root}; wait for it or choose another --out."
                ) from error
            shutil.rmtree(self._scratch, ignore_errors=True)  # leavings of a run that was killed
            yield

    @contextlib.contextmanager
    def writing(
        self, folder: Path, key: str, inputs: Sequence[str] = (), device: str = "cpu", since: float | None = None
    ) -> Iterator[Path]:
        """Prepare an artifact in the yielded folder; it appears at `folder` when the block ends well, else never.

        `since`: `time.perf_counter()` when the work on it began, where that was before the block.
        """
        clock = time.perf_counter() if since is None else since
        started = datetime.now(UTC) - timedelta(seconds=time.perf_counter() - clock)
        scratch = self._scratch / uuid.uuid4().hex
        scratch.mkdir(parents=True)
        try:
            with system_errors(folder):
                yield scratch
            size = sum(file.stat().st_size for file in scratch.rglob("*") if file.is_file())
            provenance = provenance_of(device, started, time.perf_counter() - clock, inputs)
            _write_json(scratch / META, {"key": key, "bytes": size, "provenance": asdict(provenance)})
            _sync(scratch)
            self._move(scratch, folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _move(self, source: Path, target: Path) -> None:
        """Rename into place; what stood there under another key goes away only after it was moved aside."""
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            aside = self._scratch / uuid.uuid4().hex
            target.rename(aside)
            source.rename(target)
            shutil.rmtree(aside, ignore_errors=True)
        else:
            source.rename(target)


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


def read_meta(folder: Path) -> dict[str, Any] | None:
    """The artifact's meta.json, or None if there is no whole artifact."""
    try:
        return json.loads((folder / META).read_text())
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return None


def is_complete(folder: Path, key: str) -> bool:
    """Is the artifact there, whole, and made from exactly these inputs?"""
    meta = read_meta(folder)
    return meta is not None and meta.get("key") == key


def write_table(table: pd.DataFrame, path: Path) -> None:
    """A parquet file, whole or not at all."""
    _replace(path, lambda scratch: table.to_parquet(scratch, engine="pyarrow", index=False))


def write_records(records: Sequence[Any], path: Path) -> None:
    """Records (dataclasses) of one type as the rows of a parquet file, inside an artifact that is being written."""
    pd.DataFrame([asdict(record) for record in records]).to_parquet(path, engine="pyarrow", index=False)


def read_table(path: Path) -> pd.DataFrame:
    """A parquet file. UserError if it is missing or broken."""
    try:
        return pd.read_parquet(path, engine="pyarrow")
    except FileNotFoundError as error:
        raise UserError(f"There is no {path.name} in {path.parent}; is this the folder of a finished run?") from error
    except (OSError, ValueError) as error:  # pyarrow's errors derive from both
        raise UserError(f"{path} is not a readable parquet file: {error}.") from error


def write_json(path: Path, content: Any) -> None:
    """A JSON file, whole or not at all."""
    _replace(path, lambda scratch: _write_json(scratch, content))


def read_json(path: Path) -> Any:
    """The content of a JSON file, or None if there is none."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> None:
    """Named arrays as a safetensors file (inside an artifact that is being written)."""
    from safetensors.numpy import save_file

    save_file(
        {name: np.ascontiguousarray(array) for name, array in arrays.items()}, path, metadata=dict(metadata or {})
    )


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file."""
    from safetensors.numpy import load_file

    return load_file(path)


def provenance_of(device: str, started: datetime, seconds: float, inputs: Sequence[str] = ()) -> Provenance:
    """Where something made just now comes from."""
    commit, dirty = _git_state()
    return Provenance(
        version=importlib.metadata.version("lorabench"),
        git_commit=commit,
        git_dirty=dirty,
        python=platform.python_version(),
        packages=_package_versions(),
        device=device,
        started=started.isoformat(timespec="seconds"),
        seconds=round(seconds, 3),
        peak_memory_bytes=_peak_memory_bytes(),
        inputs=tuple(inputs),
    )


def _peak_memory_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB, macOS in bytes


@functools.cache
def _git_state() -> tuple[str, bool]:
    """Commit of the checkout that lorabench runs from and whether it is dirty; ("", False) outside one."""
    here = Path(__file__).parent
    try:
        ask = functools.partial(subprocess.run, cwd=here, capture_output=True, text=True, check=True, timeout=10)
        if Path(ask(["git", "rev-parse", "--show-toplevel"]).stdout.strip()) != here.parent:
            return "", False  # installed into somebody else's repository
        commit = ask(["git", "rev-parse", "HEAD"]).stdout.strip()
        return commit, bool(ask(["git", "status", "--porcelain", "--untracked-files=no"]).stdout.strip())
    except (OSError, subprocess.SubprocessError):
        return "", False


@functools.cache
def _package_versions() -> dict[str, str]:
    versions = {}
    for name in RECORDED_PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def _replace(path: Path, write: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        write(scratch)
        _sync(scratch)
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1, sort_keys=True, default=_plain) + "\n")


def _sync(path: Path) -> None:
    """Push a file, or a folder and all in it, to the disk: a rename must not outrun its content."""
    for item in [path, *path.rglob("*")] if path.is_dir() else [path]:
        handle = os.open(item, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _plain(value: Any) -> Any:
    """What JSON does not know: dataclasses, paths, numpy scalars."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"Cannot write {type(value).__name__} as JSON")
