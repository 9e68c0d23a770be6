"""From a description to concepts and training images: where each lies, what it is called, how often it is shown."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lorabench.datasets.assumed import Assumed
from lorabench.datasets.captions import Captions, read_captions
from lorabench.datasets.description import ConceptEntry
from lorabench.datasets.hierarchy import place_of, usual_templates
from lorabench.datasets.pictures import images_below, images_in
from lorabench.datasets.words import HOW_TO_SAY
from lorabench.errors import UserError
from lorabench.records import Concept, TrainingImage


@dataclass(frozen=True)
class Part:
    """An entry of a description, its concept, and the captioned images that it brings."""

    concept: Concept
    entry: ConceptEntry
    captions: Captions


def parts_of(assumed: Assumed, name: str, *, needs_captions: bool = True) -> list[Part]:
    """The entries in order of their concepts' ids. UserError for entries that contradict each other or the folders."""

    def read(entry: ConceptEntry) -> Captions:
        images = [image for folder in folders_of(entry, assumed.root) for image in images_in(folder)]
        captions = read_captions(images, assumed.root, entry)
        if not captions.texts:
            raise UserError(_no_images(assumed, entry))
        return captions

    parts = _parts(assumed, name, read)
    if needs_captions:
        _require_captions(parts, assumed)
    return parts


def stated_parts(assumed: Assumed) -> list[Part]:
    """The entries as `parts_of` has them, each with as many pictures as it states: none is there, nor is a caption."""

    def state(entry: ConceptEntry) -> Captions:
        (folder, *_) = folders_of(entry, assumed.root)
        return Captions({folder / f"{place}.png": "" for place in range(entry.pictures or 0)})

    return _parts(assumed, assumed.name, state)


def _parts(assumed: Assumed, name: str, captions_of: Callable[[ConceptEntry], Captions]) -> list[Part]:
    where = assumed.where
    paths = [_normal_path(entry.path, where) for entry in assumed.description.concept]
    _require_distinct(paths, assumed)
    parts: list[Part] = []
    concepts: dict[PurePosixPath, Concept] = {}
    for path, entry in zip(paths, assumed.description.concept):
        concept = concept_at(path, entry, name)
        if concepts.setdefault(path, concept) != concept:
            raise UserError(f"{where}: two entries have the path '{path}', and do not say the same of that concept.")
        parts.append(Part(concept, entry, captions_of(entry)))
    return sorted(parts, key=lambda part: part.concept.id)


def require_words(parts: Sequence[Part], assumed: Assumed) -> None:
    """UserError for a concept that no prompt could call."""
    wordless = next((part.concept for part in parts if not part.concept.descriptor), None)
    if wordless:
        raise UserError(f"{assumed.where}: concept '{wordless.id}' has neither trigger nor class_word. {HOW_TO_SAY}.")


def folders_of(entry: ConceptEntry, root: Path) -> list[Path]:
    """Where the images of an entry lie."""
    return [root / folder for folder in entry.folders or (entry.path,)]


def training_images(parts: Sequence[Part]) -> tuple[TrainingImage, ...]:
    """The images of all concepts with captions as training sees them, and how often it does."""
    repeats = _repeats(parts)
    return tuple(
        TrainingImage(part.concept.id, path, caption_of(part, text), each)
        for part, each in zip(parts, repeats, strict=True)
        for path, text in part.captions.texts.items()
    )


def caption_of(part: Part, text: str) -> str:
    """The caption that training sees for the one that is written, "" if none is."""
    entry = part.entry
    text = text or (entry.caption or "").replace("{}", part.concept.descriptor)
    return " ".join(piece for piece in (entry.caption_prefix, text, entry.caption_suffix) if piece)


def _normal_path(text: str, where: Path) -> PurePosixPath:
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or len(path.parts) > 3:
        raise UserError(
            f"{where}: concept path '{text}' must be category/class or category/class/sub-class, "
            f"inside the data set's folder."
        )
    return path


def _require_distinct(paths: Sequence[PurePosixPath], assumed: Assumed) -> None:
    """UserError for a folder that two entries name."""
    named = [
        (folder.resolve(), path)
        for path, entry in zip(paths, assumed.description.concept)
        for folder in folders_of(entry, assumed.root)
    ]
    for folder, number in Counter(folder for folder, _ in named).items():
        if number > 1:
            first, second = [path for each, path in named if each == folder][:2]
            if first == second:
                raise UserError(f"{assumed.where}: two concepts have the path '{first}'; a folder is one concept.")
            raise UserError(f"{assumed.where}: concepts '{first}' and '{second}' have one folder, {folder}.")


def _require_captions(parts: Sequence[Part], assumed: Assumed) -> None:
    missing = [path for part in parts if part.entry.caption is None for path in part.captions.missing]
    if missing:
        names = [path.relative_to(assumed.root) if path.is_relative_to(assumed.root) else path for path in missing]
        shown = ", ".join(map(str, names[:3])) + (" ..." if len(missing) > 3 else "")
        number = sum(len(part.captions.texts) for part in parts)
        raise UserError(
            f"{len(missing)} of {number} images in {assumed.root} have no caption ({shown}). Write each caption into a "
            f'.txt file of the image\'s name beside it, or caption = "{{}}", the descriptor, into {assumed.where}.'
        )


def concept_at(path: PurePosixPath, entry: ConceptEntry, name: str) -> Concept:
    """The concept of an entry, whose folder in the data set of that name is `path`."""
    category, class_name, subclass = place_of(path, name)
    usual = usual_templates(category, class_name)
    return Concept(
        category=category,
        class_name=class_name,
        subclass=subclass,
        trigger=entry.trigger,
        class_word=entry.class_word,
        keyword=entry.keyword,
        alter=usual[0] if entry.alter is None else entry.alter,
        alter_else=(usual[1:] or usual) if entry.alter is None else (),
        alignment=entry.alignment,
        has_style_prompts=entry.style_prompts,
        evaluated=entry.evaluate,
    )


def _no_images(assumed: Assumed, entry: ConceptEntry) -> str:
    root, wanted = assumed.root, ", ".join(entry.folders) or entry.path
    available = list(dict.fromkeys(path.parent.relative_to(root).as_posix() for path in images_below(root)))
    near = difflib.get_close_matches(wanted, available, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else f" Folders with images: {', '.join(available[:10]) or 'none'}."
    what = f"folders of concept '{entry.path}', {wanted}" if entry.folders else f"concept path '{wanted}'"
    return f"{assumed.where}: there are no images in the {what}.{hint}"


def _repeats(parts: Sequence[Part]) -> list[int]:
    """How often an epoch shows each image of an entry.

    "balance": images of a class times repeats come as close as whole numbers can to the largest class, which is shown
    once (tables 3 and 4 of the LyCORIS paper); fixed repeats of other sub-classes are taken into account.
    """
    fixed: Counter[tuple[str, str]] = Counter()
    balanced: Counter[tuple[str, str]] = Counter()
    for part in parts:
        number, repeats = len(part.captions.texts), part.entry.repeats
        if repeats == "balance":
            balanced[_class(part)] += number
        else:
            fixed[_class(part)] += number * repeats
    target = max((fixed + balanced).values())

    def worked_out(part: Part) -> int:
        class_ = _class(part)
        return max(1, round((target - fixed[class_]) / balanced[class_]))

    return [worked_out(part) if part.entry.repeats == "balance" else part.entry.repeats for part in parts]


def _class(part: Part) -> tuple[str, str]:
    return part.concept.category, part.concept.class_name
