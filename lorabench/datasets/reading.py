"""A folder of pictures -> Dataset: its layout says which concepts there are, its files what each picture shows."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from lorabench.datasets import concepts, layouts
from lorabench.datasets.assumed import Assumed
from lorabench.datasets.concepts import Part
from lorabench.datasets.description import DESCRIPTION, ConceptEntry
from lorabench.datasets.pictures import PictureFolder, count
from lorabench.datasets.words import Descriptor, Words, told
from lorabench.errors import UserError
from lorabench.hashes import file_hash
from lorabench.records import Concept, Dataset, TrainingImage
from lorabench.values import MOST_SAMPLES

NO_WORDS = Words()


def load_dataset(
    place: Path, words: Words = NO_WORDS, *, needs_words: bool = True, needs_captions: bool = True
) -> Dataset:
    """Read a data set, its images' bytes included. UserError for whatever is wrong with it."""
    found = read_dataset(place, words, needs_words=needs_words, needs_captions=needs_captions)
    hashes = {path: file_hash(path) for path in {image.path for image in found.images}}
    return hashed(replace(found, images=tuple(replace(each, sha256=hashes[each.path]) for each in found.images)))


def hashed(dataset: Dataset) -> Dataset:
    """The data set with the hashes of what training sees."""
    return replace(
        dataset, fingerprint=fingerprint(dataset.concepts, dataset.images), contents=_contents(dataset.images)
    )


def read_dataset(
    place: Path, words: Words = NO_WORDS, *, needs_words: bool = True, needs_captions: bool = True
) -> Dataset:
    """What names, captions and descriptions say, concepts and images in sorted order; no fingerprint. UserError too.

    `place` is a folder, or the TOML file that describes it; what had to be assumed of it is listed in `assumptions`.
    A concept that no prompt could call is an error unless nothing is to be drawn of it, and so are pictures without a
    caption unless nothing is to be trained on them.
    """
    return dataset_of(assume(place, words), needs_words=needs_words, needs_captions=needs_captions)


def assume(place: Path, words: Words = NO_WORDS) -> Assumed:
    """What the layout of a folder comes to, with the words that somebody said where it has none. UserError."""
    return _with_words(layouts.recognise(Path(place)), words)


def dataset_of(assumed: Assumed, *, needs_words: bool = True, needs_captions: bool = True) -> Dataset:
    """The checked data set of what was assumed. UserError for what cannot be."""
    parts = concepts.parts_of(assumed, assumed.name, needs_captions=needs_captions)
    if needs_words:
        concepts.require_words(parts, assumed)
    return of_parts(assumed, parts, assumptions(assumed, parts))


def of_parts(assumed: Assumed, parts: Sequence[Part], said: tuple[str, ...]) -> Dataset:
    """The data set of the entries of a description, and the sentences about it. UserError for too many samples."""
    description = assumed.description
    images = concepts.training_images(parts)
    samples = sum(image.repeats for image in images)
    if samples > MOST_SAMPLES:
        raise UserError(
            f"{assumed.where}: repeats make {samples} samples an epoch; at most {MOST_SAMPLES} are trained."
        )
    return Dataset(
        name=assumed.name,
        revision=description.revision,
        license=description.license,
        citation=description.citation,
        concepts=tuple(dict.fromkeys(part.concept for part in parts)),
        images=images,
        fingerprint="",
        assumptions=said,
    )


def without_pictures(words: Words, name: str) -> Dataset:
    """One concept of which there is nothing but how prompts call it, if that."""
    concept = concepts.concept_at(
        PurePosixPath(), ConceptEntry(path=".", trigger=words.trigger, class_word=words.class_word), name
    )
    return Dataset(name, "", "", "", (concept,), (), fingerprint="")


# --- words that were said outside of the folder -----------------------------------------------------------------------


def _with_words(assumed: Assumed, words: Words) -> Assumed:
    """What was assumed, with the words of the one concept that lacks them, or was guessed. UserError for several."""
    if not words:
        return assumed
    entries = assumed.description.concept
    paths = list(dict.fromkeys(each.path for each in entries))
    if assumed.is_ours and not assumed.wordless:
        if len(paths) == 1 and (words.trigger, words.class_word) == (entries[0].trigger, entries[0].class_word):
            return assumed
        raise UserError(
            f"{assumed.where} says how its concepts are called: change it there, or leave out '{words}' "
            f"({words.origin})."
        )
    wanted = assumed.wordless if len(assumed.wordless) == 1 else paths
    if len(wanted) > 1:
        raise UserError(
            f"'{words}' ({words.origin}) calls one concept, and {assumed.where} holds {len(paths)}: "
            f"{', '.join(paths[:5])}. Write their words into a {DESCRIPTION}, which `lorabench dataset FOLDER --write` "
            "begins."
        )
    changed = []
    for each in entries:
        if each.path == wanted[0]:
            new = told(Descriptor(each.trigger, each.class_word), words)
            each = each.model_copy(update={"trigger": new.trigger, "class_word": new.class_word, "keyword": ""})
        changed.append(each)
    description = assumed.description.model_copy(update={"concept": changed})
    return replace(assumed, description=description, origins={**assumed.origins, wanted[0]: words.origin})


