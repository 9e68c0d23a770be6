"""Textual inversion alone: vectors of a word, as kohya's trainer, A1111 and diffusers save them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from lorabench.components import Format, LoadedAdapter, Origin
from lorabench.errors import UserError
from lorabench.formats import _safetensors
from lorabench.formats._headers import kohya_header
from lorabench.formats._words import FIRST, PLACES, SECOND, encoder_of, vectors
from lorabench.formats.kohya import METADATA_KEY, metadata_of, own_metadata
from lorabench.records import TEXTUAL_INVERSION

_TOKEN = re.compile(r"<.+>|[^.]+")  # diffusers: the word itself is the key
ANY = "emb_params"  # the key of a word that is called by its file's name
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
    tokens = all(map(_is_token, shapes))
    return tokens and len(widths) == 1 and (len(shapes) == 1 or all(key[0] == "<" for key in shapes))


def _is_token(key: str) -> bool:
    return _TOKEN.fullmatch(key) is not None and key not in _NO_WORD


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
    config, header = None, kohya_header(metadata)
    origin = Origin() if header is None else header.origin
    if METADATA_KEY in metadata:
        config, origin = own_metadata(metadata[METADATA_KEY], path)
    return LoadedAdapter(TEXTUAL_INVERSION, config, {}, {}, path, origin, metadata=metadata, words=words)


def write(path: Path, adapter: LoadedAdapter, dtype: torch.dtype) -> None:
    """Write the vectors of one word, as A1111 and diffusers read them: A1111 calls it by the file's name, diffusers by
    its key, or as `load_textual_inversion` is told. UserError for several words."""
    if len(adapter.words) != 1:
        raise UserError(f"A file of this kind holds one word, not {', '.join(adapter.words) or 'none'}.")
    ((word, of),) = adapter.words.items()
    key = word if _is_token(word) else ANY
    tensors = {key: next(iter(of.values()))} if len(of) == 1 else {_PLACE_OF[name]: each for name, each in of.items()}
    _safetensors.write(path, tensors, metadata_of(adapter), dtype)


_PLACE_OF = {encoder_of(place): place for place in (FIRST, SECOND)}


def _names(path: Path, metadata: Mapping[str, str]) -> list[str]:
    """What the word may be called in prompts: by the file, by the training, by what it says to be called with."""
    said = (path.stem, _NUMBERED.sub("", path.stem), metadata.get("ss_output_name"))
    return list(dict.fromkeys(name for name in (*said, metadata.get("modelspec.trigger_phrase")) if name))


embedding = Format(
    name="embedding",
    recognises=recognises,
    read=read,
    write=write,
    description="textual inversion, a word's vectors.",
)
