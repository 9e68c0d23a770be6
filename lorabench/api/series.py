"""Which adapter files are moments and seeds of one config: a table's rows must never be two files at once."""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

from lorabench.api.believed import moments, remarks
from lorabench.api.file_names import Moment
from lorabench.api.members import AdapterFile, Member, members, training_of
from lorabench.api.sheet import NO_SHEET, NOT_OF_ADAPTERS, Sheet
from lorabench.errors import UserError

_COUNTER = re.compile(r"([-_. ]+(e|ep|epoch|s|seed|step))*[-_. ]*$")  # what is left of "x-e5" and "x-e10" after "x"


@dataclass(frozen=True)
class Placed:
    """Config and moment of each file, in the files' order, and sentences on what was believed."""

    configs: list[str]
    moments: list[Moment]
    remarks: list[str]


def placed(files: Sequence[AdapterFile], sheet: Sheet = NO_SHEET, folder: str = "adapter") -> Placed:
    """The config that each file belongs to, and which seed, epoch and step of it the file is.

    A sheet is believed before all. Files of ours say which config they are of: those that agree in it, in the base
    model and in the pictures they learned from are one. Of others the metadata is believed, else names: files of one
    series and of the same settings are one config. No two files of a config are of one seed and epoch; configs that
    would share a name are told apart by where their files lie, but for those of a sheet: UserError where a config
    of it has two files of one moment.
    """
    series: dict[Hashable, list[Member]] = {}
    for member in members(files, folder):
        series.setdefault(training_of(member), []).append(member)
    apart = [
        part
        for each in series.values()
        for group in ([each] if _is_said(each[0]) else _by_own_factors(each))
        for part in _without_twins(_with_last(_in_one_unit(group)))
    ]
    labels = _labels(apart)
    _refuse_twins(apart, labels, sheet)
    names = {member.file.path: label for part, label in zip(apart, labels) for member in part}
    found = {member.file.path: member.moment for part in apart for member in part}
    return Placed([names[file.path] for file in files], [found[file.path] for file in files], remarks(apart, labels))


def _is_said(member: Member) -> bool:
    return member.file.said is not None and bool(member.file.said.config)


# --- which are one ---------------------------------------------------------------------------------------------------


def _by_own_factors(members: list[Member]) -> list[list[Member]]:
    """The files of a series by what a sheet says of them, which makes configs.

    What it does not say of all of them makes none, nor a number that is another in every file of several moments: that
    is something measured.
    """
    values = {name: [_own(each).get(name) for each in members] for name in _own(members[0])}
    several = len({(each.moment.epoch, each.moment.step) for each in members}) > 1
    factors = [
        name
        for name, found in values.items()
        if None not in found
        and not (several and len(set(found)) == len(found) and not any(isinstance(value, str) for value in found))
    ]
    parts: dict[Hashable, list[Member]] = {}
    for each in members:
        parts.setdefault(tuple(_own(each)[name] for name in factors), []).append(each)
    return list(parts.values())


def _own(member: Member) -> dict[str, str | float]:
    return dict(member.file.said.own) if member.file.said is not None else {}


def _in_one_unit(members: list[Member]) -> list[Member]:
    """The files by their steps, where all have one and epochs do not tell them apart or are not known of all."""
    dated = [each.moment for each in members if _is_dated(each)]
    by_epoch, by_step = ({(each.seed, getattr(each, kind)) for each in dated} for kind in ("epoch", "step"))
    lacking = any(each.epoch is None for each in dated)
    if any(each.step is None for each in dated) or not (lacking or len(by_epoch) < len(by_step)):
        return members
    return [replace(each, moment=replace(each.moment, epoch=None)) if _is_dated(each) else each for each in members]


def _is_dated(member: Member) -> bool:
    return member.has_number and not member.file.is_ours


def _with_last(members: list[Member]) -> list[Member]:
    """Of a series with numbers the one file without is its last, as trainers call it: with the next number."""
    by_seed: dict[int | None, list[Member]] = {}
    for member in members:
        by_seed.setdefault(member.moment.seed, []).append(member)
    last: dict[PurePath, Member] = {}
    for group in by_seed.values():
        open_ = [each for each in group if not each.has_number]
        if len(open_) == 1 and len(group) > 1 and not open_[0].file.is_ours:
            last[open_[0].file.path] = _last(open_[0], group)
    return [last.get(member.file.path, member) for member in members]


