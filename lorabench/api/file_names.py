"""What the names of adapter files say: of which series one is, and which seed, epoch and step of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

from lorabench.values import OF_A_FOLDER

_SIGN = r"(?:^|[-_. ])"
# Read from the end of a name, one after the other; words of the field with a number behind them.
_MARKS = (
    (re.compile(rf"{_SIGN}(?:at[-_]?)?steps?[-_=]?0*(\d+)$", re.IGNORECASE), "step"),
    (re.compile(rf"{_SIGN}0*(\d+)[-_]?steps?$", re.IGNORECASE), "step"),
    (re.compile(rf"{_SIGN}(?:checkpoint|ckpt|iter|iteration|global_step)[-_=]?0*(\d+)$", re.IGNORECASE), "step"),
    (re.compile(rf"{_SIGN}(?:e|ep|epochs?)[-_=]?0*(\d+)$", re.IGNORECASE), "epoch"),
    (re.compile(rf"{_SIGN}0*(\d+)[-_]?epochs?$", re.IGNORECASE), "epoch"),
    (re.compile(rf"{_SIGN}(?:s|seed)[-_=]?0*(\d+)$", re.IGNORECASE), "seed"),
    (re.compile(r"_0*(\d+)(?<=_\d{9})$"), "step"),  # ai-toolkit: nine digits
    (re.compile(r"-0*(\d+)(?<=-\d{6})$"), "epoch"),  # kohya's trainer: six digits
)
# OneTrainer: when it was saved, then step, epoch and the step within it.
_ONETRAINER = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d-save-(?P<step>\d{1,18})-(?P<epoch>\d{1,18})-\d+$")
_BARE = re.compile(r"[-_. ]0*(\d{1,12})$")
LARGEST = 2**63
_ONE_BY_ONE = 10  # bare numbers below that are versions as often as epochs
_STEPS_FROM = 100  # nobody trains an adapter for that many epochs and saves each under a bare number


@dataclass(frozen=True)
class Moment:
    """A seed, epoch and step, as far as they are known."""

    seed: int | None = None
    epoch: int | None = None
    step: int | None = None

    @property
    def is_known(self) -> bool:
        return self != Moment()

    def or_else(self, other: Moment) -> Moment:
        """Itself, with what the other knows where it knows nothing; an epoch of one is not joined to another's step."""
        if self.epoch is not None or self.step is not None:
            return replace(self, seed=other.seed if self.seed is None else self.seed)
        return replace(other, seed=other.seed if self.seed is None else self.seed)


@dataclass(frozen=True)
class Named:
    """A name taken apart: what is left of it without numbers, and the numbers."""

    series: str
    moment: Moment


def marked(name: str) -> Named:
    """A name without the marks at its end that say a seed, an epoch or a step, each once; case does not count."""
    found: dict[str, int] = {}
    saved = _ONETRAINER.search(name)
    if saved is not None:
        return Named(name[: saved.start()].rstrip("-_. "), Moment(None, int(saved["epoch"]), int(saved["step"])))
    while True:
        mark = next(
            ((kind, match) for pattern, kind in _MARKS if kind not in found and (match := pattern.search(name))), None
        )
        if mark is None or int(mark[1][1]) >= LARGEST:
            return Named(name, Moment(**found))
        found[mark[0]] = int(mark[1][1])
        name = name[: mark[1].start()]


def parts(path: PurePath) -> list[str]:
    """The folders and the name of an adapter that say something of it."""
    name = path.name.removesuffix(".safetensors")
    return [*path.parts[:-1], *([] if name.lower() in OF_A_FOLDER else [name])]


def of_path(path: PurePath) -> Named:
    """A path in the folder that was given: marks of its name, then of folders ("seed1/x-000002", "checkpoint-500")."""
    left, moment = [], Moment()
    for part in reversed(parts(path)):
        named = marked(part)
        known = {key: value for key, value in vars(named.moment).items() if getattr(moment, key) is None}
        moment = replace(moment, **known) if named.moment.is_known else moment
        if named.series:
            left.append(named.series)
    return Named("/".join(reversed(left)), moment)


def numbered(names: Sequence[Named]) -> list[Named]:
    """The names with bare numbers read where several files differ in nothing else: "x-10", "x-20", "x".

    From 100 on, and not written with zeros before them, they are steps, else epochs; "v1" and "v2" are versions.
    """
    bare = {each.series: match for each in names if (match := _BARE.search(each.series)) and not _said(each.moment)}
    stems: dict[str, list[int]] = {}
    for series, match in bare.items():
        stems.setdefault(series[: match.start()], []).append(int(match[1]))
    steps = {stem: min(found) >= _STEPS_FROM and not _padded(stem, bare) for stem, found in stems.items()}
    whole = {stem for stem, found in stems.items() if len(found) > 1 and (max(found) >= _ONE_BY_ONE)}
    read = []
    for each in names:
        match = bare.get(each.series) if not _said(each.moment) else None
        stem = each.series[: match.start()] if match else ""
        if match is None or stem not in whole:
            read.append(each)
            continue
        kind = "step" if steps[stem] else "epoch"
        read.append(Named(stem, replace(each.moment, **{kind: int(match[1])})))
    return read


def _said(moment: Moment) -> bool:
    return moment.epoch is not None or moment.step is not None


def _padded(stem: str, bare: dict[str, re.Match[str]]) -> bool:
    return any(series[: match.start()] == stem and match[0][1] == "0" for series, match in bare.items())
