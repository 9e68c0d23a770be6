"""What a layout says of a folder: the record that all of them come to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lorabench.datasets.description import Description


@dataclass(frozen=True)
class Assumed:
    """A folder as a data set: the dataset.toml that it has, or that would say what its layout says."""

    layout: str  # in words, "kohya's folders"
    root: Path  # paths of the description begin here
    where: Path  # the file that says so, or the folder that does
    description: Description
    origins: Mapping[str, str] = field(default_factory=dict)  # path of a concept -> where its words were found
    remarks: tuple[str, ...] = ()
    is_ours: bool = False  # dataset.toml: nothing was assumed

    @property
    def wordless(self) -> tuple[str, ...]:
        """Paths of concepts of which nobody says how prompts call them."""
        entries = self.description.concept
        return tuple(dict.fromkeys(each.path for each in entries if not (each.trigger or each.class_word)))

    @property
    def name(self) -> str:
        return self.description.name or self.root.resolve().name
