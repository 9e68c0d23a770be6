"""No-reference image quality by the pyiqa library: the "features" of a picture are its score."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lorabench.errors import UserError
from lorabench.hashes import sha256_of


class QualityEncoder:
    """A pyiqa metric as `components.Encoder`: one number a picture, at the picture's own size."""

    resize_modes = ("letterbox", "center_crop", "stretch", "scale")  # accepted, and of no effect: nothing is resized
    stored = True

    def __init__(self, name: str, version: str, score: Any, device: torch.device) -> None:
        self.name = name
        self.id = f"{name}-pyiqa-{version}"
        self._score = score
        self._device = device

    @torch.inference_mode()
    def encode_images(self, images: Sequence[np.ndarray], resize: str) -> np.ndarray:
        """uint8 pictures [h, w, 3] -> their scores, float32 [n, 1]; one by one, since sizes differ."""
        if not images:
            raise ValueError(f"Encoder '{self.name}' was given no pictures.")
        batches = (
            torch.from_numpy(image.copy()).to(self._device).permute(2, 0, 1)[None].float() / 255 for image in images
        )
        return np.array([[float(self._score(batch))] for batch in batches], np.float32)

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        raise NotImplementedError(f"Encoder '{self.name}' reads no texts.")


def quality_encoder(name: str, weights: Path | None, device: torch.device) -> QualityEncoder:
    """pyiqa's metric of that name with its published weights, which it downloads, or with those of a file."""
    try:
        import pyiqa
    except ImportError as error:
        raise UserError(f"Encoder '{name}' needs the pyiqa library: pip install pyiqa.") from error
    if weights is not None and not Path(weights).is_file():
        raise UserError(f"Encoder '{name}': weights {weights} do not exist.")
    if weights is not None:
        _refuse_code(name, Path(weights))
    options = {} if weights is None else {"pretrained_model_path": str(weights)}
    score = pyiqa.create_metric(name, device=device, **options)
    version = "published" if weights is None else sha256_of(Path(weights))[:12]
    return QualityEncoder(name, version, score, device)


def _refuse_code(name: str, weights: Path) -> None:
    """UserError for a pickle that holds more than tensors: pyiqa would open it whatever it does."""
    try:
        torch.load(weights, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the unpickler meets
        raise UserError(
            f"Encoder '{name}': {weights} is no file of tensors alone, and anything else in it could run code; save "
            "its state dict with torch.save."
        ) from error
