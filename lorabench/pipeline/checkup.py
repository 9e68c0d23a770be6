"""What lies in a run's folder and is not what was written, or not the study's. Needs neither data nor models."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from lorabench import store
from lorabench.errors import UserError
from lorabench.pipeline.places import ROUNDS, THUMBNAILS, TRAINING_STATE
from lorabench.records import Provenance
from lorabench.report.runs import FACTS_FILE
from lorabench.report.schema import checked_facts

ROOMS = (
    "checkpoints",
    "images",
    "features",
    "validation",
    "scores",
    "audit",
    THUMBNAILS,
    ROUNDS,
)  # of a run's folder: where artifacts lie
COSTS_FILE = "costs.parquet"  # lists every artifact that the study came to


def artifact_folders(root: Path) -> list[Path]:
    """Every folder of a run that holds an artifact, or the rest of one. UserError if it is no run."""
    if not root.is_dir():
        raise UserError(f"There is no folder {root}.")
    found = [Path(folder) for room in ROOMS for folder, _, files in os.walk(root / room) if files]
    if not found and not (root / store.RUN_FILE).exists():
        raise UserError(f"{root} is no folder of a run: it holds neither {store.RUN_FILE} nor {', '.join(ROOMS)}.")
    return sorted(found)


def check_up(root: Path, folders: list[Path], advance: Callable[[int], None]) -> list[dict[str, Any]]:
    """Read all of a run and say what is damaged, orphaned or another study's, a row each; `advance` once a folder."""
    manifest, broken = store.read_manifest(root)
    faults = ({store.RUN_FILE: broken} if broken else {}) | store.table_faults(root, manifest)
    rows = [_row("damaged", name, f"{fault}; the next run makes it again") for name, fault in faults.items()]
    study = manifest.study.get("name")
    known = manifest.files.keys() - faults.keys()
    reported = _reported(root) if {COSTS_FILE, FACTS_FILE} <= known else None
    run = store.RunFolder(root, str(study))
    for folder in folders:
        run.verify(folder)
        rows += [_row(finding, run.name(folder), why) for finding, why in _findings(run, folder, study, reported)]
        advance(1)
    if (root / ".tmp").is_dir() and any((root / ".tmp").iterdir()):
        rows.append(_row("orphaned", ".tmp", "what a run that was ended had begun; the next run removes it"))
    return rows


@dataclass(frozen=True)
class _Reported:
    """What the tables of a run say of its artifacts."""

    artifacts: frozenset[str]  # all that the study came to
    at: datetime

    def leaves_out(self, name: str, provenance: Provenance) -> bool:
        """Whether it was there when the tables were made: what was finished after that is the newest work of all."""
        finished = datetime.fromisoformat(provenance.started) + timedelta(seconds=provenance.seconds)
        return name not in self.artifacts and finished < self.at


def _reported(root: Path) -> _Reported:
    facts = checked_facts(root / FACTS_FILE)
    at = max(datetime.fromisoformat(str(each["provenance"]["started"])) for each in facts.values())
    return _Reported(frozenset(store.read_table(root / COSTS_FILE)["artifact"]), at)


def _findings(
    run: store.RunFolder, folder: Path, study: str | None, reported: _Reported | None
) -> Iterator[tuple[str, str]]:
    """At most one (finding, why) for a folder."""
    meta, fault = run.meta(folder), run.fault(folder)
    if fault:
        yield "damaged", f"{fault}; the next run that needs it makes it again"
    elif meta and study is not None and meta.study != study:
        yield "another study", f"it was made by study '{meta.study}', and this is the folder of '{study}'"
    elif meta and reported and reported.leaves_out(run.name(folder), meta.provenance):
        if folder.name != TRAINING_STATE:  # no table lists those
            yield "orphaned", "the study as it was last reported does not come to it; it can be removed"


def _row(finding: str, place: str, why: str) -> dict[str, Any]:
    return {"finding": finding, "place": place, "why": why}
