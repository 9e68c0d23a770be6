"""Pictures of the classes of a data set, drawn with the base model: what prior preservation is trained on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from lorabench import base_models, config, images, store
from lorabench.api import studies
from lorabench.api.progress import open_progress
from lorabench.api.requests import How
from lorabench.devices import pick_device
from lorabench.errors import UserError
from lorabench.pipeline.planning import dataset_of, with_sizes
from lorabench.records import Concept, ImageRequest, Prompt, PromptSet
from lorabench.sampler import sampler_of
from lorabench.seeds import derive_seed
from lorabench.stages import generate


@dataclass(frozen=True)
class Drawn:
    """Where the class images of a study lie, how many of each class, and how many of all are new."""

    folder: Path
    classes: dict[str, int]
    made: int


def draw(path: Path, count: int, out: Path | None, how: How, quiet: bool) -> Drawn:
    """Draw so many pictures of each class word, but for those that are there: `<folder>/<class word>/0000.png`, ...

    Each with its caption, the class word, beside it. The folder is data.class_images of the study unless another is
    named. UserError where neither is, or no concept has a class word.
    """
    study = studies.prepared(config.load_study(path), how)
    folder = out or Path(study.data.class_images)
    if not out and not study.data.class_images:
        raise UserError(f"Study '{study.name}' names no folder for class images: set data.class_images, or --out.")
    words = list(dict.fromkeys(each.class_word for each in dataset_of(study).concepts if each.class_word))
    if not words:
        raise UserError(f"No concept of {study.data.folder} has a class word: nobody knows what to draw.")
    base = base_models.base_of(study.base, study.vae)
    study = with_sizes(study, base.side)
    sets = _missing(folder, words, count, study.images.batch_size)
    made = sum(len(each.requests) for each in sets)
    with open_progress(quiet).stage("generate", len(sets), made) as advance:
        if sets:
            device = torch.device(pick_device(study.run.device))
            model = base_models.load_base(base, device, getattr(torch, study.run.precision))
            sampler = sampler_of(model, study.run.compile)
            for drawn in generate.generate(sampler, sets, study.sampling, study.images.batch_size, on_images=advance):
                for request, picture in zip(drawn.prompt_set.requests, drawn.images, strict=True):
                    _write(_place(folder, request.prompt.text, request.index), picture, request.prompt.text)
    return Drawn(folder, {word: len(list(_place(folder, word, 0).parent.glob("*.png"))) for word in words}, made)


def _missing(folder: Path, words: Sequence[str], count: int, at_once: int) -> list[PromptSet]:
    """What is to be drawn, in parts that are written as soon as they are complete."""
    sets = []
    for word in words:
        concept, prompt = Concept("class images", word, "", "", word), Prompt(word, "trigger", word, word)
        lacking = [index for index in range(count) if not _place(folder, word, index).exists()]
        asked = [ImageRequest(prompt, index, derive_seed("class image", word, index)) for index in lacking]
        parts = [tuple(asked[start : start + at_once]) for start in range(0, len(asked), at_once)]
        sets += [PromptSet(concept, "trigger", part) for part in parts]
    return sets


def _place(folder: Path, word: str, index: int) -> Path:
    return folder / store.safe_name(word) / f"{index:04d}.png"


def _write(file: Path, picture: object, caption: str) -> None:
    """The picture last, and whole: where it is, its caption is."""
    partial = file.with_name(f".{file.name}.partial")
    images.write(partial, picture)
    file.with_suffix(".txt").write_text(caption, encoding="utf-8")
    os.replace(partial, file)
