"""A sentence about a picture, by BLIP."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import BlipForConditionalGeneration, BlipProcessor

from lorabench.components import TaggerSpec
from lorabench.errors import UserError
from lorabench.untrusted import offline

MOST_TOKENS = 50


class Blip:
    """The network of a folder of transformers, and what reads pictures for it."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        try:
            with offline():
                self._processor = BlipProcessor.from_pretrained(folder, local_files_only=True)
                model = BlipForConditionalGeneration.from_pretrained(
                    folder, local_files_only=True, use_safetensors=True
                )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"Tagger 'blip': {folder} is no folder of a BLIP captioner: {error}") from error
        self._model, self._device = model.to(device).eval(), device

    @torch.inference_mode()
    def tags(self, pictures: Sequence[np.ndarray]) -> list[dict[str, float]]:
        """One a picture: the sentence."""
        inputs = self._processor(images=list(pictures), return_tensors="pt")
        found = self._model.generate(**inputs.to(self._device), max_new_tokens=MOST_TOKENS, do_sample=False)
        texts = self._processor.batch_decode(found, skip_special_tokens=True)
        return [{text.strip(): 1.0} if text.strip() else {} for text in texts]


def load(weights: Path | None, device: torch.device) -> Blip:
    if weights is None or not weights.is_dir():
        raise UserError("Tagger 'blip' needs the folder of a BLIP captioner, as transformers saves it: --weights.")
    return Blip(weights, device)


blip = TaggerSpec("blip", load, description="A sentence by BLIP (--weights: a folder of transformers).")
