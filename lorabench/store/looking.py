"""What lies in the folder of a run: which artifacts are there, and whether they are still what was written.

An artifact is a folder whose `meta.json` was written last. It says what each file held, and what the artifacts held
that it was made from; what differs from that later is no artifact any more.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import Any

from pydantic.dataclasses import dataclass

from lorabench.errors import DamagedArtifact
from lorabench.records import Provenance
from lorabench.store.files import (
    FileRecord,
    compare,
    examine,
    plain,
    read_sealed,
    safe_name,
    size_fault,
    write_sealed,
)

META = "meta.json"


@dataclass(frozen=True, config={"strict": True, "extra": "forbid"})
class Meta:
    """What an artifact's meta.json says."""

    key: str
    study: str
    files: dict[str, FileRecord]  # every other file of the folder, by its path in it
    made_from: dict[str, str]  # folder of an artifact in this run -> what it held (`content`)
    provenance: Provenance
    # Files that were removed to save space, once all had been read, and what all held: of pictures that a large study
    # does not keep there are millions, and who reads of them needs no more.
    dropped: tuple[str, ...] = ()
    held: str = ""

    @property
    def bytes(self) -> int:
        return sum(record.bytes for record in self.files.values())

    @functools.cached_property
    def content(self) -> str:
        """One hash for all that the artifact holds, or held before some of it was dropped."""
        return self.held or key_of("content", 1, {name: record.sha256 for name, record in self.files.items()}, [])

    def without(self, names: Collection[str]) -> Meta:
        """The same with those files dropped."""
        kept = {name: record for name, record in self.files.items() if name not in names}
        gone = tuple(name for name in self.files if name in names)
        return replace(self, files=kept, dropped=(*self.dropped, *gone), held=self.content) if gone else self


def key_of(stage: str, version: int, parameters: Any, inputs: Sequence[str]) -> str:
    """sha256 over the stage, its version, its parameters (JSON-able or dataclasses) and the keys of its inputs."""
    content = json.dumps([stage, version, parameters, list(inputs)], sort_keys=True, default=plain)
    return hashlib.sha256(content.encode()).hexdigest()


@dataclasses.dataclass
class _Rest:
    """What was found of artifacts while none of them changes."""

    looks: dict[Path, tuple[Meta | None, str]] = field(default_factory=dict)
    faults: dict[Path, str] = field(default_factory=dict)
    contents: dict[str, str] = field(default_factory=dict)  # by name


