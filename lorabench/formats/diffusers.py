"""diffusers' `pytorch_lora_weights.safetensors`: keys with the names of the pipeline's parts, in its three spellings.

Of the U-Net alone (its attention processors, or `save_lora_adapter`) they are saved without their prefix.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from lorabench.components import Format, LoadedAdapter, Origin
from lorabench.errors import UserError
from lorabench.formats import _safetensors
from lorabench.formats._headers import kohya_header
from lorabench.formats._params import gather, refuse_others, renamed
from lorabench.formats._peft_config import PeftConfig, alpha_of, peft_config
from lorabench.formats._words import bundled
from lorabench.untrusted import Table, parsed

FILE = "pytorch_lora_weights.safetensors"
METADATA_KEY = "lora_adapter_metadata"
_SPELLINGS = (
    (r"(?:\.processor)?\.to_out_lora\.(down|up)\.", r".to_out.0.lora_\1."),
    (r"(?:\.processor)?\.(to_[qkv])_lora\.(down|up)\.", r".\1.lora_\2."),
    (r"\.(?:lora|lora_linear_layer)\.(down|up)\.", r".lora_\1."),
    (r"\.lora_A\.", ".lora_down."),
    (r"\.lora_B\.", ".lora_up."),
    # The text encoder's layers once went by the U-Net's names.
    (r"\.self_attn\.to_out\.0\.", ".self_attn.out_proj."),
    (r"\.self_attn\.to_([qkv])\.", r".self_attn.\1_proj."),
)
_PREFIXES = ("unet.", "text_encoder.", "text_encoder_2.")
_OF_THE_UNET = re.compile(
    r"^(?:down_blocks|mid_block|up_blocks|conv_in|conv_out|time_embedding)\..*(?:lora.*\.weight|\.alpha)$"
)


def recognises(path: Path) -> bool:
    """The file, under any name, or a folder that holds it."""
    file = _file(path)
    if not file.is_file() or file.suffix != ".safetensors":
        return False
    return any(key.startswith(_PREFIXES) or _OF_THE_UNET.search(key) for key in _safetensors.keys(file))


def read(path: Path, unused: Sequence[str] = ()) -> LoadedAdapter:
    """A LoRA; alphas from the metadata or `.alpha` keys, and without either the rank, as diffusers has it."""
    file = _file(path)
    tensors, metadata = _safetensors.read(file, unused)
    tensors, words, notes = bundled(tensors, file)
    tensors = renamed(tensors, _ours, file)
    foreign = next((key for key in tensors if not key.startswith(_PREFIXES)), None)
    if foreign is not None:
        raise UserError(f"{file}: '{foreign}' is no key of diffusers, and others are; a file must hold one kind.")
    modules, alphas = gather(tensors, file)
    configs = _configs(metadata, file)
    for name, params in modules.items():
        if params.keys() != {"lora_down.weight", "lora_up.weight"}:
            raise UserError(f"{file}: '{name}' needs a down and an up weight, it has {', '.join(sorted(params))}.")
        component, path_in_it = name.split(".", 1)
        rank = params["lora_down.weight"].shape[0]
        alphas.setdefault(name, alpha_of(configs.get(component, PeftConfig()), path_in_it, rank))
    header = kohya_header(metadata)  # trainers that write this format take kohya's words for what they were told
    origin = Origin() if header is None else header.origin
    return LoadedAdapter("lora", None, modules, alphas, file, origin, metadata, words, notes)


def write(path: Path, adapter: LoadedAdapter, dtype: torch.dtype) -> None:
    """Write a LoRA with its scale alpha / dim multiplied into the up weights, as a file without metadata is read.

    diffusers before 0.34 reads no alphas of this format, and no other does without peft's whole config beside them.
    UserError for anything but a plain LoRA: diffusers drops what it does not know.
    """
    refuse_others(adapter, "diffusers")
    tensors = {}
    for name, params in adapter.modules.items():
        if params.keys() != {"lora_down.weight", "lora_up.weight"}:
            raise UserError(
                f"A diffusers file holds plain LoRA, not '{name}' of {adapter.algorithm} "
                f"({', '.join(sorted(params))}); write kohya, or merge."
            )
        down, up = params["lora_down.weight"], params["lora_up.weight"]
        # diffusers has kept CLIP's paths of before transformers 5.6 in its files.
        key = re.sub(r"^(text_encoder(?:_2)?)\.(?!text_model\.|text_projection)", r"\1.text_model.", name)
        tensors[f"{key}.lora_A.weight"] = down
        tensors[f"{key}.lora_B.weight"] = up * (adapter.alphas[name] / down.shape[0])
    _safetensors.write(path, tensors, {"format": "pt"}, dtype)


def _file(path: Path) -> Path:
    return path / FILE if path.is_dir() else path


def _ours(key: str) -> str:
    component = "unet." if _OF_THE_UNET.search(key) else ""
    for pattern, replacement in _SPELLINGS:
        key = re.sub(pattern, replacement, key)
    return component + key


def _configs(metadata: Mapping[str, str], file: Path) -> dict[str, PeftConfig]:
    """peft's config of each component, from "unet.lora_alpha" and its like; without a component it is the U-Net's."""
    place = f"{file}: its '{METADATA_KEY}' metadata"
    tables: dict[str, dict[str, Any]] = {}
    for key, value in parsed(metadata.get(METADATA_KEY, "{}"), Table, place).root.items():
        component, _, name = key.rpartition(".")
        tables.setdefault(component or "unet", {})[name] = value
    configs = {component: peft_config(table, f"{place} of {component}") for component, table in tables.items()}
    for config in configs.values():
        if config.use_dora or config.algorithm != "lora":
            raise UserError(f"{place} is not of a plain LoRA, and no other is read from diffusers.")
    return configs


diffusers = Format(
    name="diffusers", recognises=recognises, read=read, write=write, description="diffusers LoRA file or folder."
)
