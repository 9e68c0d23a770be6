"""SHA-256 of weights' files, which are large, stay as they are, and are asked for by every run."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import uuid
from pathlib import Path

LARGE = 64 * 2**20  # bytes; below it a file is read sooner than a record of it is worth keeping


def sha256_of(path: Path) -> str:
    """SHA-256 of a file. Of a large one it is kept in the user's cache folder, and holds while the file stays the same.

    The same: path, bytes and times of content and inode. A cache that cannot be read or written costs a reading.
    """
    path = path.resolve()
    before = _state(path)
    if before["bytes"] < LARGE:
        return file_hash(path)
    record = _folder() / f"{hashlib.sha256(str(path).encode()).hexdigest()[:32]}.json"
    kept = _kept(record)
    if kept is not None and {**before, "sha256": kept.get("sha256")} == kept:
        return str(kept["sha256"])
    found = file_hash(path)
    if _state(path) == before:  # nobody wrote into it meanwhile
        _keep(record, {**before, "sha256": found})
    return found


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes as they are now."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _state(path: Path) -> dict[str, object]:
    state = path.stat()
    return {"path": str(path), "bytes": state.st_size, "modified": state.st_mtime_ns, "changed": state.st_ctime_ns}


def _folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lorabench" / "hashes"


def _kept(record: Path) -> dict[str, object] | None:
    try:
        content = json.loads(record.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    known = isinstance(content, dict) and len(str(content.get("sha256"))) == 64
    return content if known else None


def _keep(record: Path, content: dict[str, object]) -> None:
    scratch = record.with_name(f".{uuid.uuid4().hex}")
    with contextlib.suppress(OSError):
        record.parent.mkdir(parents=True, exist_ok=True)
        scratch.write_text(json.dumps(content), encoding="utf-8")
        scratch.replace(record)
