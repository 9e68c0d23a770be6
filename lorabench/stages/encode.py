"""Look at image sets through an encoder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from lorabench import images
from lorabench.components import Encoder
from lorabench.processes import map_in_threads

_Item = TypeVar("_Item")


def encode_images(
    encoder: Encoder,
    pictures: Sequence[np.ndarray | Path],
    resize: str,
    batch_size: int,
    webp_quality: int | None = None,
) -> np.ndarray:
    """Features float32 [n, d] of uint8 pictures [h, w, 3], or of files of them, which are read a batch at a time.

    With a quality, as a lossy WebP of it shows them. ValueError on no picture.
    """
    if not len(pictures):
        raise ValueError("An image set without images has no features.")
    look = partial(_picture, webp_quality=webp_quality)
    parts = (map_in_threads(look, part, torch.get_num_threads()) for part in _parts(pictures, batch_size))
    return np.concatenate([encoder.encode_images(part, resize) for part in parts])


def _picture(picture: np.ndarray | Path, webp_quality: int | None) -> np.ndarray:
    pixels = images.read(picture) if isinstance(picture, Path) else picture
    return pixels if webp_quality is None else images.compressed(pixels, webp_quality, "WEBP")


def _parts(items: Sequence[_Item], size: int) -> Iterator[Sequence[_Item]]:
    return (items[start : start + size] for start in range(0, len(items), size))
