"""Diversity ratios of folders of pictures, with an encoder that sees only the mean colour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lorabench import images
from lorabench.errors import UserError
from lorabench.stages.diversity import measured_ratios


class MeanColour:
    name, id, resize_modes, stored = "mean-colour", "mean-colour-v1", ("stretch",), True

    def encode_images(self, pictures, resize):
        return np.stack([picture.reshape(-1, 3).mean(0) for picture in pictures]).astype(np.float32)


@pytest.fixture(scope="module")
def classes(tmp_path_factory) -> dict[str, list[Path]]:
    """Red and green pictures, alike within a class and far apart between them; and a small class."""
    folder, rng, found = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0), {}
    for name, colour, count in (("red", (200, 20, 20), 60), ("green", (20, 200, 20), 60), ("few", (20, 20, 200), 5)):
        for index in range(count):
            path = folder / name / f"{index}.png"
            images.write(path, np.clip(np.array(colour) + rng.integers(-9, 9, (2, 2, 3)), 0, 255).astype(np.uint8))
            found.setdefault(name, []).append(path)
    return found


def test_classes_that_the_encoder_tells_apart_have_little_of_the_diversity(classes):
    seen = []
    table = measured_ratios(classes, MeanColour(), "stretch", 0, seen.append)
    assert set(table["class_name"]) == {"red", "green"} and sum(seen) == 125
    assert set(table["metric"]) == {"vendi", "intra_dissimilarity", "variance"}
    assert (table.query("metric != 'vendi'")["ratio"] < 0.05).all()
    again = measured_ratios(classes, MeanColour(), "stretch", 0, seen.append)
    assert again.equals(table)


def test_no_large_class_is_refused(classes):
    with pytest.raises(UserError, match=r"No class has more than 50 pictures \(the largest has 5\)"):
        measured_ratios({"few": classes["few"]}, MeanColour(), "stretch", 0, lambda n: None)
