"""The training pictures of the ordinary world: rendered once and kept on disk, or row by row when asked for."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lorabench.mini.renderer import render
from lorabench.mini.vocabulary import ACCESSORIES, COLORS, POSES, SCENES, STYLES, SUBJECTS
from lorabench.mini.world import Picture, captions, sample_picture

# Classes of the columns of `labels.npy`.
CLASS_NAMES: dict[str, list[str]] = {
    "subject": [*SUBJECTS, "none"],
    "color": [*COLORS],
    "scene": [*SCENES],
    "accessory": [*ACCESSORIES, "none"],
    "pose": [*POSES],
    "style": [*STYLES, "none"],
}
LABELS = {name: len(classes) for name, classes in CLASS_NAMES.items()}
_CHUNK = 2000


def training_picture(seed: int, index: int) -> Picture:
    """Picture `index` of the training set `seed`."""
    return sample_picture(np.random.default_rng([seed, index]))


def labels(picture: Picture) -> list[int]:
    """The classes of a picture in the order of `LABELS`."""
    shown = [picture.subject, picture.color, picture.scene, picture.accessory, picture.pose, picture.style]
    return [classes.index(value or "none") for classes, value in zip(CLASS_NAMES.values(), shown)]


@dataclass(frozen=True)
class Rows:
    """Stands for an array whose rows are made when they are asked for; equal to what `prepare` would keep on disk."""

    make: Callable[..., np.ndarray]  # of one integer for each of the leading dimensions
    shape: tuple[int, ...]  # of the leading dimensions

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: object) -> np.ndarray:
        parts = np.broadcast_arrays(*(index if isinstance(index, tuple) else (index,)))
        rows = [self.make(*(int(value) for value in at)) for at in zip(*(part.ravel() for part in parts))]
        return np.stack(rows).reshape(*parts[0].shape, *np.shape(rows[0]))


def describe(work: Path, n: int, seed: int) -> Path:
    """Say in `work`/data that the training set is the first `n` pictures of `seed`; returns that folder."""
    folder = work / "data"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "world.json").exists():
        (folder / "world.json").write_text(json.dumps({"pictures": n, "seed": seed}), encoding="utf-8")
    return folder


def world(data: Path) -> tuple[int, int]:
    """How many pictures the training set has, and its seed."""
    found = json.loads((data / "world.json").read_text(encoding="utf-8"))
    return found["pictures"], found["seed"]


def prepare(work: Path, n: int, seed: int, processes: int = 2) -> Path:
    """Render `n` pictures into `work`/data unless they are there; returns that folder.

    pixels.npy uint8 [n, 64, 64, 3], captions.npy str [n, 3], labels.npy int64 [n, 6].
    """
    folder = describe(work, n, seed)
    if (folder / "labels.npy").exists():
        return folder
    pixels = np.lib.format.open_memmap(folder / "pixels.npy", "w+", np.uint8, (n, 64, 64, 3))
    starts = range(0, n, _CHUNK)
    stops = [min(start + _CHUNK, n) for start in starts]
    parts = []
    with ProcessPoolExecutor(processes) as pool:
        for start, stop, (part, *rest) in zip(starts, stops, pool.map(_chunk, [seed] * len(stops), starts, stops)):
            pixels[start:stop] = part
            parts.append(rest)
    pixels.flush()
    np.save(folder / "captions.npy", np.concatenate([texts for texts, _ in parts]))
    np.save(folder / "labels.partial.npy", np.concatenate([found for _, found in parts]))
    os.replace(folder / "labels.partial.npy", folder / "labels.npy")  # last: its presence says that all is there
    return folder


def _chunk(seed: int, start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    made = [Rows(make, (stop,))[np.arange(start, stop)] for make in _makers(seed).values()]
    return made[0], made[1], made[2]


def _makers(seed: int) -> dict[str, Callable[[int], np.ndarray]]:
    return {
        "pixels": lambda index: render(training_picture(seed, index)),
        "captions": lambda index: np.array(captions(training_picture(seed, index))),
        "labels": lambda index: np.array(labels(training_picture(seed, index))),
    }


def load(data: Path, name: str) -> np.ndarray | Rows:
    """The pixels, captions or labels of the training set: from disk if prepared, else made when asked for."""
    pictures, seed = world(data)
    return kept(data, name) if (data / "labels.npy").exists() else Rows(_makers(seed)[name], (pictures,))


def kept(data: Path, name: str) -> np.ndarray:
    """An array on disk; pixels stay there."""
    return np.load(data / f"{name}.npy", mmap_mode="r" if name.endswith("pixels") else None)
