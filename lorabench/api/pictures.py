"""Pictures as people have them: what a folder is read as, written down to be edited, and whose words call it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lorabench import datasets
from lorabench.api.requests import GivenAdapters, GivenImages
from lorabench.config import Data
from lorabench.datasets import Assumed, Part, Words
from lorabench.datasets.adapter_words import words_in_metadata
from lorabench.errors import UserError
from lorabench.records import TrainingImage

if TYPE_CHECKING:
    import pandas as pd

_HEADING = (
    "What lorabench assumed of these pictures ({layout}). Edit it: it holds from now on.\n"
    "Keys that are left out: docs/datasets.md."
)


_COLUMNS = ["concept", "trigger", "class_word", "keyword", "pictures", "captions", "without_caption", "repeats"]


@dataclass(frozen=True)
class Reading:
    """What a folder of pictures was read as."""

    assumed: Assumed
    parts: tuple[Part, ...]
    images: tuple[TrainingImage, ...]
    assumptions: tuple[str, ...]
    lacking: str = ""  # what has to be said before it can be used
    written: Path | None = None  # the dataset.toml that says so

    def facts(self) -> dict[str, object]:
        """Where and what it is, in numbers."""
        folder, concepts = str(self.assumed.root), {part.concept for part in self.parts}
        counts = {"pictures": len(self.images), "samples": sum(image.repeats for image in self.images)}
        return {"folder": folder, "layout": self.assumed.layout, "concepts": len(concepts), **counts}

    def concepts(self) -> pd.DataFrame:
        """A row a concept: its words, pictures, different captions, and how often an epoch shows a picture."""
        import pandas as pd

        rows = []
        for concept in dict.fromkeys(part.concept for part in self.parts):
            images = [image for image in self.images if image.concept_id == concept.id]
            missing = sum(len(part.captions.missing) for part in self.parts if part.concept == concept)
            words = {"trigger": concept.trigger, "class_word": concept.class_word, "keyword": concept.keyword}
            captions = {"captions": len({image.caption for image in images}), "without_caption": missing}
            repeats = ", ".join(map(str, sorted({image.repeats for image in images})))
            rows.append({"concept": concept.id, **words, "pictures": len(images), **captions, "repeats": repeats})
        return pd.DataFrame(rows, columns=_COLUMNS)


def dataset(place: Path, words: Words) -> Reading:
    """Read a folder of pictures in whatever layout. UserError for what could be no data set whatever is said of it."""
    assumed = datasets.assume(place, words)
    parts = tuple(datasets.parts_of(assumed, assumed.name))
    wordless = ", ".join(dict.fromkeys(part.concept.id for part in parts if not part.concept.descriptor))
    lacking = f"'{wordless}' has neither trigger nor class_word. {datasets.HOW_TO_SAY}." if wordless else ""
    if not lacking:
        datasets.dataset_of(assumed)  # whatever else is wrong
    images = datasets.training_images(parts)
    return Reading(assumed, parts, images, datasets.assumptions(assumed, parts), lacking)


def skeleton(place: Path, name: str) -> Reading:
    """Begin a known data set in a folder, and read what is there; `lacking` where concepts have no pictures yet."""
    written = datasets.begin_skeleton(name, place)
    assumed = datasets.assume(place)
    missing = tuple(datasets.missing_pictures(assumed))
    if not missing:
        return replace(dataset(place, Words()), written=written)
    lacking = f"{len(missing)} of {len(assumed.description.concept)} concepts lack pictures."
    return Reading(assumed, (), (), missing, lacking, written)


def write(reading: Reading) -> Reading:
    """Write the dataset.toml that was assumed. UserError where there is one."""
    assumed = reading.assumed
    target = assumed.root / datasets.DESCRIPTION
    if target.exists():
        whose = (
            "edit it" if assumed.is_ours else f"it is {assumed.layout}; give it another name, and this can be written"
        )
        raise UserError(f"{target} exists: {whose}.")
    described = assumed.description.model_copy(update={"name": assumed.name})
    target.write_text(datasets.written(described, _HEADING.format(layout=assumed.layout)), encoding="utf-8")
    return replace(reading, written=target)


def chosen(
    data: Data, given: GivenAdapters | GivenImages, headers: Iterable[Mapping[str, str]]
) -> tuple[Data, list[str]]:
    """A study's data under the options of `evaluate`, and a sentence where words are from the adapters' metadata.

    UserError where they say several.
    """
    if given.data is not None:
        data = Data(folder=str(given.data.resolve()), concepts=data.concepts)
    if given.reference is not None:
        data = data.model_copy(update={"reference": str(given.reference.resolve()), "holdout": 0})
    words = given.words or Words(data.trigger, data.class_word)
    remarks = []
    if not words and _needs_words(data.folder or data.reference):
        words = _only(words_in_metadata(list(headers)), data.folder or data.reference)
        remarks += [f"The words '{words}' are from the adapters' metadata ({words.origin})."] if words else []
    changes = {"concepts": given.concepts or data.concepts, "trigger": words.trigger, "class_word": words.class_word}
    return data.model_copy(update=changes), remarks


def _needs_words(folder: str) -> bool:
    """Whether somebody has to say how prompts call the one concept: there are no pictures, or they do not say it."""
    if not folder:
        return True
    return Path(folder).exists() and len(datasets.assume(Path(folder)).wordless) == 1


def _only(found: Sequence[Words], folder: str) -> Words:
    """The words if all adapters say the same. UserError if not."""
    if len(found) > 1:
        known = ", ".join(f"'{words}' ({words.origin})" for words in found[:5])
        place = f"Data set {folder}: the" if folder else "There is no --data, and the"
        raise UserError(f"{place} adapters' metadata say {known}. {datasets.HOW_TO_SAY}.")
    return found[0] if found else Words()
