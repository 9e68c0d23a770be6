"""Several captions of one picture: the data set's own, the descriptor alone, and others in files beside it.

LyCORIS, appendix H.3: no tags, all tags of a tagger, and tags adjusted by hand, which is what a data set has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from lorabench.datasets.captions import read_beside
from lorabench.errors import UserError
from lorabench.records import ADJUSTED_TAGS, NO_TAGS, Concept, Dataset


def extension_of(kind: str) -> str:
    """Of the files that hold captions of a kind: ".all_tags" of "all tags"; of the data set's own ".txt"."""
    return ".txt" if kind == ADJUSTED_TAGS else f".{kind.replace(' ', '_')}"


def with_captions(dataset: Dataset, kind: str) -> Dataset:
    """The data set with captions of another kind. UserError for pictures without one."""
    if kind == ADJUSTED_TAGS:
        return dataset
    concepts = {concept.id: concept for concept in dataset.concepts}
    if kind == NO_TAGS:
        texts = {image.path: concepts[image.concept_id].descriptor for image in dataset.images}
    else:
        texts = read_beside([image.path for image in dataset.images], extension_of(kind))
    lacking = [image for image in dataset.images if not texts.get(image.path)]
    if lacking:
        raise UserError(
            f"{len(lacking)} of {len(dataset.images)} pictures have no caption of the kind '{kind}': {lacking[0].path} "
            f"has no {extension_of(kind)} beside it. `lorabench captions` writes them."
        )
    images = tuple(replace(image, caption=texts[image.path]) for image in dataset.images)
    said = repr([(image.concept_id, image.path.name, image.caption) for image in images])
    fingerprint = hashlib.sha256(f"{dataset.fingerprint} {said}".encode()).hexdigest()
    return replace(dataset, images=images, fingerprint=fingerprint)


def tags_of(caption: str, concept: Concept) -> list[str]:
    """The tags of a caption, between commas, without the words that call the concept."""
    own = {piece.strip() for piece in concept.descriptor.split(",")}
    return [tag for piece in caption.split(",") if (tag := piece.strip()) and tag not in own]


def captioned(concept: Concept, tags: Sequence[str], dropped: Collection[str] = ()) -> str:
    """The caption of a picture: what calls the concept, then its tags but for those that are bound to the concept."""
    away = {each.casefold() for each in dropped}
    kept = [tag for tag in dict.fromkeys(tags) if tag.casefold() not in away]
    return ", ".join([concept.descriptor, *kept])


def caption_file(picture: Path, kind: str) -> Path:
    """Where a caption of a kind is written."""
    return picture.with_suffix(extension_of(kind))
