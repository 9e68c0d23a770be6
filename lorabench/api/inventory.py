"""What there is: components by kind, and what a folder of results holds that it should not."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from lorabench import components
from lorabench.api.progress import open_progress
from lorabench.components import Kind
from lorabench.errors import UserError, unknown

KINDS: tuple[str, ...] = get_args(Kind)


def components_table(kind: str | None) -> list[dict[str, object]]:
    """Every component with the first sentence of its documentation. UserError for an unknown kind."""
    if kind is not None and kind not in KINDS:
        raise UserError(unknown("kind", kind, KINDS))
    rows: list[dict[str, object]] = []
    for each in [kind] if kind else KINDS:
        for name in components.names(each):  # type: ignore[arg-type]
            found = components.find(each, name)  # type: ignore[arg-type]
            rows.append({"kind": each, "name": name, "what": " ".join(found.description.split("\n\n")[0].split())})
    return rows


def check_up(run: Path, quiet: bool) -> list[dict[str, object]]:
    """What is damaged, orphaned or another study's in the folder of a run. UserError if it is none."""
    from lorabench.pipeline import checkup

    folders = checkup.artifact_folders(run)
    with open_progress(quiet).stage("read", len(folders), len(folders)) as advance:
        return checkup.check_up(run, folders, advance)
