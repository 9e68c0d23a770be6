"""The base model that trainings are tested on, loaded once: nobody changes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_base import write_tiny_base

from lorabench import base_models, images
from lorabench.base_models import BaseModel
from lorabench.records import TrainingImage


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_base(tmp_path_factory.mktemp("tiny-base"))


@pytest.fixture(scope="session")
def base(tiny_folder: Path) -> BaseModel:
    return base_models.load_base(base_models.base_of(str(tiny_folder)), torch.device("cpu"))


@pytest.fixture(scope="session")
def plain_pictures(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Sequence[str]], list[TrainingImage]]:
    """Pictures of 16 x 16 pixels, each of one colour, with these captions."""

    def made(captions: Sequence[str]) -> list[TrainingImage]:
        folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
        found = []
        for number, caption in enumerate(captions):
            path = folder / f"{number}.png"
            images.write(path, np.full((16, 16, 3), rng.integers(0, 256, 3), dtype=np.uint8))
            found.append(TrainingImage("toys/x", path, caption))
        return found

    return made
