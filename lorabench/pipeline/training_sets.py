"""A data set with some of its concepts: what a study measures, what a config is trained on."""

from __future__ import annotations

import fnmatch
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from lorabench import diffusion, prompts, store
from lorabench.errors import UserError, unknown
from lorabench.records import Concept, Dataset, TrainConfig


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
    wanted = {id_ for id_ in ids if _matches(id_, patterns)}
    return replace(
        dataset,
        concepts=tuple(concept for concept in dataset.concepts if concept.id in wanted),
        images=tuple(image for image in dataset.images if image.concept_id in wanted),
        held_out=tuple(image for image in dataset.held_out if image.concept_id in wanted),
        contents={id_: content for id_, content in dataset.contents.items() if id_ in wanted},
        fingerprint=store.key_of("concepts", 1, sorted(wanted), [dataset.fingerprint]),
    )


def balanced(dataset: Dataset) -> Dataset:
    """The data set with every class shown about as often as the largest: its repeats times a whole number."""
    class_of = {each.id: (each.category, each.class_name) for each in dataset.concepts}
    shown: Counter[tuple[str, str]] = Counter()
    for image in dataset.images:
        shown[class_of[image.concept_id]] += image.repeats
    times = {name: max(1, round(max(shown.values()) / count)) for name, count in shown.items()}
    images = (replace(each, repeats=each.repeats * times[class_of[each.concept_id]]) for each in dataset.images)
    return replace(dataset, images=tuple(images))


def with_class_images(dataset: Dataset, of_classes: Dataset | None) -> Dataset:
    """The data set with pictures of classes beside it. UserError where there are none."""
    if of_classes is None:
        raise UserError(
            "A config with a prior_weight takes pictures of the classes: name their folder, data.class_images. "
            "`lorabench class-images STUDY` draws them with the base model."
        )
    key = store.key_of("class images", 1, [], [dataset.fingerprint, of_classes.fingerprint])
    return replace(dataset, images=(*dataset.images, *of_classes.images), fingerprint=key)


def trained_words(pictures: Dataset, config: TrainConfig) -> dict[str, str]:
    """The triggers that a config trains as words of their own, each with the text that it begins as.

    UserError for a concept without one, or whose captions do not hold it: nothing would be learned.
    """
    if config.adapter.vectors is None:
        return {}
    words: dict[str, str] = {}
    for concept in pictures.concepts:
        captions = [image.caption for image in pictures.images_of(concept.id)]
        begin = config.adapter.initial_word or concept.class_word
        if not concept.trigger or not begin:
            lacking = "class word: say what it begins as, initial_word" if concept.trigger else "trigger to be trained"
            raise UserError(f"Concept '{concept.id}' has no {lacking}.")
        if captions and not any(diffusion.holds_word(caption, concept.trigger) for caption in captions):
            raise UserError(f"No caption of concept '{concept.id}' holds '{concept.trigger}', the word to be trained.")
        words.setdefault(concept.trigger, begin)
    return words


def partners(dataset: Dataset, trainings: Iterable[Sequence[str]]) -> dict[str, list[Concept]]:
    """The concepts that each is asked for together with: of other classes, and some training saw one without the other.

    `trainings` are the patterns of each one's concepts. Where all saw the same, every other class is a partner.
    """
    ids = [concept.id for concept in dataset.concepts]
    seen = [{id_ for id_ in ids if not patterns or _matches(id_, patterns)} for patterns in trainings]
    others = {concept.id: prompts.others_of(concept, dataset) for concept in dataset.concepts if concept.evaluated}
    apart = {
        id_: [each for each in found if any((id_ in one) != (each.id in one) for one in seen)]
        for id_, found in others.items()
    }
    return apart if any(apart.values()) else others


def _matches(id_: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatch(id_, pattern) for pattern in patterns)
