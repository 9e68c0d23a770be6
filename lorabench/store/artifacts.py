"""Where artifacts are written: each whole or not at all, under a key that says what it was made from.

An artifact is prepared in `<run>/.tmp`, its `meta.json` last, synced to disk and renamed into place, so a reader sees
all of it or none, whatever moment a process dies at.
"""

from __future__ import annotations

import contextlib
import errno
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lorabench.errors import DISK_FULL, DamagedArtifact, UserError
from lorabench.store import lease
from lorabench.store.files import FileRecord, compare, record_of, sync, system_errors, write_sealed
from lorabench.store.looking import META, Meta, SeenFolder, claimed
from lorabench.store.provenance import provenance_of

IN_THE_WAY = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)  # what a rename says of a target that is there


class FolderInUse(UserError):
    """Another process is at work in the folder of a run."""


class RunFolder(SeenFolder):
    """The folder of one study's results: its artifacts come and go whole, under a lock so that two runs do not mix."""

    def __init__(self, root: Path, study: str = "", shard: str = "") -> None:
        """`shard` is the name of the share of the work that this process is for, beside others; "" = it is alone."""
        super().__init__(root)
        self._study, self._shard = study, shard
        self._scratch = root / ".tmp" / shard

    def __reduce__(self) -> tuple[type[RunFolder], tuple[Path, str, str]]:
        return RunFolder, (self.root, self._study, self._shard)  # another process looks for itself

    @contextlib.contextmanager
    def locked(self, say: Callable[[str], None] = lambda _: None) -> Iterator[lease.Lease]:
        """Hold the folder's artifacts for this process, against those of all machines that share its disk.

        Shards keep out a run that is alone, and each another one of its own share. `say` gets a sentence where it has
        to wait. UserError if it cannot be written; FolderInUse.
        """

        def in_use(holder: str) -> FolderInUse:
            return FolderInUse(
                f"Another run is writing to {self.root} ({holder}); wait for it or choose another --out."
            )

        alone = self.root / ".lease"
        with self._writable():
            mine = lease.taken(self._shards / f"{self._shard}.lease" if self._shard else alone, say, in_use)
        with mine:
            # Each after it has its own: of two that come at once both see the other.
            for other in [alone] if self._shard else sorted(self._shards.glob("*-of-*.lease")):
                lease.taken(other, say, in_use).release()
            shutil.rmtree(self._scratch, ignore_errors=True)  # leavings of a run that was killed
            yield mine
            shutil.rmtree(self._scratch, ignore_errors=True)  # of a worker of this one that was

    @contextlib.contextmanager
    def tables_locked(self) -> Iterator[None]:
        """Hold the run's tables and page for this process, when whoever else makes them has done so. UserError."""
        with self._writable():
            mine = lease.waited_for(self.root / ".tables.lease")
        with mine:
            yield

    @contextlib.contextmanager
    def shards_locked(self, what: str, *, waits: bool = True) -> Iterator[bool]:
        """Hold what only one shard at a time may do; yields whether this one does, where it does not wait for it."""
        file = self._shards / f"{what}.lease"
        mine = lease.waited_for(file) if waits else lease.free(file)
        if mine is None:
            yield False
            return
        with mine:
            yield True

    @property
    def _shards(self) -> Path:
        folder = self.root / ".shards"
        if self._shard:
            folder.mkdir(parents=True, exist_ok=True)
        return folder

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
