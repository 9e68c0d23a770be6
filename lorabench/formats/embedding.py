"""Textual inversion alone: vectors of a word, as kohya's trainer, A1111 and diffusers save them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from lorabench.components import Format, LoadedAdapter, Origin
from lorabench.errors import UserError
from lorabench.formats import _safetensors
from lorabench.formats._headers import kohya_header
from lorabench.formats._unusable import ELSEWHERE
from lorabench.formats._words import PLACES, SECOND, vectors

_TOKEN = re.compile(r"<.+>|[^.]+")  # diffusers: the word itself is the key
_NO_WORD = {"weight", "bias", "alpha", "scale", "data"}
_NUMBERED = re.compile(r"-(?:\d{6}|step\d{8})$")  # kohya's trainer adds epoch or step to the name


def recognises(path: Path) -> bool:
    """A safetensors file of vectors alone, one width, under the keys of these tools."""
    if not path.is_file() or path.suffix != ".safetensors":
        return False
    shapes = _safetensors.header(path).shapes
    named = [key for key in shapes if PLACES.fullmatch(key) or key == SECOND]
    if not shapes or any(len(shape) not in (1, 2) for shape in shapes.values()):
        return False
    if named:
        return len(named) == len(shapes)
    widths = {shape[-1] for shape in shapes.values()}
    tokens = all(_TOKEN.fullmatch(key) and key not in _NO_WORD for key in shapes)
    return tokens and len(widths) == 1 and (len(shapes) == 1 or all(key[0] == "<" for key in shapes))


def read(path: Path, unused: Sequence[str] = ()) -> LoadedAdapter:
    """Words of their own and no weight update; without a word in the file its name is the word, as in A1111.

    UserError for the vectors of SDXL.
    """
    tensors, metadata = _safetensors.read(path, unused)
    if not tensors:
        raise UserError(f"{path} holds no vectors; is it the right file?")
    if SECOND in tensors:
        raise UserError(f"{path} is an embedding of SDXL ('{SECOND}' is of its second text encoder); {ELSEWHERE}.")
    words = {}
    for key, tensor in tensors.items():
        found = vectors(tensor, key, path)
        names = _names(path, metadata) if PLACES.fullmatch(key) else [key]
        words |= {name: found for name in names}
        if key == "clip_l":  # pivotal tuning with diffusers: a token for each vector
            words |= {f"<s{number}>": vector[None] for number, vector in enumerate(found)}
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
