"""The rendered training pictures of the ordinary world, kept on disk so that every training reads the same ones."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from lorabench.mini.renderer import render
from lorabench.mini.vocabulary import ACCESSORIES, COLORS, POSES, SCENES, STYLES, SUBJECTS
from lorabench.mini.world import Picture, captions, sample_picture

# Class counts of the columns of `labels.npy`; the last class of subject, accessory and style is "none".
LABELS = {
    "subject": len(SUBJECTS) + 1,
    "color": len(COLORS),
    "scene": len(SCENES),
    "accessory": len(ACCESSORIES) + 1,
    "pose": len(POSES),
    "style": len(STYLES) + 1,
}
_CHUNK = 2000


def training_picture(seed: int, index: int) -> Picture:
    """Picture `index` of the training set `seed`."""
    return sample_picture(np.random.default_rng([seed, index]))


def labels(picture: Picture) -> list[int]:
    """The classes of a picture in the order of `LABELS`."""

    def place(value: str | None, names: tuple[str, ...]) -> int:
        return len(names) if value is None else names.index(value)

    return [
        place(picture.subject, SUBJECTS),
        place(picture.color, COLORS),
        place(picture.scene, tuple(SCENES)),
        place(picture.accessory, tuple(ACCESSORIES)),
        place(picture.pose, POSES),
        place(picture.style, tuple(STYLES)),
    ]


def twin(picture: Picture) -> Picture:
    """The same subject elsewhere: other scene, pose, accessory and style, equal name, colour and hair."""
    rng = np.random.default_rng([picture.seed, 2])
    while True:
        other = sample_picture(rng)
        # Drawn until it fits: what a subject can wear or do depends on what it is.
        if other.subject == picture.subject:
            return replace(other, color=picture.color, hair=picture.hair, hair_style=picture.hair_style)


def _twin_chunk(seed: int, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
    twins = [twin(training_picture(seed, index)) for index in range(start, stop)]
    return np.stack([render(picture) for picture in twins]), np.array([labels(picture) for picture in twins], np.int64)


def prepare_twins(data: Path, n: int, seed: int, processes: int = 2) -> None:
    """Render a twin of each of the first `n` training pictures unless they are there.

    twin_pixels.npy uint8 [n, 64, 64, 3], twin_labels.npy int64 [n, 6].
    """
    if (data / "twin_labels.npy").exists():
        return
    n = min(n, len(load(data, "labels")))
    starts = range(0, n, _CHUNK)
    stops = [min(start + _CHUNK, n) for start in starts]
    with ProcessPoolExecutor(processes) as pool:
        parts = list(pool.map(_twin_chunk, [seed] * len(stops), starts, stops))
    np.save(data / "twin_pixels.npy", np.concatenate([pixels for pixels, _ in parts]))
    np.save(data / "twin_labels.npy", np.concatenate([found for _, found in parts]))


def _chunk(seed: int, start: int, stop: int) -> tuple[np.ndarray, list[tuple[str, str, str]], np.ndarray]:
    pictures = [training_picture(seed, index) for index in range(start, stop)]
    pixels = np.stack([render(picture) for picture in pictures])
    return pixels, [captions(picture) for picture in pictures], np.array([labels(p) for p in pictures], np.int64)


def prepare(work: Path, n: int, seed: int, processes: int = 2) -> Path:
    """Render `n` pictures into `work`/data unless they are there; returns that folder.

    pixels.npy uint8 [n, 64, 64, 3], captions.npy str [n, 3], labels.npy int64 [n, 6].
    """
    folder = work / "data"
    if (folder / "labels.npy").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.lib.format.open_memmap(folder / "pixels.npy", "w+", np.uint8, (n, 64, 64, 3))
    texts: list[tuple[str, str, str]] = []
    classes = []
    starts = range(0, n, _CHUNK)
    stops = [min(start + _CHUNK, n) for start in starts]
    with ProcessPoolExecutor(processes) as pool:
        for start, stop, (part, names, found) in zip(
            starts, stops, pool.map(_chunk, [seed] * len(stops), starts, stops)
        ):
            pixels[start:stop] = part
            texts += names
            classes.append(found)
    pixels.flush()
    np.save(folder / "captions.npy", np.array(texts))
    np.save(folder / "labels.partial.npy", np.concatenate(classes))
    os.replace(folder / "labels.partial.npy", folder / "labels.npy")  # last: its presence says that all is there
    return folder


def load(folder: Path, name: str) -> np.ndarray:
    """One array of a prepared folder; pixels stay on disk."""
    return np.load(folder / f"{name}.npy", mmap_mode="r" if name.endswith("pixels") else None)
