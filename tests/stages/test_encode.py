"""Encoding keeps rows in order, and reads in batches."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from lorabench import images
from lorabench.stages.encode import encode_images


class MeanColour:
    """An encoder whose answers can be worked out by hand."""

    name, id, resize_modes, stored = "mean_colour", "mean_colour-v1", ("stretch",), True

    def __init__(self) -> None:
        self.batches: list[int] = []

    def encode_images(self, pictures, resize):
        self.batches.append(len(pictures))
        return np.stack([picture.mean((0, 1)) for picture in pictures]).astype(np.float32)


def files(folder):
    paths = tuple(folder / f"{number}.png" for number in range(5))
    for number, path in enumerate(paths):
        images.write(path, np.full((4, 4 + number, 3), 10 * number, dtype=np.uint8))
    return paths


def test_rows_are_in_the_order_of_files_and_batches_are_bounded(tmp_path):
    encoder = MeanColour()
    features = encode_images(encoder, files(tmp_path), "stretch", 2)
    assert features.tolist() == [[10 * number] * 3 for number in range(5)]
    assert encoder.batches == [2, 2, 1] and features.dtype == np.float32
    pixels = [images.read(file) for file in files(tmp_path)]
    assert np.array_equal(encode_images(encoder, pixels, "stretch", 2), features)


def test_images_are_measured_as_lossy_webp_shows_them(tmp_path):
    """The paper's authors kept their images so, of quality 80 (PIL's own file is the oracle)."""
    picture = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    images.write(tmp_path / "0.png", picture)
    Image.fromarray(picture).save(tmp_path / "0.webp", quality=80)
    lossy = np.asarray(Image.open(tmp_path / "0.webp").convert("RGB"))
    features = encode_images(MeanColour(), [tmp_path / "0.png"], "stretch", 2, webp_quality=80)
    assert not np.array_equal(lossy, picture)
    assert np.array_equal(features[0], lossy.mean((0, 1)).astype(np.float32))


def test_nothing_to_encode_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="without images"):
        encode_images(MeanColour(), [], "stretch", 2)
