"""A classifier that saw renders only: what a picture shows, and which novel concept, or decoy of equal colours, it is.

It measures and is never measured with: no metric of the paper uses it. As a plug-in of a study this file adds the
encoder "judge" and the metric "identification", which says whether a concept was learnt or only its colours.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from lorabench import components
from lorabench.components import MetricInputs, metric
from lorabench.encoders._pictures import PictureEncoder, Preprocessing
from lorabench.mini import architectures, encoder_path
from lorabench.store import file_hash

CONCEPT = "concept"


@dataclass(frozen=True, eq=False)
class Judge:
    """The classifier with the names of its classes: attribute -> names in the order of its logits."""

    model: torch.nn.Module
    classes: dict[str, list[str]]

    @torch.inference_mode()
    def logits(self, images: torch.Tensor, attribute: str) -> torch.Tensor:
        """float32 [n, classes] for pictures [n, 3, 64, 64] in [-1, 1]."""
        encoder = self.model["encoder"]
        features = encoder.forward_head(encoder.forward_features(images), pre_logits=True)
        return self.model["heads"][attribute](features)

    def names(self, pixels: np.ndarray, attribute: str) -> np.ndarray:
        """The recognised class of each of uint8 pictures [n, 64, 64, 3], str [n]."""
        parts = (architectures.to_model(pixels[start : start + 128]) for start in range(0, len(pixels), 128))
        found = torch.cat([self.logits(part, attribute).argmax(1) for part in parts])
        return np.array(self.classes[attribute])[found.numpy()]


def load_judge(folder: Path | None = None) -> Judge:
    """The judge in `folder`, by default the shipped one."""
    folder = folder or encoder_path("judge")
    classes = json.loads((folder / "config.json").read_text(encoding="utf-8"))["classes"]
    model = architectures.judge({name: len(names) for name, names in classes.items()})
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return Judge(model.float().eval(), classes)


@components.encoder()
def judge(weights: Path | None, device: torch.device) -> PictureEncoder:
    """Logits of the classifier of the miniature world's novel concepts, their decoys and "ordinary"."""
    folder = weights or encoder_path("judge")
    found = load_judge(folder)
    found.model.to(device)
    side, (mean, std) = architectures.IMAGE_SIZE, (architectures.MEAN, architectures.STD)
    return PictureEncoder(
        "judge", architectures.CONVNEXT, file_hash(folder / "model.safetensors"),
        lambda images: found.logits(images, CONCEPT), Preprocessing(side, tuple(mean), tuple(std)), device,
        ("letterbox", "center_crop", "stretch"),
    )  # fmt: skip


@metric(
    criterion="fidelity",
    higher_is_better=True,
    encoders=("judge",),
    prompt_types=("train", "trigger", "alter", "together"),
    compares_with=("dataset",),
    is_nearness=False,
)
def identification(inputs: MetricInputs) -> float:
    """Share of images taken for the class that most of the data set's images are taken for, in [0, 1].

    The features are logits of a classifier with decoys of equal colours among its classes, so colours alone score 0.
    """
    answers = inputs.dataset.argmax(axis=1)
    return float((inputs.generated.argmax(axis=1) == np.bincount(answers).argmax()).mean())
