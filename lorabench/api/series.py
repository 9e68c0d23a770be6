"""Which adapter files are moments and seeds of one config: a table's rows must never be two files at once."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

from lorabench.components import Origin
from lorabench.records import TrainConfig

_COUNTER = re.compile(r"([-_. ]+(e|ep|epoch|s|seed|step))*[-_. ]*$")  # what is left of "x-e5" and "x-e10" after "x"


@dataclass(frozen=True)
class AdapterFile:
    """An adapter as it was found: where, what it is called, and what it says of itself."""

    path: PurePath  # in the folder that was given
    name: str
    settings: TrainConfig
    origin: Origin
    is_ours: bool


def config_names(files: Sequence[AdapterFile]) -> list[str]:
    """The name of the config that each file belongs to.

    Only files of ours say which config they are of: those that agree in it, in the base model and in the pictures they
    learned from are one, if no two of them are of one seed and epoch; others are a config each. Configs that would
    share a name are told apart by where their files lie.
    """
    series: dict[Hashable, list[AdapterFile]] = {}
    for file in files:
        series.setdefault(_training(file), []).append(file)
    apart = [part for each in series.values() for part in _without_twins(each)]
    wanted = [part[0].settings.name if part[0].is_ours else part[0].name for part in apart]
    names = {}
    for name in dict.fromkeys(wanted):
        same = [part for part, other in zip(apart, wanted) if other == name]
        labels = [name] if len(same) == 1 else [f"{name} ({place})" for place in _places(same)]
        names |= {file.path: label for part, label in zip(same, labels) for file in part}
    return [names[file.path] for file in files]


def _training(file: AdapterFile) -> Hashable:
    """What files of one config have in common; when their training was to end, and what else it saved, is no part."""
    if not file.is_ours:
        return file.path
    settings = replace(file.settings, epochs=1, checkpoint_epochs=())
    return repr(settings), file.origin.base, tuple(sorted(file.origin.pictures.items()))


def _without_twins(files: list[AdapterFile]) -> list[list[AdapterFile]]:
    """The files by the outermost folders that keep those of one seed and epoch apart."""
    deepest = max(len(file.path.parts) for file in files)
    for depth in range(deepest + 1):
        parts: dict[Hashable, list[AdapterFile]] = {}
        for file in files:
            parts.setdefault(file.path.parts[:depth], []).append(file)
        if all(_moments_differ(part) for part in parts.values()):
            break
    return list(parts.values())


def _moments_differ(files: Sequence[AdapterFile]) -> bool:
    moments = [(file.origin.seed, file.origin.epoch, file.origin.step) for file in files]
    return len(set(moments)) == len(moments)


def _places(series: Sequence[Sequence[AdapterFile]]) -> list[str]:
    """What tells the places of several series apart; numbers where nothing does."""
    common = [os.path.commonprefix([file.path.with_suffix("").as_posix() for file in files]) for files in series]
    paths = [[part for each in path.split("/") if (part := _COUNTER.sub("", each))] for path in common]
    shared = set.intersection(*map(set, paths))
    labels = [" ".join(part for part in path if part not in shared) for path in paths]
    if "" in labels or max(Counter(labels).values()) > 1:
        return [str(number) for number in range(1, len(series) + 1)]
    return labels
