"""How much to train and to draw where nobody says it: what base model and machine can do while a person waits."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lorabench import devices

SMALL_GPU = 16 * 2**30  # bytes of an accelerator on which batches of the paper's size do not fit SD1.5


@dataclass(frozen=True)
class Sizes:
    """What depends on base model and machine."""

    samples: int  # that a training sees of each concept
    batch: int
    drawn: int  # at once
    per_set: int
    steps: int
    guidance: float
    precision: str = "float32"


def suitable_sizes(of_mini: bool, device: str = "auto") -> Sizes:
    """Sizes for the miniature world's base model, or for Stable Diffusion on a device. UserError if it is not here."""
    if of_mini:
        return Sizes(samples=960, batch=8, drawn=16, per_set=8, steps=8, guidance=5.0)
    chosen = torch.device(devices.pick_devices(device)[0])
    if chosen.type == "cpu":
        return Sizes(samples=400, batch=2, drawn=2, per_set=4, steps=20, guidance=7.0)
    memory = torch.cuda.get_device_properties(chosen).total_memory if chosen.type == "cuda" else 0
    half = "bfloat16" if chosen.type == "cuda" and torch.cuda.is_bf16_supported() else "float32"
    if memory < SMALL_GPU:
        return Sizes(samples=2000, batch=2, drawn=4, per_set=16, steps=25, guidance=7.0, precision=half)
    return Sizes(samples=2000, batch=8, drawn=16, per_set=16, steps=25, guidance=7.0, precision=half)