def _last(member: Member, group: Sequence[Member]) -> Member:
    for kind in ("epoch", "step"):
        known = sorted({number for each in group if (number := getattr(each.moment, kind)) is not None})
        if known:
            following = known[-1] + (known[-1] - known[-2] if len(known) > 1 else known[-1])
            planned = member.file.settings.training.epochs if kind == "epoch" else 0
            number = planned if planned > known[-1] else following
            return replace(member, moment=replace(member.moment, **{kind: number}), source="names", is_last=True)
    return member


def _without_twins(members: list[Member]) -> list[list[Member]]:
    """The files by the outermost folders that keep those of one seed and epoch apart; those of a sheet as they are."""
    if _is_said(members[0]) or _are_said_twins(members):
        return [members]
    deepest = max(len(member.file.path.parts) for member in members)
    for depth in range(deepest + 1):
        parts: dict[Hashable, list[Member]] = {}
        for member in members:
            parts.setdefault(member.file.path.parts[:depth], []).append(member)
        if all(len({member.place for member in part}) == len(part) for part in parts.values()):
            break
    return list(parts.values())


def _are_said_twins(members: Sequence[Member]) -> bool:
    """Does a sheet make two files of one folder the same moment?"""
    said = {(each.file.path.parent, each.place) for each in members if each.source == "sheet"}
    places = [(each.file.path.parent, each.place) for each in members]
    return any(places.count(place) > 1 for place in said)


def _refuse_twins(series: Sequence[Sequence[Member]], labels: Sequence[str], sheet: Sheet) -> None:
    """UserError for two files that a sheet makes one moment of one config."""
    seen: dict[Hashable, Member] = {}
    for part, label in zip(series, labels):
        for member in part:
            twin = seen.setdefault((label, member.place), member)
            if twin is not member:
                rows = [each.file.said for each in (twin, member) if each.file.said is not None]
                when = moments([member]) or "no seed, epoch or step"
                raise UserError(
                    f"{sheet.place(*rows)}: {twin.file.name} and {member.file.name} would both be config '{label}' "
                    f"with {when}; say which seed, epoch or step each is, or another config."
                )


# --- what they are called --------------------------------------------------------------------------------------------


def _labels(series: Sequence[Sequence[Member]]) -> list[str]:
    """The name of each series: as its training was called, and with more words where several were called so."""
    wanted = [_wanted(part[0]) for part in series]
    labels = list(wanted)
    for name in dict.fromkeys(wanted):
        same = [place for place, other in enumerate(wanted) if other == name and not _is_said(series[place][0])]
        if len(same) > 1:
            for place, more in zip(same, _what_tells_apart([series[place] for place in same])):
                labels[place] = f"{name} ({more})"
    return [f"{name} (adapter)" if name in NOT_OF_ADAPTERS else name for name in labels]


def _wanted(member: Member) -> str:
    """What a config would be called: as its training was, and a file that is of no series as itself."""
    if member.file.is_ours or _is_said(member):
        return member.series
    return member.series.rpartition("/")[2] if member.series and member.has_number else member.file.name


def _what_tells_apart(series: Sequence[Sequence[Member]]) -> list[str]:
    """Own factors, or places; numbers where nothing does."""
    for found in (_factors(series), _places(series)):
        if "" not in found and len(set(found)) == len(found):
            return found
    return [str(number) for number in range(1, len(series) + 1)]


def _factors(series: Sequence[Sequence[Member]]) -> list[str]:
    """What a sheet says of each that it does not say of all."""
    said = [
        {name: value for name, value in _own(part[0]).items() if all(_own(each).get(name) == value for each in part)}
        for part in series
    ]
    names = dict.fromkeys(name for each in said for name in each)
    differ = [name for name in names if len({each.get(name) for each in said}) > 1]
    return [", ".join(_words(name, each[name]) for name in differ if name in each) for each in said]


def _words(factor: str, value: str | float) -> str:
    return value if isinstance(value, str) else f"{factor} {value:g}"


def _places(series: Sequence[Sequence[Member]]) -> list[str]:
    """What the paths of each have that not all have."""
    common = [os.path.commonprefix([each.file.path.with_suffix("").as_posix() for each in part]) for part in series]
    paths = [[part for each in path.split("/") if (part := _COUNTER.sub("", each))] for path in common]
    shared = set.intersection(*map(set, paths))
    return [" ".join(part for part in path if part not in shared) for path in paths]
