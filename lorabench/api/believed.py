"""Sentences on series of adapter files: what is known from metadata, what from names or a sheet, what is a guess."""

from __future__ import annotations

from collections.abc import Sequence

from lorabench.api.members import Member, Source
from lorabench.report.words import listed


def remarks(series: Sequence[Sequence[Member]], names: Sequence[str]) -> list[str]:
    """`names` are those of the configs that the series are; ours, of which nothing is in doubt, need no words."""
    found: dict[Source, list[str]] = {"metadata": [], "names": [], "sheet": []}
    last, called, mixed = [], [], []
    for members, name in zip(series, names):
        known = [each for each in members if each.moment.is_known and (not each.file.is_ours or each.source == "sheet")]
        if not known:
            continue
        source = next(kind for kind in ("sheet", "names", "metadata") if any(each.source == kind for each in known))
        found[source].append(f"{name} ({moments(known)})")
        last += [f"{each.file.name} (of {name}: {moments([each])})" for each in known if each.is_last]
        called += [f"{each.file.name} ({moments([each])})" for each in known if each.called.is_known]
        counted = {each.moment.epoch is not None for each in known if each.has_number}
        mixed += [name] if len(counted) > 1 else []
    sentences = (
        (found["metadata"], "read from the files' metadata."),
        (found["names"], "read from the names of files and folders, which were believed: the files do not say it all."),
        (found["sheet"], "read from the sheet, which was believed before metadata and names."),
        (last, "has no number in its name, so it was taken for the last of its series, with the next number."),
        (called, "their names say other numbers than their metadata, which were believed (--sheet says otherwise)."),
        (mixed, "some files have an epoch and others a step alone, and nothing says how many steps an epoch has."),
    )
    return [f"{listed(each)}: {words}" for each, words in sentences if each]


def moments(members: Sequence[Member]) -> str:
    """ "epochs 2, 4; seeds 1, 2"."""
    words = []
    for kind in ("epoch", "step", "seed"):
        # Beside an epoch the step says nothing more.
        rows = [each.moment for each in members if kind != "step" or each.moment.epoch is None]
        numbers = sorted({number for each in rows if (number := getattr(each, kind)) is not None})
        if numbers:
            words.append(f"{kind}{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}")
    return "; ".join(words)
