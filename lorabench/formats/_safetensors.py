"""Reading and writing safetensors files, with a sentence for everything that can be wrong with one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lorabench.errors import UserError

_PICKLES = (".pt", ".ckpt", ".bin", ".pth")


def keys(path: Path) -> frozenset[str]:
    """Names of the file's tensors, from its header alone. UserError if it cannot be read."""
    with _opened(path) as file:
        return frozenset(file.keys())


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors as float32 on the CPU, and the metadata. UserError for a damaged file, NaN or infinity."""
    try:
        with _opened(path) as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key).float() for key in file.keys()}
    except SafetensorError as error:
        raise _damaged(path, error) from error
    for key, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise UserError(
                f"{path}: '{key}' holds NaN or infinity; its training diverged, so take an earlier checkpoint."
            )
    return tensors, metadata


def write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], dtype: torch.dtype) -> None:
    """Write the tensors in that dtype (scalars stay float32), whole or not at all.

    UserError if a number is too large for the dtype.
    """
    stored = {}
    for key, tensor in tensors.items():
        value = tensor.detach().to("cpu", torch.float32 if tensor.ndim == 0 else dtype, copy=True).contiguous()
        if not torch.isfinite(value).all():
            largest = tensor.detach().abs().max().item()
            raise UserError(
                f"{path}: '{key}' goes up to {largest:g} and cannot be saved as {str(dtype).removeprefix('torch.')}; "
                "its training diverged, or it needs float32."
            )
        stored[key] = value
    partial = path.with_name(f"{path.name}.partial")
    save_file(stored, partial, metadata=dict(metadata))
    os.replace(partial, path)


def refuse_pickle(path: Path) -> None:
    """UserError, with the reason and the way to convert, if the file is a pickle by its name."""
    if path.suffix.lower() in _PICKLES:
        raise UserError(
            f"{path} is a pickle, which can run any code when it is opened, so lorabench does not; convert it where "
            "that is safe: safetensors.torch.save_file(torch.load(file, weights_only=True), 'adapter.safetensors')."
        )


def _opened(path: Path) -> safe_open:
    try:
        return safe_open(path, framework="pt", device="cpu")
    except FileNotFoundError as error:
        raise UserError(f"Checkpoint {path} does not exist.") from error
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} is not a whole safetensors file ({error}); copy or download it again.")
