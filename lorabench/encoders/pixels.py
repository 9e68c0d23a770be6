"""The picture itself, small: for metrics that compare pixel by pixel."""

from __future__ import annotations

from pathlib import Path

import torch

from lorabench import components
from lorabench.components import Outline
from lorabench.encoders._pictures import PictureEncoder, Preprocessing
from lorabench.errors import UserError

SIDE = 64
RESIZE_MODES = ("letterbox", "center_crop", "stretch")


@components.encoder(resize_modes=RESIZE_MODES, outline=lambda: Outline(_flattened, SIDE))
def pixels(weights: Path | None, device: torch.device) -> PictureEncoder:
    """Colours in [0, 1] of the picture at 64 x 64 pixels: rows, columns, channels (12,288 numbers). No weights."""
    if weights is not None:
        raise UserError(f"Encoder 'pixels' has no weights; leave {weights} out.")
    as_seen = Preprocessing(SIDE, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    return PictureEncoder("pixels", f"{SIDE}px", "0" * 64, _flattened, as_seen, device, RESIZE_MODES)


def _flattened(batch: torch.Tensor) -> torch.Tensor:
    return batch.permute(0, 2, 3, 1).flatten(1)
