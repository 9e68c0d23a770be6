"""peft's folder: adapter_model.safetensors with adapter_config.json, one for each component or one alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lorabench.components import Format, LoadedAdapter, Params
from lorabench.errors import UserError
from lorabench.formats import _safetensors
from lorabench.formats._params import gather
from lorabench.formats._peft_config import alpha_of, refuse_variants

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_COMPONENTS = ("unet", "text_encoder")
_PREFIX = "base_model.model."
_SUFFIXES = {".lora_A.weight": ".lora_down.weight", ".lora_B.weight": ".lora_up.weight"}


def recognises(path: Path) -> bool:
    """A folder with adapter_config.json, in itself or in `unet` or `text_encoder`."""
    return any((folder / CONFIG).is_file() for folder in (path, *(path / name for name in _COMPONENTS)))


def read(path: Path) -> LoadedAdapter:
    """A LoRA. UserError for peft's other methods and for what is saved besides it."""
    modules: dict[str, Params] = {}
    alphas: dict[str, float] = {}
    folders = {name: path / name for name in _COMPONENTS if (path / name / CONFIG).is_file()}
    for component, folder in (folders or {"": path}).items():
        config = _config(folder)
        renamed = {_renamed(key, component): tensor for key, tensor in _weights(folder).items()}
        found, _ = gather(renamed, folder / WEIGHTS)
        modules |= found
        for name, params in found.items():
            alphas[name] = alpha_of(config, name.split(".", 1)[1], _rank(params, name, folder / WEIGHTS))
    return LoadedAdapter("lora", None, modules, alphas, path)


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{folder / CONFIG} is not valid JSON ({error}); save the adapter again.") from error
    refuse_variants(config, folder / CONFIG)
    return config


def _weights(folder: Path) -> dict[str, Any]:
    pickled = folder / "adapter_model.bin"
    if not (folder / WEIGHTS).is_file():
        if pickled.is_file():
            _safetensors.refuse_pickle(pickled)
        raise UserError(f"{folder} has {CONFIG}, but {WEIGHTS} is missing; copy or save the adapter again.")
    return _safetensors.read(folder / WEIGHTS)[0]


def _renamed(key: str, component: str) -> str:
    path = key.removeprefix(_PREFIX)
    for theirs, ours in _SUFFIXES.items():
        path = path.replace(theirs, ours)
    # peft does not say which model it wrapped; CLIP's layers are the ones called encoder.layers.
    return f"{component or ('text_encoder' if 'encoder.layers.' in path else 'unet')}.{path}"


def _rank(params: Params, name: str, path: Path) -> int:
    if "lora_down.weight" not in params:
        raise UserError(f"{path}: '{name}' has no lora_A.")
    return params["lora_down.weight"].shape[0]


peft = Format(name="peft", recognises=recognises, read=read, description="peft folder; LoRA.")
