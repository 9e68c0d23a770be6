"""diffusers' `pytorch_lora_weights.safetensors`: keys with `unet.` and `text_encoder.`, in its three spellings."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lorabench.components import Format, LoadedAdapter
from lorabench.errors import UserError
from lorabench.formats import _safetensors
from lorabench.formats._params import gather
from lorabench.formats._peft_config import alpha_of, refuse_variants

FILE = "pytorch_lora_weights.safetensors"
METADATA_KEY = "lora_adapter_metadata"
_SPELLINGS = (
    (r"\.processor\.to_out_lora\.(down|up)\.", r".to_out.0.lora_\1."),
    (r"\.processor\.(to_[qkv])_lora\.(down|up)\.", r".\1.lora_\2."),
    (r"\.(?:lora|lora_linear_layer)\.(down|up)\.", r".lora_\1."),
    (r"\.lora_A\.", ".lora_down."),
    (r"\.lora_B\.", ".lora_up."),
)


def recognises(path: Path) -> bool:
    """The file, under any name, or a folder that holds it."""
    file = _file(path)
    if not file.is_file() or file.suffix != ".safetensors":
        return False
    return any(key.startswith(("unet.", "text_encoder.")) for key in _safetensors.keys(file))


def read(path: Path) -> LoadedAdapter:
    """A LoRA; alphas from the metadata or `.alpha` keys, and without either the rank, as diffusers has it."""
    file = _file(path)
    tensors, metadata = _safetensors.read(file)
    modules, alphas = gather({_renamed(key): tensor for key, tensor in tensors.items()}, file)
    configs = _configs(metadata, file)
    for name, params in modules.items():
        if params.keys() != {"lora_down.weight", "lora_up.weight"}:
            raise UserError(f"{file}: '{name}' needs a down and an up weight, it has {', '.join(sorted(params))}.")
        component, path_in_it = name.split(".", 1)
        rank = params["lora_down.weight"].shape[0]
        alphas.setdefault(name, alpha_of(configs.get(component, {}), path_in_it, rank))
    return LoadedAdapter("lora", None, modules, alphas, file, metadata=metadata)


def _file(path: Path) -> Path:
    return path / FILE if path.is_dir() else path


def _renamed(key: str) -> str:
    for pattern, replacement in _SPELLINGS:
        key = re.sub(pattern, replacement, key)
    return key


def _configs(metadata: Mapping[str, str], file: Path) -> dict[str, dict[str, Any]]:
    """peft's config of each component, from "unet.lora_alpha" and its like."""
    try:
        flat = json.loads(metadata.get(METADATA_KEY, "{}"))
    except ValueError as error:
        raise UserError(f"{file}: its '{METADATA_KEY}' metadata is not JSON ({error}); save it again.") from error
    configs: dict[str, dict[str, Any]] = {}
    for key, value in flat.items():
        component, _, name = key.partition(".")
        configs.setdefault(component, {})[name] = value
    for config in configs.values():
        refuse_variants(config, file)
    return configs


diffusers = Format(name="diffusers", recognises=recognises, read=read, description="diffusers LoRA file or folder.")
