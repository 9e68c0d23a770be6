"""Words that a file brings along: vectors of textual inversion, alone or bundled with an adapter."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from lorabench.components import Words
from lorabench.errors import UserError

BUNDLE = "bundle_emb."
# Where tools put the vectors: A1111, kohya's trainer and A1111's safetensors, SDXL's text encoders.
PLACES = re.compile(r"string_to_param(?:\..*)?|emb_params|clip_[lg]|\*|")
# A word may have dots.
_BUNDLED = re.compile(r"(.+?)(?:\.(string_to_param(?:\..*)?|emb_params|clip_\w+|t5\w*|te\d\w*))?")
FIRST, SECOND = "clip_l", "clip_g"  # SDXL's text encoders


def encoder_of(place: str) -> str:
    """The text encoder that a place is for."""
    return "text_encoder_2" if place == SECOND else "text_encoder"


def bundled(tensors: Mapping[str, Tensor], path: Path) -> tuple[dict[str, Tensor], Words, tuple[str, ...]]:
    """The other tensors of a file, its words' vectors in float32, and a sentence about what is not used.

    UserError for vectors that are none.
    """
    others = {key: tensor for key, tensor in tensors.items() if not key.startswith(BUNDLE)}
    words: dict[str, dict[str, Tensor]] = {}
    left = []
    for key in sorted(tensors.keys() - others.keys()):
        named = _BUNDLED.fullmatch(key.removeprefix(BUNDLE))
        if named is not None and PLACES.fullmatch(named[2] or ""):
            words.setdefault(named[1], {})[encoder_of(named[2])] = vectors(tensors[key], key, path)
        else:
            left.append(key)
    notes = (f"not used, since it is no word's vectors for a text encoder: {', '.join(left)}",) if left else ()
    return others, dict(sorted(words.items())), notes


def to_bundle(words: Words) -> dict[str, Tensor]:
    """The tensors that `bundled` reads as these words, as other tools do."""
    return {
        f"{BUNDLE}{word}.{_place(encoder, of)}": vectors
        for word, of in words.items()
        for encoder, vectors in of.items()
    }


def _place(encoder: str, of: Mapping[str, Tensor]) -> str:
    if len(of) == 1:
        return "string_to_param.*"
    return SECOND if encoder == encoder_of(SECOND) else FIRST


def vectors(tensor: Tensor, key: str, path: Path) -> Tensor:
    """A word's vectors as [n, d]. UserError for a tensor that cannot be that."""
    if tensor.ndim not in (1, 2) or not tensor.is_floating_point() or tensor.numel() == 0:
        raise UserError(f"{path}: '{key}' holds no vectors of a word, but {tensor.dtype} {list(tensor.shape)}.")
    return tensor if tensor.ndim == 2 else tensor[None]
