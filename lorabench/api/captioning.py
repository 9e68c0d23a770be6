"""Captions of a data set made of tags: all, none, or those that are not bound to the concept (LyCORIS D.1, H.3)."""

from __future__ import annotations

import fnmatch
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
import torch
from pydantic import Field, TypeAdapter, ValidationError

from lorabench import components, datasets, images, mini, store
from lorabench.api.progress import open_progress
from lorabench.components import Tagger, TaggerSpec
from lorabench.devices import pick_device
from lorabench.errors import UserError, unknown
from lorabench.records import ADJUSTED_TAGS, ALL_TAGS, NO_TAGS, Concept, Dataset, TrainingImage
from lorabench.values import CaptionKind, read_toml

Strategy = Literal["all", "adjusted", "none"]
KIND_OF: Mapping[Strategy, str] = {"all": ALL_TAGS, "adjusted": ADJUSTED_TAGS, "none": NO_TAGS}
THRESHOLD = 0.35  # of a tag's probability, LyCORIS D.1
AT_ONCE = 8  # pictures that a tagger looks at
_Kind = TypeAdapter(CaptionKind)
_Blacklist = TypeAdapter(dict[str, list[Annotated[str, Field(min_length=1)]]])


@dataclass(frozen=True)
class Tags:
    """The tags of a data set's pictures, and the captions made of them, if any."""

    table: pd.DataFrame  # concept, tag, pictures, share of the concept's, dropped; the most frequent first
    captions: Mapping[Path, str]  # of each picture, as the strategy has it; empty where none was asked for
    written: tuple[Path, ...]
    kept: tuple[Path, ...]  # caption files that were there, and stay


@dataclass(frozen=True)
class Source:
    """Where tags come from: files beside the pictures, a tagger, or else the captions that are there."""

    extension: str = ""
    tagger: str = ""
    weights: Path | None = None
    threshold: float = THRESHOLD
    device: str | None = None


def captions(
    folder: Path,
    words: datasets.Words,
    source: Source,
    strategy: Strategy | None,
    blacklist: Path | None,
    kind: str,
    replace: bool,
    quiet: bool,
) -> Tags:
    """The tags of each concept, and with a strategy its captions written beside the pictures. UserError.

    `kind` names the captions (and their files, `datasets.extension_of`); "" = what the strategy is called.
    """
    if strategy == "adjusted" and blacklist is None:
        raise UserError(
            "Adjusted captions are all tags but for those bound to a concept: name them, --blacklist FILE.toml."
        )
    if kind and not _is_kind(kind):
        raise UserError(f"--kind is a name of letters, digits, spaces and hyphens, 'by wd14', say, and not '{kind}'.")
    dataset = datasets.read_dataset(folder, words, needs_captions=False)
    concepts = {concept.id: concept for concept in dataset.concepts}
    dropped = _dropped(blacklist, concepts)
    tags = _tags(dataset, concepts, source, quiet)
    table = _table(dataset, tags, dropped)
    if strategy is None:
        return Tags(table, {}, (), ())
    texts = {
        image.path: datasets.captioned(
            concepts[image.concept_id],
            [] if strategy == "none" else tags[image.path],
            dropped[image.concept_id] if strategy == "adjusted" else (),
        )
        for image in dataset.images
    }
    files = {path: datasets.caption_file(path, kind or KIND_OF[strategy]) for path in texts}
    kept, written = [], []
    for path, file in files.items():
        if file.exists() and not replace:
            kept.append(file)
            continue
        text = f"{texts[path]}\n"
        store.replace_file(file, lambda scratch, text=text: scratch.write_text(text, encoding="utf-8"))
        written.append(file)
    return Tags(table, texts, tuple(written), tuple(kept))


def _is_kind(text: str) -> bool:
    """Can a study name captions so?"""
    try:
        _Kind.validate_python(text)
    except ValidationError:
        return False
    return True


def _tags(dataset: Dataset, concepts: Mapping[str, Concept], source: Source, quiet: bool) -> dict[Path, Sequence[str]]:
    if source.tagger:
        return _seen(dataset.images, source, quiet)
    texts = {image.path: image.caption for image in dataset.images}
    if source.extension:
        extension = source.extension if source.extension.startswith(".") else f".{source.extension}"
        texts = datasets.read_beside(list(texts), extension)
        lacking = [image.path for image in dataset.images if image.path not in texts]
        if lacking:
            raise UserError(
                f"{len(lacking)} of {len(dataset.images)} pictures have no tags: {lacking[0]} has no {extension} "
                "beside it."
            )
    return {image.path: datasets.tags_of(texts[image.path], concepts[image.concept_id]) for image in dataset.images}


def _seen(pictures: Sequence[TrainingImage], source: Source, quiet: bool) -> dict[Path, Sequence[str]]:
    """What a tagger says, the surest first."""
    tagger, paths = _tagger(source), list(dict.fromkeys(image.path for image in pictures))
    found: dict[Path, Sequence[str]] = {}
    with open_progress(quiet).stage("tag", len(paths), len(paths)) as advance:
        for start in range(0, len(paths), AT_ONCE):
            part = paths[start : start + AT_ONCE]
            for path, tags in zip(part, tagger.tags([images.read(path) for path in part]), strict=True):
                surest = sorted(tags, key=lambda tag: -tags[tag])
                found[path] = [tag for tag in surest if tags[tag] >= source.threshold]
            advance(len(part))
    return found


def _tagger(source: Source) -> Tagger:
    if source.tagger == "mini":
        components.load_plugin(Path(mini.__file__).parent / "tagger.py")
    spec: TaggerSpec = components.find("taggers", source.tagger, "--tagger")
    return spec.load(source.weights, torch.device(pick_device(source.device or "auto")))


def _dropped(file: Path | None, concepts: Mapping[str, Concept]) -> dict[str, list[str]]:
    """The tags that are bound to each concept, by a TOML file: glob patterns over concept ids -> tags. UserError."""
    if file is None:
        return {id_: [] for id_ in concepts}
    try:
        said = _Blacklist.validate_python(read_toml(file))
    except ValidationError as error:
        raise UserError(f'{file}: a blacklist is lines as "styles/*" = ["monochrome", "drawing"].') from error
    for pattern in said:
        if not fnmatch.filter(concepts, pattern):
            raise UserError(unknown("concept", pattern, list(concepts), str(file)))
    return {
        id_: [tag for pattern, tags in said.items() if fnmatch.fnmatchcase(id_, pattern) for tag in tags]
        for id_ in concepts
    }


def _table(dataset: Dataset, tags: Mapping[Path, Sequence[str]], dropped: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    rows = []
    for concept in dataset.concepts:
        pictures = [tags[image.path] for image in dataset.images_of(concept.id)]
        counts = Counter(tag for each in pictures for tag in dict.fromkeys(each))
        away = {each.casefold() for each in dropped[concept.id]}
        for tag, count in counts.most_common():
            rows.append((concept.id, tag, count, count / len(pictures), tag.casefold() in away))
    return pd.DataFrame(rows, columns=["concept", "tag", "pictures", "share", "dropped"])
