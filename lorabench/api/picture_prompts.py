"""What a picture that was drawn elsewhere shows: which concept, and which type of prompt it answers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath

from lorabench import prompts
from lorabench.errors import UserError, unknown
from lorabench.picture_metadata import Drawn, plain_text
from lorabench.records import Concept, Dataset, Prompt, PromptType

# A text of several types is of the first: captions may be the descriptor alone.
_TYPES: tuple[PromptType, ...] = ("trigger", "train", "alter", "style", "together", "drift")
Known = Mapping[tuple[str, str], Prompt]  # (concept id, text) -> the prompt


def known_prompts(dataset: Dataset, folder: Path, types: Sequence[PromptType]) -> Known:
    """The prompts of those types that a study of these concepts would draw, by their texts."""
    found: dict[tuple[str, str], Prompt] = {}
    ordered = [type_ for type_ in _TYPES if type_ in types]
    for concept in dataset.concepts:
        for type_ in ordered if concept.descriptor and concept.evaluated else ():
            for prompt in prompts.prompts_of(concept, type_, dataset, folder):
                found.setdefault((concept.id, prompt.text), prompt)
    return found


def concept_of(drawn: Drawn, inside: PurePath, concepts: Sequence[Concept]) -> Concept | None:
    """The concept that is named for a picture, or the only one, or that its prompt calls, or that its folders name.

    `inside` is its path in the checkpoint's folder. UserError for the name of a concept that there is not.
    """
    if drawn.concept:
        found = next((each for each in concepts if each.id == drawn.concept), None)
        if found is None:
            ids = [each.id for each in concepts]
            raise UserError(unknown("concept", drawn.concept, ids, f"{drawn.said_by}, {drawn.path.name}"))
        return found
    if len(concepts) == 1:
        return concepts[0]
    text = plain_text(drawn.prompt)
    # "sks dog, red collar" calls its sub-class before "sks dog" calls its class.
    for words in (lambda each: each.descriptor, lambda each: each.trigger):
        calling = [each for each in concepts if words(each) and _holds(text, words(each))]
        longest = max((len(words(each)) for each in calling), default=0)
        calling = [each for each in calling if len(words(each)) == longest]
        if len(calling) == 1:
            return calling[0]
    folders = inside.parts[:-1]
    called = [each for each in concepts if each.id.split("/")[-1] in folders or "/".join(folders).endswith(each.id)]
    return called[0] if len(called) == 1 else None


def prompt_of(drawn: Drawn, concept: Concept, known: Known) -> Prompt:
    """What a picture answers: a prompt of the study, or one that calls the concept ("alter") or does not ("drift").

    A picture that says no prompt is taken for one of the concept alone, with no text to be compared with.
    """
    if not drawn.prompt:
        return Prompt(concept.id, drawn.type or "trigger", "", "")
    text = plain_text(drawn.prompt)
    same = known.get((concept.id, drawn.prompt)) or known.get((concept.id, text))
    if same and drawn.type in (None, same.type):
        return same
    calls = not concept.trigger or _holds(text, concept.trigger)
    return prompts.called(text, concept, drawn.type or ("alter" if calls else "drift"))


def _holds(text: str, words: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(words)}(?!\w)", text, re.IGNORECASE) is not None