# --- what is said of it -----------------------------------------------------------------------------------------------


def assumptions(assumed: Assumed, parts: Sequence[Part]) -> tuple[str, ...]:
    """Sentences about what no dataset.toml says, about captions, and about what is left out."""
    found = list(dict.fromkeys(part.concept for part in parts))
    said = (
        *(_usual_prompts(found) if assumed.is_ours else _layout(assumed, parts)),
        *assumed.remarks,
        *_other_counts(parts),
        *_given_captions(parts),
        *_left_out(assumed, parts),
        *_without_trigger(found, concepts.training_images(parts)),
    )
    return tuple(dict.fromkeys(said))


def _layout(assumed: Assumed, parts: Sequence[Part]) -> list[str]:
    """The layout that was read where there is no dataset.toml, and of each concept its words."""
    found = {part.concept: assumed.origins.get(part.entry.path, "") for part in parts}
    number = count(len(found), "concept")
    said = [f"There is no {DESCRIPTION} in {assumed.root}: read as {assumed.layout}, {number}."]
    for concept, origin in found.items():
        if not concept.descriptor:
            continue
        keyword = f"keyword '{concept.keyword}', " if concept.keyword else ""
        said.append(
            f"Concept '{concept.id}': trigger '{concept.trigger}', class word '{concept.class_word}' ({origin}), "
            f"{keyword}template '{concept.alter}' of `alter` prompts."
        )
    return said


def _other_counts(parts: Sequence[Part]) -> list[str]:
    """A sentence for each entry that holds another number of pictures than it says."""
    return [
        counted(part.entry, len(part.captions.texts))
        for part in parts
        if part.entry.pictures not in (None, len(part.captions.texts))
    ]


def counted(entry: ConceptEntry, number: int) -> str:
    return f"{count(number, 'picture')} in '{entry.path}', where {entry.pictures} belong."


def _given_captions(parts: Sequence[Part]) -> list[str]:
    """A sentence for each concept with pictures that have no caption of their own."""
    said = []
    for part in parts:
        missing, text = len(part.captions.missing), concepts.caption_of(part, "")
        if missing:
            what = f"{missing} of {len(part.captions.texts)} pictures of '{part.concept.id}' have no caption"
            said.append(f"{what}: theirs is '{text}'." if text else f"{what}: theirs is its descriptor.")
    return said


def _usual_prompts(found: Sequence[Concept]) -> list[str]:
    """A sentence for each template that the data set does not name."""
    used: dict[str, list[str]] = {}
    for concept in found:
        if concept.evaluated and concept.alter_else:
            used.setdefault(concept.alter, []).append(concept.id)
    return [
        f"No template is named (alter) for {', '.join(ids)}: `alter` prompts are those of '{template}'."
        for template, ids in used.items()
    ]


def _left_out(assumed: Assumed, parts: Sequence[Part]) -> list[str]:
    """A sentence for each kind of picture in the folder that belongs to no concept."""
    seen = PictureFolder(assumed.root)
    used = {path.resolve() for part in parts for path in part.captions.texts}
    unlisted = {path.resolve() for part in parts for path in part.captions.unlisted}
    kinds: dict[str, list[Path]] = {}
    for path in seen.pictures:
        if path.resolve() not in used:
            kind = "not in the metadata file" if path.resolve() in unlisted else seen.role(path)
            kinds.setdefault(kind, []).append(path)
    said = []
    for kind, paths in kinds.items():
        what = f"are {kind}" if kind else "belong to no concept"
        said.append(f"{len(paths)} images {what} and are left out; the first is {seen.relative(paths[0])}.")
    return [*said, *seen.unread()]


def _without_trigger(found: Sequence[Concept], images: Sequence[TrainingImage]) -> list[str]:
    notes = []
    for concept in (each for each in found if each.trigger):
        captions = [image.caption for image in images if image.concept_id == concept.id]
        without = [caption for caption in captions if concept.trigger not in caption]
        if without:
            notes.append(
                f"{len(without)} of {len(captions)} captions of '{concept.id}' do not hold its trigger "
                f"'{concept.trigger}'; the first is '{without[0]}'."
            )
    return notes


# --- what training sees -----------------------------------------------------------------------------------------------


def _contents(images: Sequence[TrainingImage]) -> dict[str, str]:
    """Concept id -> 12 hex digits over its pictures and captions, whatever their files are called."""
    pairs: dict[str, list[tuple[str, str]]] = {}
    for image in images:
        pairs.setdefault(image.concept_id, []).append((image.sha256, image.caption))
    return {id_: hashlib.sha256(repr(sorted(each)).encode("utf-8")).hexdigest()[:12] for id_, each in pairs.items()}


def fingerprint(found: Sequence[Concept], images: Sequence[TrainingImage]) -> str:
    """sha256 over all that training sees: words of the concepts; name, caption, repeats and bytes of each image."""
    digest = hashlib.sha256()
    for concept in found:
        words = (concept.id, concept.trigger, concept.class_word, concept.keyword)
        digest.update(repr(words).encode("utf-8"))
    for image in images:
        facts = (image.concept_id, image.path.name, image.caption, image.repeats, image.sha256)
        digest.update(repr(facts).encode("utf-8"))
    return digest.hexdigest()
