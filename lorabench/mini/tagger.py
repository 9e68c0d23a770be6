"""A tagger that has seen the ordinary miniature world only: of novel concepts it says what they look like to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from lorabench import images
from lorabench.components import TaggerSpec
from lorabench.mini import architectures
from lorabench.mini.judge import Judge, load_judge
from lorabench.mini.vocabulary import NAMES, SCENES, STYLES

_NOTHING = "none"
_SEEN = ("subject", "color", "scene", "pose", "accessory", "style")  # in the order that captions have
_NOT_SAID = {"standing"}


class MiniTagger:
    """The most likely class of each attribute of a picture, with its probability."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    def tags(self, pictures: Sequence[np.ndarray]) -> list[dict[str, float]]:
        side = architectures.IMAGE_SIZE
        batch = architectures.to_model(np.stack([images.fit(picture, side, side) for picture in pictures]))
        found: list[dict[str, float]] = [{} for _ in pictures]
        for attribute in _SEEN:
            best, place = self._judge.logits(batch, attribute).softmax(1).max(1)
            for row, (probability, index) in enumerate(zip(best.tolist(), place.tolist(), strict=True)):
                name = self._judge.classes[attribute][index]
                if name not in (_NOTHING, *_NOT_SAID):
                    found[row][_word(attribute, name)] = probability
        return found


def _word(attribute: str, name: str) -> str:
    """What captions of this world call a class."""
    if attribute == "subject":
        return NAMES[name][0]
    return {"scene": SCENES, "style": STYLES}[attribute][name][1] if attribute in ("scene", "style") else name


def load(weights: Path | None, device: torch.device) -> MiniTagger:
    return MiniTagger(load_judge(weights))


mini = TaggerSpec("mini", load, description="What the miniature world's classifier sees, in that world's words.")
