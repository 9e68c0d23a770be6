"""A data set whose pictures are not here, as its description states it: enough to count what a study of it takes."""

from __future__ import annotations

from pathlib import Path

from lorabench.datasets import concepts
from lorabench.datasets.assumed import Assumed
from lorabench.datasets.description import DESCRIPTION, read_description
from lorabench.datasets.reading import of_parts
from lorabench.datasets.skeletons import skeleton_file, skeleton_names
from lorabench.errors import UserError
from lorabench.records import Dataset


def foretell(place: Path) -> Dataset:
    """As many pictures of each concept as its `pictures` says, with empty captions; they need not be there.

    The description is that of the folder (or the TOML file itself); of a folder without any, and named like one of the
    skeletons, that skeleton's. `assumptions` says so. UserError where there is no description or it states no number.
    """
    assumed, who = _described(place)
    for entry in assumed.description.concept:
        if entry.pictures is None:
            raise UserError(
                f"{assumed.where}: concept '{entry.path}' does not state its number of pictures: add pictures = N."
            )
    parts = concepts.stated_parts(assumed)
    concepts.require_words(parts, assumed)
    return of_parts(assumed, parts, (f"The pictures are not in {place}: counted as {who} states them.",))


def _described(place: Path) -> tuple[Assumed, str]:
    """What is described, and by what, in words."""
    file = place if place.suffix.lower() == ".toml" else place / DESCRIPTION
    who = file.name
    if not file.is_file() and place.name in skeleton_names():
        file, who = skeleton_file(place.name), f"the skeleton of the data set '{place.name}'"
    if not file.is_file():
        raise UserError(f"There are no pictures in {place}, and no {DESCRIPTION} that says how many there will be.")
    return Assumed(DESCRIPTION, place, file, read_description(file), is_ours=True), who
