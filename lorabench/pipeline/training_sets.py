"""A data set with some of its concepts: what a study measures, what a config is trained on."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import replace

from lorabench import store
from lorabench.errors import UserError, unknown
from lorabench.records import Dataset


def subset(dataset: Dataset, patterns: Sequence[str], place: str) -> Dataset:
    """The concepts that match one of these glob patterns, with their pictures; no pattern = all of them.

    UserError, naming the place, for a pattern that matches none.
    """
    ids = [concept.id for concept in dataset.concepts]
    if not patterns or not ids:
        return dataset
    for pattern in patterns:
        if not fnmatch.filter(ids, pattern):
            raise UserError(unknown("concept", pattern, ids, place))
    wanted = {id_ for id_ in ids if any(fnmatch.fnmatch(id_, pattern) for pattern in patterns)}
    return replace(
        dataset,
        concepts=tuple(concept for concept in dataset.concepts if concept.id in wanted),
        images=tuple(image for image in dataset.images if image.concept_id in wanted),
        contents={id_: content for id_, content in dataset.contents.items() if id_ in wanted},
        fingerprint=store.key_of("concepts", 1, sorted(wanted), [dataset.fingerprint]),
    )
