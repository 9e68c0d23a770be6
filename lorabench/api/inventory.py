"""What there is: components by kind, and what a folder of results holds that it should not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import get_args

from lorabench import components, config, shipped
from lorabench.api.progress import open_progress
from lorabench.components import Kind
from lorabench.errors import UserError, unknown
from lorabench.report.words import listed

STUDIES = "studies"
KINDS: tuple[str, ...] = (*get_args(Kind), STUDIES)


def components_table(kind: str | None) -> list[dict[str, object]]:
    """Every component with the first sentence of its documentation, and every study that comes with lorabench.

    UserError for an unknown kind.
    """
    if kind is not None and kind not in KINDS:
        raise UserError(unknown("kind", kind, KINDS))
    return [
        {"kind": each, "name": name, "what": " ".join(text.split())}
        for each in ([kind] if kind else KINDS)
        for name, text in (_studies() if each == STUDIES else _components(each))
    ]


def _components(kind: str) -> Iterator[tuple[str, str]]:
    for name in components.names(kind):  # type: ignore[arg-type]
        yield name, components.find(kind, name).description.split("\n\n")[0]  # type: ignore[arg-type]


def _studies() -> Iterator[tuple[str, str]]:
    for name in shipped.study_names():
        yield name, config.load_study(shipped.study_file(name)).description


def gathered(rows: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    """The same, places together of which the same is found: a folder of 40 leavings is one line."""
    places: dict[tuple[object, object], list[str]] = {}
    for row in rows:
        places.setdefault((row["finding"], row["why"]), []).append(str(row["place"]))
    return [{"finding": finding, "place": listed(found), "why": why} for (finding, why), found in places.items()]


def check_up(run: Path, quiet: bool) -> list[dict[str, object]]:
    """What is damaged, orphaned or another study's in the folder of a run. UserError if it is none."""
    from lorabench.pipeline import checkup

    folders = checkup.artifact_folders(run)
    with open_progress(quiet).stage("read", len(folders), len(folders)) as advance:
        return checkup.check_up(run, folders, advance)
