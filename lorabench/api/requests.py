"""What somebody asks to be scored, as a record: light, so that mistakes in it are told before anything is loaded."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lorabench.datasets import Words
from lorabench.errors import UserError
from lorabench.records import Shard
from lorabench.values import device_names


@dataclass(frozen=True)
class How:
    """How the work is to be done, where somebody says it: what takes the place of a key of a study's [run]."""

    device: str | None = None
    workers: int | None = None
    executor: str | None = None
    address: str | None = None  # of a cluster
    compile: bool | None = None
    shard: Shard | None = None  # the share of the tasks that is done; None = all. No key of a study

    def __post_init__(self) -> None:
        if self.device is not None:
            try:
                device_names(self.device)
            except ValueError as error:
                raise UserError(f"--device {error}.") from None

    @property
    def said(self) -> dict[str, object]:
        return {key: value for key, value in vars(self).items() if value is not None and key != "shard"}


@dataclass(frozen=True)
class Until:
    """How far images are to be drawn, where somebody says it: what takes the place of a key of a study's [decide]."""

    until: str | None = None
    criteria: tuple[str, ...] = ()
    rate: float | None = None
    equivalent: float | None = None
    budget: str | None = None

    @property
    def said(self) -> dict[str, object]:
        return {key: value for key, value in vars(self).items() if value not in (None, ())}


AS_LONG = Until()  # as its file says
_SHARES = "--shard i/n takes the i-th of n shares, counted from 1"


def shard_of(text: str | None) -> Shard | None:
    """The share that an option names; None = all. UserError."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip())
    number, count = (int(each) for each in found.groups()) if found else (0, 0)
    if not 1 <= count or number > count:  # 0 is the last one, for those who count from 0
        raise UserError(f"{_SHARES}: 2/3, say, not '{text}'.")
    return Shard(number or count, count) if count > 1 else None


def slurm_share(environment: Mapping[str, str]) -> str | None:
    """The share of which task of a Slurm array this is, as an option; None outside of one. UserError.

    Counted from the array's first task, whatever its number: 0-9, 1-10 and 10-100:10 are ten shares.
    """
    said = {name: environment.get(f"SLURM_ARRAY_TASK_{name}", "") for name in ("ID", "COUNT", "MIN", "STEP")}
    if not (said["ID"].isdigit() and said["COUNT"].isdigit()) or int(said["COUNT"]) < 2:
        return None
    first, step = (int(said[name]) if said[name].isdigit() else usual for name, usual in (("MIN", 0), ("STEP", 1)))
    place, rest = divmod(int(said["ID"]) - first, max(1, step))
    if rest or not 0 <= place < int(said["COUNT"]):
        raise UserError(
            f"The tasks of this Slurm array are not numbered one after the other (SLURM_ARRAY_TASK_ID={said['ID']}, "
            f"MIN={first}, STEP={step}, COUNT={said['COUNT']}): {_SHARES}; --shard 1/1 takes all."
        )
    return f"{place + 1}/{said['COUNT']}"


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
