"""Templates + Concept -> prompts: what to draw, from which noise, and the text that the pictures are compared with."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from lorabench.errors import UserError, unknown
from lorabench.records import PROMPT_TYPES, Concept, Dataset, ImageRequest, Prompt, PromptSet, PromptType
from lorabench.seeds import derive_seed
from lorabench.shipped import PROMPTS

NoiseSeeds = Literal["hashed", "index"]
Partners = Mapping[str, Sequence[Concept]]  # of each concept, by its id: whom one prompt names with it
PLACEHOLDER = "{}"
FIRST_INDEX_SEED = 1000  # image k of every prompt set had seed 1000 + k in the paper's runs

# Those that may tie a removed descriptor to the rest of a prompt ("in front of {}", "{} of a city"); longest first.
_PREPOSITIONS = (
    "in the style of|in front of|against|among|around|behind|beside|between|beyond|inside|near|onto|over|through|"
    "toward|towards|under|within|above|across|along|below|about|after|before|beneath|into|from|with|at|by|for|in|of|on|to"
)
_GAP = "\0"


def build_prompt_sets(
    dataset: Dataset,
    prompts_folder: Path,
    types: Sequence[PromptType],
    images_per_set: int,
    study_seed: int,
    noise: NoiseSeeds = "hashed",
    partners: Partners | None = None,
) -> list[PromptSet]:
    """One set of `images_per_set` requests for each evaluated concept and prompt type that it has.

    `partners` are those that each concept is asked for together with, by default all of other classes.
    Concepts whose data set wants none have no `alter` set; no `style` set where the category is "styles" or the concept
    says so. "hashed" noise depends on (study seed, concept, type, index), "index" is 1000 + index, the paper's.
    UserError for a template that does not exist or has lines without {}.
    """
    sets = []
    for concept in dataset.concepts:
        for type_ in types if concept.evaluated else ():
            prompts = prompts_of(concept, type_, dataset, prompts_folder, partners)
            if prompts:
                sets.append(PromptSet(concept, type_, _requests(prompts, images_per_set, study_seed, noise)))
    return sets


def prompts_of(
    concept: Concept, type_: PromptType, dataset: Dataset, prompts_folder: Path, partners: Partners | None = None
) -> list[Prompt]:
    """All prompts of a type that a concept of a data set has. UserError as `build_prompt_sets`."""
    if type_ == "together":
        others = others_of(concept, dataset) if partners is None else partners.get(concept.id, ())
        return [_together(concept, other) for other in others]
    captions = [image.caption for image in dataset.images_of(concept.id)]
    return [called(text, concept, type_) for text in _texts(concept, type_, captions, prompts_folder)]


def called(text: str, concept: Concept, type_: PromptType) -> Prompt:
    """A prompt that calls a concept, or of type "drift" does not, with the text that its pictures are compared with."""
    return Prompt(concept.id, type_, text, _alignment(text, concept, type_))


def others_of(concept: Concept, dataset: Dataset) -> list[Concept]:
    """The evaluated concepts of other classes."""
    own = (concept.category, concept.class_name)
    return [each for each in dataset.concepts if each.evaluated and (each.category, each.class_name) != own]


def _together(concept: Concept, other: Concept) -> Prompt:
    text = f"{concept.descriptor}, {other.descriptor}"
    return Prompt(concept.id, "together", text, text_for_alignment(text_for_alignment(text, concept), other))


def alter_template(concept: Concept, prompts_folder: Path) -> tuple[Path, str]:
    """Folder and stem of the template of a concept's `alter` prompts.

    One that the data set names is looked for in `prompts_folder` alone; an assumed one, or what stands for it, is taken
    from the shipped prompts where `prompts_folder` has none of them.
    """
    own = prompts_folder / "alter"
    if concept.alter_else:
        for folder in (own, PROMPTS / "alter"):
            for stem in (concept.alter, *concept.alter_else):
                if (folder / f"{stem}.txt").is_file():
                    return folder, stem
    return own, concept.alter


def stand_ins(dataset: Dataset, prompts_folder: Path) -> list[str]:
    """A sentence for each evaluated concept whose assumed template is not in the folder of prompts."""
    sentences = []
    for concept in dataset.concepts:
        folder, stem = alter_template(concept, prompts_folder)
        if concept.evaluated and (folder, stem) != (prompts_folder / "alter", concept.alter):
            place = " of the shipped prompts" if folder != prompts_folder / "alter" else ""
            sentences.append(
                f"Concept '{concept.id}': images.prompts has no template '{concept.alter}', so '{stem}'{place} stands "
                "for it."
            )
    return sentences


def text_for_alignment(text: str, concept: Concept) -> str:
    """The text without words that only the fine-tuned model knows; "" if nothing remains.

    `trigger class_word` becomes `concept.alignment`: None keeps the class word, "" removes both, and the commas and
    prepositions that tied them to the rest. Of the sub-class keyword, outfits go ("[V_dark uniform] outfit"), with the
    class word if nothing is said, and bracketed tokens too; plain words stay ("realistic"). LyCORIS D.4, text-image
    alignment.
    """
    usual = "" if _is_outfit(concept.keyword) else concept.class_word
    text = _without_made_up_keyword(text, concept.keyword)
    words = [re.escape(word) for word in (concept.trigger, concept.class_word) if word]
    called = rf"{words[0]}(?:\s+{words[1]})?" if len(words) == 2 else "".join(words)
    if called:
        stands_for = usual if concept.alignment is None else concept.alignment
        text = re.sub(rf"(?<!\w){called}(?!\w)", lambda _: stands_for or _GAP, text)
    return _tidy(text)


def _alignment(text: str, concept: Concept, type_: PromptType) -> str:
    # Prompts without the concept may hold one of its words by chance; they are understood as they are.
    return text if type_ == "drift" else text_for_alignment(text, concept)


def _is_outfit(keyword: str) -> bool:
    return keyword.endswith("outfit")


def _without_made_up_keyword(text: str, keyword: str) -> str:
    stays = "" if _is_outfit(keyword) else " ".join(re.sub(r"\[[^\]]*\]", " ", keyword).split())
    if stays == keyword:
        return text

    def rest(found: re.Match[str]) -> str:
        # The comma before the keyword goes with it: "girl, [V] outfit cooking" -> "girl cooking".
        return found["comma"] + stays if stays else ("" if found["comma"] else _GAP)

    return re.sub(rf"(?P<comma>\s*,\s*|)(?<!\w){re.escape(keyword)}(?!\w)", rest, text)


def _tidy(text: str) -> str:
    """Close the gaps: no preposition or article left without its noun, no comma without two neighbours."""
    # "in front of the GAP" -> GAP; then "GAP of a city" at the start of a clause -> "a city".
    text = re.sub(rf"\b(?:{_PREPOSITIONS})\s+(?:(?:the|an?)\s+)?{_GAP}", _GAP, text, flags=re.IGNORECASE)
    text = re.sub(rf"\b(?:the|an?)\s+{_GAP}", _GAP, text, flags=re.IGNORECASE)
    text = re.sub(rf"(^|,)\s*{_GAP}\s+(?:{_PREPOSITIONS})\b", r"\1", text, flags=re.IGNORECASE)
    text = text.replace(_GAP, " ")
    parts = [" ".join(part.split()) for part in text.split(",")]
    return ", ".join(part for part in parts if part)


def _texts(concept: Concept, type_: PromptType, captions: list[str], folder: Path) -> list[str]:
    if type_ == "train":
        return captions
    if type_ == "trigger":
        return [concept.descriptor]
    if type_ == "drift":
        return _lines(folder, "drift")
    if type_ == "style":
        templates = [] if concept.category == "styles" or not concept.has_style_prompts else _templates(folder, "style")
    elif type_ == "alter":
        templates = _templates(*alter_template(concept, folder)) if concept.alter else []
    else:
        raise UserError(unknown("prompt type", type_, PROMPT_TYPES))
    return [template.replace(PLACEHOLDER, concept.descriptor) for template in templates]


def _templates(folder: Path, stem: str) -> list[str]:
    lines = _lines(folder, stem)
    for line in lines:
        if PLACEHOLDER not in line:
            raise UserError(f"Template {folder / stem}.txt: '{line}' has no {PLACEHOLDER}, the concept's place.")
    return lines


def _lines(folder: Path, stem: str) -> list[str]:
    path = folder / f"{stem}.txt"
    if not folder.is_dir():
        raise UserError(
            f"There is no folder {folder} of prompt templates: name one by images.prompts of the study, or --prompts."
        )
    inside = path.is_relative_to(folder) and ".." not in Path(stem).parts  # a data set names its template
    if not inside or not path.is_file():
        available = sorted(found.stem for found in folder.glob("*.txt"))
        raise UserError(unknown("prompt template", stem, available, f"{folder}, one .txt file each"))
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise UserError(f"Prompt template {path} is not UTF-8 text ({error.reason}). Save it as UTF-8.") from error
    lines = [line for line in lines if line]
    if not lines:
        raise UserError(f"Prompt template {path} is empty. Write one prompt a line.")
    return lines


def _requests(prompts: Sequence[Prompt], n_images: int, study_seed: int, noise: NoiseSeeds) -> tuple[ImageRequest, ...]:
    """Images, prompt after prompt: each gets n // p and the first n mod p one more; of p > n prompts the first n."""
    each, more = divmod(n_images, len(prompts))
    drawn = [prompt for place, prompt in enumerate(prompts) for _ in range(each + (place < more))]
    return tuple(
        ImageRequest(prompt, index, _noise_seed(prompt, index, study_seed, noise)) for index, prompt in enumerate(drawn)
    )


def _noise_seed(prompt: Prompt, index: int, study_seed: int, noise: NoiseSeeds) -> int:
    if noise == "index":
        return FIRST_INDEX_SEED + index
    return derive_seed(study_seed, prompt.concept_id, prompt.type, index)
