"""run.json: the study that a run's tables were made from, and what each of their files holds."""

from __future__ import annotations

from dataclasses import field, replace
from pathlib import Path
from typing import Any

from pydantic.dataclasses import dataclass

from lorabench.errors import UserError
from lorabench.store.files import FileRecord, compare, examine, read_sealed, record_of, write_sealed

RUN_FILE = "run.json"


@dataclass(frozen=True, config={"strict": True, "extra": "forbid"})
class Manifest:
    """A run's tables. It is written after them, so it promises none that is not there."""

    keys: dict[str, str] = field(default_factory=dict)  # of the stages whose tables are there
    files: dict[str, FileRecord] = field(default_factory=dict)
    study: dict[str, Any] = field(default_factory=dict)

    def without(self, stage: str) -> Manifest:
        return replace(self, keys={name: key for name, key in self.keys.items() if name != stage})

    def with_stage(self, root: Path, stage: str, key: str, files: tuple[str, ...]) -> Manifest:
        """The manifest after a stage has written its files."""
        records = {name: record_of(root / name) for name in files}
        return replace(self, keys={**self.keys, stage: key}, files={**self.files, **records})


def read_manifest(root: Path) -> tuple[Manifest, str]:
    """The manifest of a run, empty if there is none, and what is wrong with it ("" = nothing)."""
    try:
        return read_sealed(root / RUN_FILE, Manifest), ""
    except FileNotFoundError:
        return Manifest(), ""
    except ValueError as broken:
        return Manifest(), str(broken)


def write_manifest(root: Path, manifest: Manifest) -> None:
    write_sealed(root / RUN_FILE, manifest)


def table_faults(root: Path, manifest: Manifest) -> dict[str, str]:
    """What is wrong with which of a run's files. All are hashed: together they are small."""
    return examine(root, manifest.files, thorough=True)[0]


def require_intact(file: Path) -> None:
    """UserError if a file lies in a run whose manifest says that it held something else."""
    record = read_manifest(file.parent)[0].files.get(file.name)
    fault = compare(file, record, thorough=True)[0] if record else ""
    if fault:
        raise UserError(
            f"{file.parent} is damaged: {fault}. Run the study again with this folder as --out: what is whole is kept."
        )
