"""Encoding keeps rows and ids together, reads in batches, and says where there is no text."""

from __future__ import annotations

import numpy as np
import pytest

from lorabench import images
from lorabench.records import Concept, ImageSet
from lorabench.stages.encode import encode_images, encode_set, encode_texts


class MeanColour:
    """An encoder whose answers can be worked out by hand."""

    name, id, resize_modes, stored = "mean_colour", "mean_colour-v1", ("stretch",), True

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.texts: list[str] = []

    def encode_images(self, pictures, resize):
        self.batches.append(len(pictures))
        return np.stack([picture.mean((0, 1)) for picture in pictures]).astype(np.float32)

    def encode_texts(self, texts):
        self.texts += texts
        return np.array([[len(text), 0, 1] for text in texts], dtype=np.float32)


def image_set(folder, texts=()):
    paths = tuple(folder / f"{number}.png" for number in range(5))
    for number, path in enumerate(paths):
        images.write(path, np.full((4, 4 + number, 3), 10 * number, dtype=np.uint8))
    return ImageSet("c", Concept("toys", "dog", "", "", "dog"), "alter", tuple("abcde"), paths, texts)


def test_rows_belong_to_ids_and_batches_are_bounded(tmp_path):
    encoder = MeanColour()
    features = encode_set(encoder, image_set(tmp_path), "stretch", 2)
    assert features.array.tolist() == [[10 * number] * 3 for number in range(5)]
    assert (features.ids, features.encoder_id, features.resize) == (tuple("abcde"), encoder.id, "stretch")
    assert encoder.batches == [2, 2, 1] and features.array.dtype == np.float32


def test_texts_are_encoded_once_and_missing_ones_are_nan(tmp_path):
    encoder = MeanColour()
    features = encode_texts(encoder, image_set(tmp_path, ("a dog", "", "a dog", "a cat!", "")))
    assert encoder.texts == ["a dog", "a cat!"]
    assert features.array[[0, 2, 3], 0].tolist() == [5, 5, 6]
    assert np.isnan(features.array[[1, 4]]).all()


def test_nothing_to_encode_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="without images"):
        encode_images(MeanColour(), [], "stretch", 2)
    with pytest.raises(ValueError, match="toys/dog .alter. has no images"):
        encode_set(MeanColour(), ImageSet("c", Concept("toys", "dog", "", "", "dog"), "alter", (), ()), "", 2)
    with pytest.raises(ValueError, match="no texts"):
        encode_texts(MeanColour(), image_set(tmp_path, ("",) * 5))
