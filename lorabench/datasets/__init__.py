"""A folder of captioned images -> Dataset: concepts from dataset.toml, or else from the folders' names."""

from __future__ import annotations

import difflib
import functools
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Literal

from lorabench.datasets.description import (
    DESCRIPTION,
    ConceptEntry,
    Description,
    guess_description,
    place_of,
    read_description,
    usual_templates,
)
from lorabench.errors import UserError
from lorabench.records import Concept, Dataset, TrainingImage
from lorabench.values import MOST_SAMPLES, require_text

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})


def load_dataset(folder: Path) -> Dataset:
    """Read a data set, its images' bytes included. UserError for whatever is wrong with the folder."""
    found = read_dataset(folder)
    hashes = {image.path: _file_hash(image.path) for image in found.images}
    fingerprint = _fingerprint(found.concepts, found.images, hashes)
    return replace(found, fingerprint=fingerprint, contents=_contents(found.images, hashes))


def read_dataset(folder: Path) -> Dataset:
    """What names, captions and descriptions say, concepts and images in sorted order; no fingerprint. UserError too.

    Without dataset.toml: one concept if images lie in the folder itself, else category/class[/sub-class] folders;
    what had to be guessed is listed in `assumptions`.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(
            f"Data set {folder} is not a folder. Let data.folder of the study, or --data, name a folder of images with "
            ".txt captions beside them."
        )
    every_image = images_below(folder)
    if not every_image:
        raise UserError(f"Data set {folder} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))}).")
    captions = {path: _caption(path) for path in every_image}
    described = (folder / DESCRIPTION).is_file()
    description, assumptions = (
        (read_description(folder / DESCRIPTION), []) if described else guess_description(folder, every_image, captions)
    )
    name = description.name or folder.resolve().name

    by_folder: dict[Path, list[Path]] = {}
    for path in every_image:
        by_folder.setdefault(path.parent, []).append(path)
    leaves = _leaves(description, folder, name, by_folder)
    _require_captions([path for _, _, paths in leaves for path in paths], captions, folder)
    repeats = _repeats({concept: (entry.repeats, len(paths)) for concept, entry, paths in leaves})
    images = tuple(
        TrainingImage(concept.id, path, captions[path], repeats[concept])
        for concept, _, paths in leaves
        for path in paths
    )
    samples = sum(image.repeats for image in images)
    if samples > MOST_SAMPLES:
        raise UserError(
            f"{_where(folder)}: repeats make {samples} samples an epoch; at most {MOST_SAMPLES} are trained."
        )
    concepts = tuple(concept for concept, _, _ in leaves)
    return Dataset(
        name=name,
        revision=description.revision,
        license=description.license,
        citation=description.citation,
        concepts=concepts,
        images=images,
        fingerprint="",
        assumptions=(
            *assumptions,
            *(_usual_prompts(concepts) if described else ()),
            *_left_out(every_image, images, folder),
            *_without_trigger(concepts, images),
        ),
    )


def _where(folder: Path) -> Path:
    """The file that describes a data set, or the folder that does."""
    file = folder / DESCRIPTION
    return file if file.is_file() else folder


def bucket_size(width: int, height: int, resolution: int) -> tuple[int, int]:
    """The (width, height) a picture of that size is trained at: the bucket of the nearest aspect ratio, up or down.

    Area <= resolution^2, sides multiples of 64 (of 16 below resolution 256: the latents of small models), from 5/8 to
    15/8 of the resolution, as in the paper's training (320 to 960 at 512). Of equal ratios the largest.
    """
    if min(width, height, resolution) < 1:
        raise ValueError(f"Sizes are positive, got {width} x {height} at resolution {resolution}.")
    # Ratios are compared by their quotient, so that a picture and the same one lying get corresponding buckets.
    ratio = width / height

    def distance(bucket: tuple[int, int]) -> tuple[float, int]:
        quotient = ratio * bucket[1] / bucket[0]
        return (round(max(quotient, 1 / quotient), 12), -bucket[0] * bucket[1])

    return min(_buckets(resolution), key=distance)


@functools.lru_cache
def _buckets(resolution: int) -> tuple[tuple[int, int], ...]:
    step = 64 if resolution >= 256 else 16
    square = max(step, resolution // step * step)
    smallest, largest = resolution * 5 / 8, resolution * 15 / 8
    sides = [side for side in range(step, int(largest) + 1, step) if side >= smallest]
    fitting = [(w, h) for w in sides for h in sides if w * h <= resolution**2]
    return tuple(sorted({(square, square), *fitting}))


# --- reading ----------------------------------------------------------------------------------------------------------


def images_below(folder: Path) -> list[Path]:
    """All images below a folder, sorted by their path; hidden files and folders are not looked at."""
    paths = (path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    visible = (path for path in paths if not any(part.startswith(".") for part in path.relative_to(folder).parts))
    found = sorted(visible, key=lambda path: path.relative_to(folder).as_posix())
    for path in found:
        require_text(path, "Picture")
    return found


def _caption(image: Path) -> str:
    """The text beside an image on one line, "" if there is none."""
    file = image.with_suffix(".txt")
    try:
        return " ".join(file.read_text(encoding="utf-8-sig").split()) if file.is_file() else ""
    except UnicodeDecodeError as error:
        raise UserError(f"Caption {file} is not UTF-8 text ({error.reason}). Save it as UTF-8.") from error


def _require_captions(paths: Sequence[Path], captions: dict[Path, str], folder: Path) -> None:
    missing = [path.relative_to(folder).as_posix() for path in paths if not captions[path]]
    if missing:
        shown = ", ".join(missing[:3]) + (" ..." if len(missing) > 3 else "")
        raise UserError(
            f"{len(missing)} of {len(paths)} images in {folder} have no caption ({shown}). "
            f"Write each caption into a .txt file of the image's name beside it."
        )


# --- concepts ---------------------------------------------------------------------------------------------------------

_Leaf = tuple[Concept, ConceptEntry, list[Path]]


def _leaves(description: Description, folder: Path, name: str, by_folder: dict[Path, list[Path]]) -> list[_Leaf]:
    """Concept, its entry and its images, sorted by concept id."""
    paths = [_normal_path(entry.path, folder) for entry in description.concept]
    twice = [str(path) for path, count in Counter(paths).items() if count > 1]
    if twice:
        raise UserError(f"{_where(folder)}: two concepts have the path '{twice[0]}'; a folder is one concept.")
    leaves = []
    for path, entry in zip(paths, description.concept):
        concept = _concept(path, entry, name)
        if not concept.descriptor:
            raise UserError(f"{_where(folder)}: concept '{path}' has neither trigger nor class_word.")
        images = by_folder.get(folder / path, [])
        if not images:
            raise UserError(_no_images(folder, path, by_folder))
        leaves.append((concept, entry, images))
    return sorted(leaves, key=lambda leaf: leaf[0].id)


def _normal_path(text: str, folder: Path) -> PurePosixPath:
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or len(path.parts) > 3:
        raise UserError(
            f"{_where(folder)}: concept path '{text}' must be category/class or category/class/sub-class, "
            f"inside the data set's folder."
        )
    return path


def _concept(path: PurePosixPath, entry: ConceptEntry, name: str) -> Concept:
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


def _no_images(folder: Path, path: PurePosixPath, by_folder: dict[Path, list[Path]]) -> str:
    available = [found.relative_to(folder).as_posix() for found in by_folder]
    near = difflib.get_close_matches(str(path), available, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else f" Folders with images: {', '.join(available[:10])}."
    return f"{_where(folder)}: there are no images in the concept path '{path}'.{hint}"


def _repeats(leaves: dict[Concept, tuple[int | Literal["balance"], int]]) -> dict[Concept, int]:
    """How often an epoch shows each image of a concept.

    "balance": images of a class times repeats come as close as whole numbers can to the largest class, which is shown
    once (tables 3 and 4 of the LyCORIS paper); fixed repeats of other sub-classes are taken into account.
    """
    fixed: Counter[tuple[str, str]] = Counter()
    balanced: Counter[tuple[str, str]] = Counter()
    for concept, (repeats, count) in leaves.items():
        class_ = (concept.category, concept.class_name)
        if repeats == "balance":
            balanced[class_] += count
        else:
            fixed[class_] += count * repeats
    target = max((fixed + balanced).values())
    answer = {}
    for concept, (repeats, _) in leaves.items():
        class_ = (concept.category, concept.class_name)
        if repeats == "balance":
            repeats = max(1, round((target - fixed[class_]) / balanced[class_]))
        answer[concept] = repeats
    return answer


# --- what else there is to say ----------------------------------------------------------------------------------------


def _usual_prompts(concepts: Sequence[Concept]) -> list[str]:
    """A sentence for each template that the data set does not name."""
    used: dict[str, list[str]] = {}
    for concept in concepts:
        if concept.evaluated and concept.alter_else:
            used.setdefault(concept.alter, []).append(concept.id)
    return [
        f"No template is named (alter) for {', '.join(ids)}: `alter` prompts are those of '{template}'."
        for template, ids in used.items()
    ]


def _left_out(every_image: Sequence[Path], used: Sequence[TrainingImage], folder: Path) -> list[str]:
    kept = {image.path for image in used}
    left = [path.relative_to(folder).as_posix() for path in every_image if path not in kept]
    return [f"{len(left)} images belong to no concept and are left out; the first is {left[0]}."] if left else []


def _without_trigger(concepts: Sequence[Concept], images: Sequence[TrainingImage]) -> list[str]:
    notes = []
    for concept in concepts:
        captions = [image.caption for image in images if image.concept_id == concept.id]
        without = [caption for caption in captions if concept.trigger not in caption]
        if without:
            notes.append(
                f"{len(without)} of {len(captions)} captions of '{concept.id}' do not hold its trigger "
                f"'{concept.trigger}'; the first is '{without[0]}'."
            )
    return notes


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _contents(images: Sequence[TrainingImage], hashes: Mapping[Path, str]) -> dict[str, str]:
    """Concept id -> 12 hex digits over its pictures and captions, whatever their files are called."""
    pairs: dict[str, list[tuple[str, str]]] = {}
    for image in images:
        pairs.setdefault(image.concept_id, []).append((hashes[image.path], image.caption))
    return {id_: hashlib.sha256(repr(sorted(each)).encode("utf-8")).hexdigest()[:12] for id_, each in pairs.items()}


def _fingerprint(concepts: Sequence[Concept], images: Sequence[TrainingImage], hashes: Mapping[Path, str]) -> str:
    """sha256 over all that training sees: words of the concepts; name, caption, repeats and bytes of each image."""
    digest = hashlib.sha256()
    for concept in concepts:
        words = (concept.id, concept.trigger, concept.class_word, concept.keyword)
        digest.update(repr(words).encode("utf-8"))
    for image in images:
        facts = (image.concept_id, image.path.name, image.caption, image.repeats, hashes[image.path])
        digest.update(repr(facts).encode("utf-8"))
    return digest.hexdigest()
