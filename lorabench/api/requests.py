"""What somebody asks to be scored, as a record: light, so that mistakes in it are told before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lorabench.datasets import Words
from lorabench.errors import UserError
from lorabench.values import device_names


@dataclass(frozen=True)
class How:
    """How the work is to be done, where somebody says it: what takes the place of a key of a study's [run]."""

    device: str | None = None
    workers: int | None = None
    executor: str | None = None
    address: str | None = None  # of a cluster
    compile: bool | None = None

    def __post_init__(self) -> None:
        if self.device is not None:
            try:
                device_names(self.device)
            except ValueError as error:
                raise UserError(f"--device {error}.") from None

    @property
    def said(self) -> dict[str, object]:
        return {key: value for key, value in vars(self).items() if value is not None}


AS_STUDY = How()  # as its file says


@dataclass(frozen=True)
class Drawing:
    """How much is to be drawn, where somebody says it."""

    per_set: int | None = None  # images of a concept and prompt type
    steps: int | None = None
    guidance: float | None = None
    scales: tuple[float, ...] = ()  # merge ratios
    sweep: Mapping[str, Sequence[object]] = field(default_factory=dict)  # keys of `config.Drawn`; all combinations
    paper: bool = False  # as much as the paper draws where nothing is said


@dataclass(frozen=True)
class GivenAdapters:
    """Adapter files that somebody has, and how they are to be scored."""

    folder: Path
    data: Path | None  # pictures that they were trained on
    reference: Path | None  # pictures of the same that they were not trained on
    words: Words
    base: str | None
    study: Path | None
    concepts: tuple[str, ...]
    templates: Path | None  # folder of a study's prompts
    unused: tuple[str, ...]  # keys of files that may stay unread, as glob patterns
    drawing: Drawing
    anchors: Path | None
    sheet: Path | None
    out: Path | None
    how: How


@dataclass(frozen=True)
class GivenImages:
    """Pictures that were drawn elsewhere, and how they are to be scored."""

    folder: Path
    data: Path | None  # pictures that they should be like, and that what drew them was trained on
    reference: Path | None  # pictures that it was not trained on
    words: Words
    prompts: Path | Mapping[str, str] | None  # that they were drawn with
    templates: Path | None  # folder of a study's prompts
    study: Path | None
    concepts: tuple[str, ...]
    anchors: Path | None
    sheet: Path | None
    out: Path | None
    how: How
