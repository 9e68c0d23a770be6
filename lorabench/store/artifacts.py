"""Where artifacts live: each whole or not at all, under a key that says what it was made from.

An artifact is a folder whose `meta.json` was written last. It is prepared in `<run>/.tmp`, synced to disk and renamed
into place, so a reader sees all of it or none, whatever moment a process dies at. `meta.json` says what each file
held, and what the artifacts held that it was made from; what differs from that later is no artifact any more.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import shutil
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic.dataclasses import dataclass

from lorabench.errors import DISK_FULL, DamagedArtifact, UserError
from lorabench.records import Provenance
from lorabench.store import lease
from lorabench.store.files import (
    FileRecord,
    compare,
    examine,
    plain,
    read_sealed,
    record_of,
    safe_name,
    size_fault,
    sync,
    system_errors,
    write_sealed,
)
from lorabench.store.provenance import provenance_of

META = "meta.json"
IN_THE_WAY = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)  # what a rename says of a target that is there


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


class FolderInUse(UserError):
    """Another process is at work in the folder of a run."""


class RunFolder:
    """The folder of one study's results: its artifacts, and a lock so that two runs do not mix."""

    def __init__(self, root: Path, study: str = "") -> None:
        self.root = root
        self._study = study
        self._scratch = root / ".tmp"
        self._examined: dict[Path, tuple[object, Meta | None, str]] = {}
        self._verified: dict[Path, FileRecord] = {}
        self._at_rest: dict[Path, tuple[Meta | None, str]] | None = None
        self._faults: dict[Path, str] = {}  # while at rest, as the next
        self._contents: dict[str, str] = {}

    def __reduce__(self) -> tuple[type[RunFolder], tuple[Path, str]]:
        return RunFolder, (self.root, self._study)  # another process looks for itself

    def path(self, *parts: str) -> Path:
        return self.root.joinpath(*(safe_name(part) for part in parts))

    def name(self, folder: Path) -> str:
        """An artifact's folder as people and records call it."""
        return folder.relative_to(self.root).as_posix()

    # Writing.

    @contextlib.contextmanager
    def locked(self, say: Callable[[str], None] = lambda _: None) -> Iterator[lease.Lease]:
        """Hold the folder's artifacts for this process, against those of all machines that share its disk.

        `say` gets a sentence where it has to wait. UserError if it cannot be written; FolderInUse.
        """

        def in_use(holder: str) -> FolderInUse:
            return FolderInUse(
                f"Another run is writing to {self.root} ({holder}); wait for it or choose another --out."
            )

        with self._writable():
            mine = lease.taken(self.root / ".lease", say, in_use)
        with mine:
            shutil.rmtree(self._scratch, ignore_errors=True)  # leavings of a run that was killed
            yield mine

    @contextlib.contextmanager
    def tables_locked(self) -> Iterator[None]:
        """Hold the run's tables and page for this process, when whoever else makes them has done so. UserError."""
        with self._writable():
            mine = lease.waited_for(self.root / ".tables.lease")
        with mine:
            yield

    @contextlib.contextmanager
    def _writable(self) -> Iterator[None]:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            yield
        except OSError as error:
            raise UserError(
                f"Cannot write results to {self.root}: {error.strerror}. Choose another folder with --out."
            ) from error

    @contextlib.contextmanager
    def writing(
        self,
        folder: Path,
        key: str,
        made_from: Sequence[Path] = (),
        *,
        inputs: Sequence[str] = (),
        device: str = "cpu",
        since: float | None = None,
        took: tuple[float, float] | None = None,
    ) -> Iterator[Path]:
        """Prepare an artifact in the yielded folder; it appears at `folder` when the block ends well, else never.

        `made_from`: the artifacts that were read for it. `inputs`: ids of what else was. `since`:
        `time.perf_counter()` when the work on it began, where that was before the block; `took`: when it began and
        ended, where the block only writes what came of it.
        """
        begun, until = took or (time.perf_counter() if since is None else since, None)
        started = datetime.now(UTC) - timedelta(seconds=time.perf_counter() - begun)
        with self._prepared() as scratch:
            with system_errors(folder):
                yield scratch
            written = sorted(file for file in scratch.rglob("*") if file.is_file())
            files = {file.relative_to(scratch).as_posix(): record_of(file) for file in written}
            origins = {self.name(each): self.content(each) for each in made_from}
            seconds = (time.perf_counter() if until is None else until) - begun
            provenance = provenance_of(device, started, seconds, inputs)
            write_sealed(scratch / META, Meta(key, self._study, files, origins, provenance))
            sync(scratch)
            self._move(scratch, folder)

    def take_in(self, source: Path, folder: Path) -> None:
        """Copy an artifact of another run to `folder`, with all that it says of itself; the source is only read.

        DamagedArtifact if it does not hold what was written, byte by byte.
        """
        meta, fault = claimed(source)
        if meta is None or fault:
            raise DamagedArtifact(source, fault or f"{META} is missing")
        with self._prepared() as scratch:
            files = {name: _copied(source, scratch, name, record) for name, record in meta.files.items()}
            write_sealed(scratch / META, replace(meta, files={**meta.files, **files}))
            sync(scratch)
            self._move(scratch, folder)

    @contextlib.contextmanager
    def _prepared(self) -> Iterator[Path]:
        """A folder to fill and to move from; whatever is still in it at the end vanishes."""
        scratch = self._scratch / uuid.uuid4().hex
        scratch.mkdir(parents=True)
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def drop(self, folder: Path, names: Sequence[str]) -> None:
        """Remove files of an artifact to save space: it stays what it was, and says which are gone.

        Ended in between, it says so of files that are still there, and the next call removes them.
        """
        meta, _ = self._examine(folder, thorough=False)
        left = meta and meta.without(set(names))
        if left is not None and left != meta:
            write_sealed(folder / META, left)
        for name in left.dropped if left else ():
            (folder / name).unlink(missing_ok=True)
        self._changed(folder)

    def dropped(self, folder: Path) -> tuple[str, ...]:
        """The files of an artifact that were removed to save space."""
        meta = self.meta(folder)
        return meta.dropped if meta else ()

    def discard(self, folder: Path) -> None:
        """Remove an artifact, at once and whole."""
        aside = self._scratch / uuid.uuid4().hex
        aside.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            folder.rename(aside)
        self._changed(folder)
        shutil.rmtree(aside, ignore_errors=True)

    def _move(self, source: Path, target: Path) -> None:
        """Rename into place; what stood there goes away only after it was moved aside, be it put there just now."""
        target.parent.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                source.rename(target)
                self._changed(target)
                return
            except OSError as error:
                if error.errno not in IN_THE_WAY:
                    raise
            self.discard(target)

    # Looking.

    @contextlib.contextmanager
    def at_rest(self) -> Iterator[None]:
        """Inside, what has been looked at once is not looked at again, as long as this process does not change it.

        For when no other process is at work: each artifact is asked for by all that is made from it, in a run of the
        paper's size 35,000 of them some hundred times.
        """
        outer, self._at_rest = self._at_rest, {} if self._at_rest is None else self._at_rest
        try:
            yield
        finally:
            if outer is None:
                self._forget()
            self._at_rest = outer

    @contextlib.contextmanager
    def astir(self) -> Iterator[None]:
        """Inside, though at rest around it, other processes make artifacts: each is looked at as it is now."""
        self._forget()
        is_at_rest, self._at_rest = self._at_rest is not None, None
        try:
            yield
        finally:
            self._at_rest = {} if is_at_rest else None

    def _forget(self) -> None:
        self._faults, self._contents = {}, {}

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
        if folder in self._faults:
            return self._faults[folder]
        found = self._fault_now(folder)
        if self._at_rest is not None:
            self._faults[folder] = found
        return found

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
        if self._at_rest is None:
            return self.content(self.root / name)
        if name not in self._contents:
            self._contents[name] = self.content(self.root / name)
        return self._contents[name]

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
        at_rest = self._at_rest
        if at_rest is None or thorough:
            return self._look_now(folder, thorough)
        if folder not in at_rest:
            at_rest[folder] = self._look_now(folder, thorough)
        return at_rest[folder]

    def _changed(self, folder: Path) -> None:
        self._forget()  # of all that was made from it too
        if self._at_rest is not None:
            self._at_rest.pop(folder, None)

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


def _copied(source: Path, target: Path, name: str, record: FileRecord) -> FileRecord:
    """The record of a file's copy. DamagedArtifact if the copy is not what was written once."""
    file = target / name
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copyfile(source / name, file)
    except OSError as error:
        if error.errno in DISK_FULL:
            raise
        raise DamagedArtifact(source, f"{name} cannot be read: {error.strerror}") from error
    fault, now = compare(file, record, thorough=True)
    if fault:
        raise DamagedArtifact(source, fault)
    return now


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
