"""Look at image sets through an encoder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from lorabench import images
from lorabench.components import Encoder
from lorabench.records import Features, ImageSet

_Item = TypeVar("_Item")


def encode_images(encoder: Encoder, pictures: Sequence[np.ndarray], resize: str, batch_size: int) -> np.ndarray:
    """Features float32 [n, d] of uint8 pictures [h, w, 3]. ValueError on no picture."""
    if not len(pictures):
        raise ValueError("An image set without images has no features.")
    return np.concatenate([encoder.encode_images(part, resize) for part in _parts(pictures, batch_size)])


def encode_set(
    encoder: Encoder, image_set: ImageSet, resize: str, batch_size: int, webp_quality: int | None = None
) -> Features:
    """Features of the pictures of a set, read a batch at a time; with a quality, as a lossy WebP of it shows them."""
    if not image_set.paths:
        raise ValueError(f"The image set of {image_set.concept.id} ({image_set.prompt_type}) has no images.")
    parts = [
        encode_images(encoder, [_read(path, webp_quality) for path in paths], resize, batch_size)
        for paths in _parts(image_set.paths, batch_size)
    ]
    return Features(encoder.name, encoder.id, resize, image_set.ids, np.concatenate(parts))


def _read(path: Path, webp_quality: int | None) -> np.ndarray:
    picture = images.read(path)
    return picture if webp_quality is None else images.compressed(picture, webp_quality, "WEBP")


def _parts(items: Sequence[_Item], size: int) -> Iterator[Sequence[_Item]]:
    return (items[start : start + size] for start in range(0, len(items), size))
