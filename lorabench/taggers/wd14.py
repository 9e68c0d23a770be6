"""The tagger of the paper (LyCORIS D.1): SmilingWolf's networks, trained on Danbooru's tags, run by onnxruntime."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lorabench import images
from lorabench.components import TaggerSpec
from lorabench.errors import UserError

MODEL, TAGS = "model.onnx", "selected_tags.csv"
_GENERAL = "0"  # a category of tags; others are characters (4) and ratings (9)
_WHITE = 255
# Faces made of signs, whose underscores are no spaces.
_FACES = {"0_0", "(o)_(o)", "+_+", "+_-", "._.", "<o>_<o>", "<|>_<|>", "=_=", ">_<", "3_3", "6_9", ">_o", "@_@", "^_^"}
_FACES |= {"o_o", "u_u", "x_x", "|_|", "||_||"}


class Wd14:
    """A network with its tags: float32 [n, side, side, 3], blue first, 0 to 255 -> a probability a tag."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        runtime = _onnxruntime()
        file = folder / MODEL
        if not file.is_file() or not (folder / TAGS).is_file():
            raise UserError(f"Tagger 'wd14' needs {MODEL} and {TAGS} in {folder}: those of a WD14 tagger's repository.")
        provider = "CUDAExecutionProvider" if device.type == "cuda" else "CPUExecutionProvider"
        offered = [each for each in (provider, "CPUExecutionProvider") if each in runtime.get_available_providers()]
        try:
            self._session = runtime.InferenceSession(str(file), providers=list(dict.fromkeys(offered)))
        except Exception as error:  # the library's own classes, for a file that is none of its kind
            raise UserError(f"Tagger 'wd14': {file} cannot be loaded: {error}") from error
        (self._input,) = self._session.get_inputs()
        self._names = _tags(folder / TAGS)

    def tags(self, pictures: Sequence[np.ndarray]) -> list[dict[str, float]]:
        side = self._input.shape[1]
        batch = np.stack([_squared(picture, side) for picture in pictures])
        probabilities = self._session.run(None, {self._input.name: batch})[0]
        if probabilities.shape[1] != len(self._names):
            raise UserError(
                f"Tagger 'wd14': {TAGS} names {len(self._names)} tags, and the network has {probabilities.shape[1]}."
            )
        return [
            {name: float(value) for name, value in zip(self._names, row, strict=True) if name} for row in probabilities
        ]


def _tags(file: Path) -> list[str]:
    """The tag of each output, "" for characters and ratings."""
    with file.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    if not rows or not {"name", "category"} <= rows[0].keys():
        raise UserError(f"Tagger 'wd14': {file} has no columns name and category.")
    return [_plain(row["name"]) if row["category"] == _GENERAL else "" for row in rows]


def _plain(tag: str) -> str:
    return tag if tag in _FACES else tag.replace("_", " ")


def _squared(picture: np.ndarray, side: int) -> np.ndarray:
    """The whole picture in a white square, blue first."""
    height, width = picture.shape[:2]
    longest = max(height, width)
    square = np.full((longest, longest, 3), _WHITE, np.uint8)
    top, left = (longest - height) // 2, (longest - width) // 2
    square[top : top + height, left : left + width] = picture
    return images.fit(square, side, side)[..., ::-1].astype(np.float32)


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise UserError("Tagger 'wd14' needs onnxruntime: pip install 'lorabench[taggers]'.") from None
    return onnxruntime


def load(weights: Path | None, device: torch.device) -> Wd14:
    if weights is None:
        raise UserError(f"Tagger 'wd14' needs a folder with {MODEL} and {TAGS}: --weights.")
    return Wd14(weights, device)


wd14 = TaggerSpec("wd14", load, description="Danbooru's tags by a WD14 tagger (--weights: model.onnx, its tags).")
