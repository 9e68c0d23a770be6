"""Pictures of a concept that no training sees, to measure against: what comes near to those has not been copied."""

from __future__ import annotations

import fnmatch
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from lorabench.datasets.pictures import count
from lorabench.datasets.reading import fingerprint, hashed
from lorabench.errors import UserError, unknown
from lorabench.records import Dataset, TrainingImage
from lorabench.seeds import derive_seed

Holdout = float | int | tuple[str, ...]  # of each concept a share or a number of pictures, or patterns over their names


def hold_out(dataset: Dataset, holdout: Holdout, seed: int, root: Path) -> Dataset:
    """The data set with some pictures of each concept held out of training.

    A share or a number is drawn by the seed and a picture's own bytes, so that pictures that come and go leave the
    others where they are. Patterns are over paths in `root`, or names of files. A file that is there twice, in two
    concepts too, is on one side as a whole. Concepts too small for it keep all, and `assumptions` says so. UserError
    for a pattern that matches nothing, and where nothing would be left to train on.
    """
    content = {image.path: image.sha256 or str(image.path) for image in dataset.images}
    if isinstance(holdout, tuple):
        chosen = _named(dataset, holdout, root, content)
        said = []
    else:
        chosen, small = _drawn(dataset, holdout, seed, content)
        said = [f"Too few pictures to hold any out: {', '.join(small)}."] if small else []
    held_out = tuple(image for image in dataset.images if content[image.path] in chosen)
    kept = tuple(image for image in dataset.images if content[image.path] not in chosen)
    for concept in dataset.concepts:
        if dataset.images_of(concept.id) and not any(image.concept_id == concept.id for image in kept):
            raise UserError(f"data.holdout takes all pictures of '{concept.id}': nothing is left to train on.")
    if held_out:
        said.insert(0, f"{len(held_out)} of {count(len(dataset.images), 'picture')} are held out of training.")
    return _beside(hashed(replace(dataset, images=kept)), held_out, said)


def with_reference(dataset: Dataset, reference: Dataset) -> Dataset:
    """The data set with the pictures of another as those that no training sees.

    A concept is known by its id; where each has one alone, they are the same. What a training picture is left out, and
    `assumptions` says so. UserError where no concept is in both.
    """
    ids, theirs = ([concept.id for concept in each.concepts] for each in (dataset, reference))
    same = {theirs[0]: ids[0]} if len(ids) == len(theirs) == 1 else {id_: id_ for id_ in theirs if id_ in ids}
    if not same:
        raise UserError(unknown("concept", theirs[0], ids, f"pictures to compare with, {reference.name}"))
    trained = {image.sha256 for image in dataset.images}
    descriptors = {concept.id: concept.descriptor for concept in dataset.concepts}
    of_both = [
        replace(image, concept_id=same[image.concept_id], caption=image.caption or descriptors[same[image.concept_id]])
        for image in reference.images
        if image.concept_id in same
    ]
    held_out = tuple(image for image in of_both if image.sha256 not in trained)
    said = []
    if len(held_out) < len(of_both):
        said.append(f"{len(of_both) - len(held_out)} of the pictures to compare with are training pictures: left out.")
    others = [id_ for id_ in theirs if id_ not in same]
    said += [f"Pictures to compare with of no concept of the data set: {', '.join(others)}."] if others else []
    lacking = [id_ for id_ in ids if not any(image.concept_id == id_ for image in held_out)]
    said += [f"No pictures to compare with of {', '.join(lacking)}."] if lacking else []
    return _beside(dataset, held_out, said)


def all_held_out(dataset: Dataset) -> Dataset:
    """The data set of which no training has seen a picture."""
    descriptors = {concept.id: concept.descriptor for concept in dataset.concepts}
    held_out = tuple(replace(each, caption=each.caption or descriptors[each.concept_id]) for each in dataset.images)
    return _beside(replace(dataset, images=(), contents={}, fingerprint=""), held_out, ())


def _beside(dataset: Dataset, held_out: tuple[TrainingImage, ...], said: Sequence[str]) -> Dataset:
    key = fingerprint(dataset.concepts, held_out) if held_out else ""
    said = (*dataset.assumptions, *said)
    return replace(dataset, held_out=held_out, held_out_fingerprint=key, assumptions=said)


def _named(dataset: Dataset, patterns: Sequence[str], root: Path, content: Mapping[Path, str]) -> set[str]:
    names = {image.path: _names(image.path, root) for image in dataset.images}
    for pattern in patterns:
        if not any(fnmatch.filter(each, pattern) for each in names.values()):
            known = [each[0] for each in names.values()]
            raise UserError(unknown("picture", pattern, known, "data.holdout"))
    return {
        content[path]
        for path, each in names.items()
        if any(fnmatch.filter(each, pattern) for pattern in patterns)
    }  # fmt: skip


def _names(path: Path, root: Path) -> tuple[str, str]:
    return (path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()), path.name


def _drawn(
    dataset: Dataset, holdout: float | int, seed: int, content: Mapping[Path, str]
) -> tuple[set[str], list[str]]:
    """Contents of the pictures that are held out, and the concepts that keep all, each with its number of pictures."""
    concepts_of: dict[str, set[str]] = defaultdict(set)
    for image in dataset.images:
        concepts_of[content[image.path]].add(image.concept_id)
    chosen: set[str] = set()
    small = []
    for concept in dataset.concepts:
        own: dict[str, list[TrainingImage]] = defaultdict(list)
        for image in dataset.images_of(concept.id):
            own[content[image.path]].append(image)
        pictures = sum(map(len, own.values()))
        wanted = holdout if isinstance(holdout, int) else round(holdout * pictures)
        # What two concepts share stays: it would be taken from both.
        free = sorted(
            (each for each in own if len(concepts_of[each]) == 1), key=lambda each: derive_seed("holdout", seed, each)
        )
        taken = _first(free, own, wanted)
        if 0 < wanted <= sum(len(own[each]) for each in taken) < pictures:
            chosen.update(taken)
        elif own:
            small.append(f"{concept.id} ({pictures})")
    return chosen, small


def _first(contents: Sequence[str], own: Mapping[str, Sequence[TrainingImage]], wanted: int) -> list[str]:
    """As many as it takes for so many pictures."""
    taken: list[str] = []
    while sum(len(own[each]) for each in taken) < wanted and len(taken) < len(contents):
        taken.append(contents[len(taken)])
    return taken
