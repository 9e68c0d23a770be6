"""The parts of a study that was run in several folders: what each holds, and whether they are of one study."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lorabench import store
from lorabench.config import Study
from lorabench.errors import DamagedArtifact, UserError
from lorabench.pipeline.checkup import artifact_folders
from lorabench.pipeline.places import THUMBNAILS, TRAINING_STATE
from lorabench.pipeline.plan import BASE_CHECKPOINT, DATASET
from lorabench.pipeline.replacing import changes
from lorabench.pipeline.tables import FAILURES_FILE
from lorabench.records import Failure
from lorabench.report import runs
from lorabench.report.schema import checked_facts
from lorabench.report.words import listed

# What a machine alone knows, or what only says how work is done: parts may differ in it.
_MACHINES = {
    "": ("description", "base", "plugins", "anchors"),
    "data": ("folder",),
    "images": ("prompts", "batch_size"),
    "run": ("device", "workers", "executor", "address"),
}
# By the folder of an artifact that two parts made from different things: what those may be. The tellings first.
_MADE_FROM = {
    f"features/{DATASET}": "other training pictures, or other weights of an encoder",
    f"images/{BASE_CHECKPOINT}": "another base model, other prompts or other sampling settings",
    "checkpoints": "another base model, other training pictures or other training settings",
    "images": "another base model, other prompts, other sampling or training settings",
    "": "other metrics, or what these are measured on",
}


@dataclass(frozen=True)
class Claim:
    """What a part's artifact says of itself, without its files: a study of the paper's size has millions of them."""

    study: str
    key: str
    content: str
    bytes: int
    made_from: Mapping[str, str]  # folder of an artifact in the run -> what it held


@dataclass(frozen=True)
class Part:
    """A folder of a run, which is only read."""

    root: Path
    study: Study | None  # as it was run last; None where the run was ended before its tables
    facts: Mapping[str, Any]  # what study.json says of it; empty likewise
    artifacts: Mapping[str, Claim]  # by folder in the run: those that are whole as far as sizes show
    faults: Mapping[str, str]  # by folder in the run: what is wrong with the others

    @property
    def name(self) -> str:
        """Of its study; "" if nothing says it."""
        said = next((claim.study for claim in self.artifacts.values()), "")
        return self.study.name if self.study else str(self.facts.get("name") or said)

    def without(self, damaged: DamagedArtifact) -> Part:
        """The same, after one of its artifacts has turned out to be damaged."""
        name = next((name for name in self.artifacts if self.root / name == damaged.folder), None)
        if name is None:
            return self
        whole = {key: claim for key, claim in self.artifacts.items() if key != name}
        return replace(self, artifacts=whole, faults={**self.faults, name: damaged.reason})

    @property
    def failures(self) -> list[Failure]:
        """What failed or was skipped in its last run, as far as its table can be read."""
        with contextlib.suppress(UserError):
            rows = runs.read_part(self.root / FAILURES_FILE).to_dict("records")
            return [Failure(**{name: row[name] for name in Failure.__dataclass_fields__}) for row in rows]
        return []


def read_part(root: Path, advance: Callable[[int], None]) -> Part:
    """What the folder of a run holds, of files no more than names and sizes. UserError for what is no run."""
    found, faults = {}, {}
    for folder in artifact_folders(root):
        name = folder.relative_to(root).as_posix()
        meta, fault = store.claimed(folder)
        if folder.parent == root / THUMBNAILS:
            pass  # how many there are depends on the whole study; they are made again
        elif fault:
            faults[name] = fault
        elif meta is not None:
            found[name] = Claim(meta.study, meta.key, meta.content, meta.bytes, meta.made_from)
        advance(1)
    facts: Mapping[str, Any] = {}
    with contextlib.suppress(UserError):  # damaged, or not there yet
        facts = next(iter(checked_facts(root / runs.FACTS_FILE).values()))["study"]
    return Part(root, _study_of(root), facts, found, faults)


def _study_of(root: Path) -> Study | None:
    said = store.read_manifest(root)[0].study
    try:
        return Study.model_validate(said) if said else None
    except ValidationError as error:
        raise UserError(
            f"The study in {root / store.RUN_FILE} is none that this version of lorabench reads."
        ) from error


def require_one_study(parts: Sequence[Part], of_file: bool = False) -> None:
    """UserError unless all are runs of `grid`, of one study and made from the same.

    `of_file`: a study file says what the whole is, so the studies of the parts may have fewer seeds or configs.
    """
    for part in parts:
        if part.facts and "training" not in part.facts:
            raise UserError(
                f"{part.root} holds measurements of `lorabench evaluate`; what can be joined are runs of a study that "
                "trains (`lorabench grid`). Put all adapters, or all pictures, into one folder and evaluate that."
            )
    for first, other in combinations(parts, 2):
        who = f"{first.root} and {other.root} are not parts of one study"
        if first.name != other.name:
            raise UserError(f"{who}: the first is of '{first.name}', the second of '{other.name}'.")
        differing = [] if of_file else _differing(first, other)
        if differing:
            raise UserError(f"{who}; from the first to the second: {'; '.join(differing)}.")
        _require_same_keys(first, other, who)


def _differing(first: Part, other: Part) -> list[str]:
    """The settings that are others in the second, in words."""
    if first.study is None or other.study is None:
        return []
    before, now = (
        {"base model": part.facts.get("base_id"), **_anywhere(study)}
        for part, study in ((first, first.study), (other, other.study))
    )
    return changes(before, now)


def _anywhere(study: Study) -> dict[str, Any]:
    """The settings of a study that mean the same on every machine."""
    said = study.model_dump(mode="json")
    kept = _without(said, _MACHINES[""])
    kept |= {table: _without(said[table], own) for table, own in _MACHINES.items() if table}
    encoders = [[name, choice.resize] for name, choice in study.encoders.items() if choice.resize]
    if study.merge:  # the hashes of files are in keys
        kept["merge"] = [
            {**each, "parents": [Path(parent).name for parent in each["parents"]]} for each in said["merge"]
        ]
    return {**kept, "anchors": bool(study.anchors), "encoders": encoders}


def _without(settings: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key not in names}


def _require_same_keys(first: Part, other: Part, who: str) -> None:
    both = first.artifacts.keys() & other.artifacts.keys()
    unlike = sorted(name for name in both if first.artifacts[name].key != other.artifacts[name].key)
    unlike = [name for name in unlike if not name.endswith(TRAINING_STATE)]  # whose key says how far it has come
    for place, what in _MADE_FROM.items():
        found = [name for name in unlike if name.startswith(place)]
        if found:
            raise UserError(f"{who}: {listed(found, 1)} was made from something else in each ({what}).")
