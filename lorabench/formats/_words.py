"""Words that a file brings along: vectors of textual inversion, alone or bundled with an adapter."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from lorabench.errors import UserError

BUNDLE = "bundle_emb."
# Where tools put the vectors: A1111, kohya's trainer and A1111's safetensors, SDXL's first text encoder.
PLACES = re.compile(r"string_to_param(?:\..*)?|emb_params|clip_l|\*|")
# A word may have dots.
_BUNDLED = re.compile(r"(.+?)(?:\.(string_to_param(?:\..*)?|emb_params|clip_\w+|t5\w*|te\d\w*))?")
SECOND = "clip_g"  # SDXL's second text encoder


def bundled(tensors: Mapping[str, Tensor], path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor], tuple[str, ...]]:
    """The other tensors of a file, its words' vectors float32 [n, d], and a sentence about what is not used.

    UserError for vectors that are none.
    """
    others = {key: tensor for key, tensor in tensors.items() if not key.startswith(BUNDLE)}
    words, left = {}, []
    for key in tensors.keys() - others.keys():
        named = _BUNDLED.fullmatch(key.removeprefix(BUNDLE))
        if named is not None and PLACES.fullmatch(named[2] or ""):
            words[named[1]] = vectors(tensors[key], key, path)
        else:
            left.append(key)
    notes = (
        (f"not used, since it is no word's vectors for this text encoder: {', '.join(sorted(left))}",) if left else ()
    )
    return others, dict(sorted(words.items())), notes


def vectors(tensor: Tensor, key: str, path: Path) -> Tensor:
    """A word's vectors as [n, d]. UserError for a tensor that cannot be that."""
    if tensor.ndim not in (1, 2) or not tensor.is_floating_point() or tensor.numel() == 0:
        raise UserError(f"{path}: '{key}' holds no vectors of a word, but {tensor.dtype} {list(tensor.shape)}.")
    return tensor if tensor.ndim == 2 else tensor[None]
