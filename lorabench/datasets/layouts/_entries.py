"""The entry of a description that layouts make of what they found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from lorabench.datasets.captions import Captions
from lorabench.datasets.description import ConceptEntry
from lorabench.datasets.words import Descriptor


def entry_of(
    path: str,
    folders: Sequence[str],
    found: Descriptor,
    captions: Captions,
    *,
    caption: str = "{}",
    repeats: int | Literal["balance"] = 1,
    alignment: str | None = None,
) -> ConceptEntry:
    """The concept of some folders; `caption` is that of images which have none, if there are such."""
    return ConceptEntry(
        path=path,
        folders=[] if list(folders) == [path] else list(folders),
        trigger=found.trigger,
        class_word=found.class_word,
        keyword=found.keyword,
        repeats=repeats,
        caption=caption if captions.missing else None,
        alignment=alignment,
    )
