"""What somebody asks to be scored, as a record: light, so that mistakes in it are told before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lorabench.datasets import Words


@dataclass(frozen=True)
class GivenImages:
    """Pictures that were drawn elsewhere, and how they are to be scored."""

    folder: Path
    reference: Path | None  # pictures that they should be like
    words: Words
    prompts: Path | Mapping[str, str] | None  # that they were drawn with
    templates: Path | None  # folder of a study's prompts
    study: Path | None
    concepts: tuple[str, ...]
    anchors: Path | None
    sheet: Path | None
    out: Path | None
    device: str | None
    workers: int | None