class SeenFolder:
    """The folder of one study's results, and what has been seen of its artifacts so far."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._examined: dict[Path, tuple[object, Meta | None, str]] = {}
        self._verified: dict[Path, FileRecord] = {}
        self._rest: _Rest | None = None

    def path(self, *parts: str) -> Path:
        return self.root.joinpath(*(safe_name(part) for part in parts))

    def name(self, folder: Path) -> str:
        """An artifact's folder as people and records call it."""
        return folder.relative_to(self.root).as_posix()

    @contextlib.contextmanager
    def at_rest(self) -> Iterator[None]:
        """Inside, what has been looked at once is not looked at again, as long as this process does not change it.

        For when no other process is at work: each artifact is asked for by all that is made from it, in a run of the
        paper's size 35,000 of them some hundred times.
        """
        outer = self._rest
        self._rest = outer or _Rest()
        try:
            yield
        finally:
            self._rest = outer

    @contextlib.contextmanager
    def astir(self) -> Iterator[None]:
        """Inside, though at rest around it, other processes make artifacts: each is looked at as it is now."""
        is_at_rest, self._rest = self._rest is not None, None
        try:
            yield
        finally:
            self._rest = _Rest() if is_at_rest else None

    def holds(self, folder: Path, key: str) -> bool:
        """Is the artifact there, whole, and made from exactly these inputs as they are now?"""
        meta = self.meta(folder)
        return meta is not None and meta.key == key and not self.fault(folder)

    def meta(self, folder: Path) -> Meta | None:
        """What the artifact says of itself, of its files those that were kept; None if there is none to be read."""
        return self._look(folder)[0]

    def content(self, folder: Path) -> str:
        """One hash for all that an artifact holds; "" if there is none."""
        meta = self.meta(folder)
        return meta.content if meta else ""

    def fault(self, folder: Path) -> str:
        """Why what lies at `folder` cannot be used, by its files' sizes and times; "" if it can, or nothing does."""
        if self._rest is None:
            return self._fault_now(folder)
        if folder not in self._rest.faults:
            self._rest.faults[folder] = self._fault_now(folder)
        return self._rest.faults[folder]

    def _fault_now(self, folder: Path) -> str:
        meta, fault = self._look(folder)
        if fault or meta is None:
            return fault
        for name, content in meta.made_from.items():
            # An input that was removed to save space says nothing against what was made from it.
            if self._content_of(name) not in ("", content):
                return f"it was made from {name}, which has another content now"
        return ""

    def _content_of(self, name: str) -> str:
        if self._rest is None:
            return self.content(self.root / name)
        if name not in self._rest.contents:
            self._rest.contents[name] = self.content(self.root / name)
        return self._rest.contents[name]

    def damage(self, folder: Path) -> str:
        """What of `fault` is true of the artifact's own files, whatever it was made from."""
        return self._look(folder)[1]

    def verify(self, folder: Path) -> None:
        """Let `fault` know what the bytes of every file say, not only sizes and times."""
        self._look(folder, thorough=True)

    def intact(self, folder: Path, name: str) -> Path:
        """The path of an artifact's file whose bytes are those that were written. DamagedArtifact if they are not."""
        meta, fault = self._look(folder)
        if meta is None or name not in meta.files:
            raise DamagedArtifact(folder, fault or f"{name if meta else META} is missing")
        path = folder / name
        fault, now = compare(path, meta.files[name])
        if not fault and self._verified.get(path) != now:  # large files are hashed once a process
            fault, now = compare(path, meta.files[name], thorough=True)
        if fault:
            raise DamagedArtifact(folder, fault)
        self._verified[path] = now
        return path

    def _look(self, folder: Path, thorough: bool = False) -> tuple[Meta | None, str]:
        """(meta, what is wrong with the files); looked at again when meta.json has changed."""
        if self._rest is None or thorough:
            return self._look_now(folder, thorough)
        if folder not in self._rest.looks:
            self._rest.looks[folder] = self._look_now(folder, thorough)
        return self._rest.looks[folder]

    def _changed(self, folder: Path) -> None:
        if self._rest is not None:  # all that was made from it counts otherwise now
            self._rest.looks.pop(folder, None)
            self._rest.faults.clear()
            self._rest.contents.clear()

    def _look_now(self, folder: Path, thorough: bool) -> tuple[Meta | None, str]:
        try:
            state = (folder / META).stat()
            stamp = (state.st_size, state.st_mtime_ns, state.st_ctime_ns)
        except OSError:
            return None, _without_meta(folder)
        known = self._examined.get(folder)
        if known is None or known[0] != stamp or thorough:
            meta, fault = self._examine(folder, thorough)
            known = self._examined[folder] = (stamp, meta, fault)
        return known[1:]

    def _examine(self, folder: Path, thorough: bool) -> tuple[Meta | None, str]:
        try:
            meta = read_sealed(folder / META, Meta)
        except FileNotFoundError:
            return None, ""
        except ValueError as broken:
            return None, str(broken)
        faults, now = examine(folder, meta.files, thorough)
        if faults:
            more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
            return meta, next(iter(faults.values())) + more
        if now != meta.files:  # the folder was copied: what was hashed today need not be hashed again tomorrow
            meta = replace(meta, files={**meta.files, **now})
            with contextlib.suppress(OSError):
                write_sealed(folder / META, meta)
        return meta, ""

    def dropped(self, folder: Path) -> tuple[str, ...]:
        """The files of an artifact that were removed to save space."""
        meta = self.meta(folder)
        return meta.dropped if meta else ()


def claimed(folder: Path) -> tuple[Meta | None, str]:
    """What an artifact says of itself, and what is wrong with it as far as sizes show: nothing is hashed or noted."""
    try:
        meta = read_sealed(folder / META, Meta)
    except FileNotFoundError:
        return None, _without_meta(folder)
    except ValueError as broken:
        return None, str(broken)
    for name, record in meta.files.items():
        if Path(name).is_absolute() or ".." in Path(name).parts:  # a run of somebody else's may say anything
            return meta, f"{META} names {name}, which is outside of it"
        fault = size_fault(folder / name, record)
        if fault:
            return meta, fault
    return meta, ""


def _without_meta(folder: Path) -> str:
    """What is wrong with a folder that has no readable meta.json: nothing, if nothing else lies there either."""
    try:
        left = any(not path.is_dir() for path in folder.iterdir())
    except FileNotFoundError:
        return ""
    except NotADirectoryError:
        return f"{folder.name} is a file"
    except OSError as error:
        return f"{folder.name} cannot be read: {error.strerror}"
    return f"{META} is missing" if left else ""
