"""Textual inversion alone: vectors of a word, as kohya's trainer, A1111 and diffusers save them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from lorabench.components import Format, LoadedAdapter, Origin
from lorabench.errors import UserError
from lorabench.formats import _safetensors
from lorabench.formats._headers import kohya_header
from lorabench.formats._words import FIRST, PLACES, SECOND, encoder_of, vectors

_TOKEN = re.compile(r"<.+>|[^.]+")  # diffusers: the word itself is the key
_NO_WORD = {"weight", "bias", "alpha", "scale", "data"}
_NUMBERED = re.compile(r"-(?:\d{6}|step\d{8})$")  # kohya's trainer adds epoch or step to the name


def recognises(path: Path) -> bool:
    """A safetensors file of vectors alone, one width, under the keys of these tools."""
    if not path.is_file() or path.suffix != ".safetensors":
        return False
    shapes = _safetensors.header(path).shapes
    named = [key for key in shapes if PLACES.fullmatch(key)]
    if not shapes or any(len(shape) not in (1, 2) for shape in shapes.values()):
        return False
    if named:
        return len(named) == len(shapes)
    widths = {shape[-1] for shape in shapes.values()}
    tokens = all(_TOKEN.fullmatch(key) and key not in _NO_WORD for key in shapes)
    return tokens and len(widths) == 1 and (len(shapes) == 1 or all(key[0] == "<" for key in shapes))


def read(path: Path, unused: Sequence[str] = ()) -> LoadedAdapter:
    """Words of their own and no weight update; without a word in the file its name is the word, as in A1111."""
    tensors, metadata = _safetensors.read(path, unused)
    if not tensors:
        raise UserError(f"{path} holds no vectors; is it the right file?")
    words: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        found, encoder = vectors(tensor, key, path), encoder_of(key)
        for name in _names(path, metadata) if PLACES.fullmatch(key) else [key]:
            words.setdefault(name, {})[encoder] = found
        if key in (FIRST, SECOND):  # pivotal tuning with diffusers: a token for each vector
            for number, vector in enumerate(found):
                words.setdefault(f"<s{number}>", {})[encoder] = vector[None]
    header = kohya_header(metadata)
    origin = Origin() if header is None else header.origin
    return LoadedAdapter("textual_inversion", None, {}, {}, path, origin, metadata=metadata, words=words)


def _names(path: Path, metadata: Mapping[str, str]) -> list[str]:
    """What the word may be called in prompts: by the file, by the training, by what it says to be called with."""
    said = (path.stem, _NUMBERED.sub("", path.stem), metadata.get("ss_output_name"))
    return list(dict.fromkeys(name for name in (*said, metadata.get("modelspec.trigger_phrase")) if name))


embedding = Format(
    name="embedding", recognises=recognises, read=read, description="textual inversion, a word's vectors."
)
