"""The novel concepts as an ordinary data set: images with captions and a dataset.toml."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from lorabench.datasets import extension_of
from lorabench.mini.concepts import CONCEPTS, NovelConcept, concept_caption, render_concept
from lorabench.records import ALL_TAGS

_HEAD = """name = "mini"
revision = "1"
license = "Apache-2.0"
citation = "The miniature world of lorabench, drawn by lorabench.mini."
"""


def concept_path(concept: NovelConcept) -> str:
    """Where the images of a concept lie below the data set: category/class[/sub-class]."""
    return concept.id


def write_dataset(folder: Path) -> Path:
    """Write every concept into `folder` and return it; images are NN.png, beside each a caption and one of all tags."""
    blocks = [_HEAD]
    for concept in CONCEPTS:
        place = folder / concept_path(concept)
        place.mkdir(parents=True, exist_ok=True)
        for index in range(concept.count):
            Image.fromarray(render_concept(concept, index)).save(place / f"{index:02d}.png")
            caption = concept_caption(concept, index)
            (place / f"{index:02d}.txt").write_text(caption + "\n", encoding="utf-8")
            tags = concept_caption(concept, index, bound=True)
            (place / f"{index:02d}{extension_of(ALL_TAGS)}").write_text(tags + "\n", encoding="utf-8")
        blocks.append(_block(concept))
    (folder / "dataset.toml").write_text("\n".join(blocks), encoding="utf-8")
    return folder


def _block(concept: NovelConcept) -> str:
    lines = [
        "[[concept]]",
        f'path = "{concept_path(concept)}"',
        f'trigger = "{concept.trigger}"',
        f'class_word = "{concept.class_word}"',
    ]
    if concept.keyword:
        lines.append(f'keyword = "{concept.keyword}"')
    lines += [
        f"repeats = {concept.repeats}",
        f'alter = "{concept.alter}"',
        f'alignment = "{concept.alignment}"',
    ]
    return "\n".join(lines) + "\n"
