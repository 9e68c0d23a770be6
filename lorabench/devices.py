"""Devices by name: what a study or an option calls them, and which of them this machine has."""

from __future__ import annotations

import torch

from lorabench.errors import UserError
from lorabench.values import device_names


def pick_device(name: str) -> torch.device:
    """The torch device that "auto", "cpu", "mps", "cuda" or "cuda:1" means here. UserError if this machine lacks it."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _, index = name.partition(":")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        reason = (
            "this PyTorch was built without CUDA" if torch.version.cuda is None else "not that many GPUs are visible"
        )
        raise UserError(f"Device '{name}' is not there ({torch.cuda.device_count()} found; {reason}); use auto or cpu.")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UserError("Device 'mps' is not there: it needs macOS on Apple silicon; use auto or cpu.")
    return torch.device(name)


def pick_devices(names: str) -> tuple[str, ...]:
    """The devices that a list like "cuda:0,cuda:2" means, or "auto": every GPU that is visible. UserError."""
    try:
        asked = [name.strip() for name in device_names(names).split(",")]
    except ValueError as error:
        raise UserError(f"A device {error}.") from None
    if asked == ["auto"] and torch.cuda.device_count() > 1:
        asked = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return tuple(str(pick_device(name)) for name in asked)
