"""Diffusers folders of the tiny test models, written as the single file that most published models come as."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from lorabench.formats._original_names import original_names

# (pattern in diffusers' names, replacement in the original ones).
_RESNET = [
    (r"norm1", "in_layers.0"), (r"conv1", "in_layers.2"), (r"norm2", "out_layers.0"), (r"conv2", "out_layers.3"),
    (r"time_emb_proj", "emb_layers.1"), (r"conv_shortcut", "skip_connection"),
]  # fmt: skip
_UNET_ENDS = {
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
}  # fmt: skip


def write_single_file(folder: Path, file: Path, layers_per_block: int) -> None:
    """Write unet, vae and text encoder of a diffusers folder in the layout of the original Stable Diffusion."""
    unet = load_file(folder / "unet/diffusion_pytorch_model.safetensors")
    vae = load_file(folder / "vae/diffusion_pytorch_model.safetensors")
    text = load_file(folder / "text_encoder/model.safetensors")
    tensors = {f"model.diffusion_model.{_unet_name(name, layers_per_block)}": value for name, value in unet.items()}
    tensors |= {f"first_stage_model.{_vae_name(name)}": value for name, value in vae.items()}
    for name, value in text.items():
        tensors[f"cond_stage_model.transformer.text_model.{name.removeprefix('text_model.')}"] = value
    save_file({name: value.contiguous() for name, value in tensors.items()}, file)


def write_single_sdxl(folder: Path, file: Path) -> None:
    """The same of SDXL: the second text encoder in OpenCLIP's layout, its three projections in one matrix."""
    unet = load_file(folder / "unet/diffusion_pytorch_model.safetensors")
    vae = load_file(folder / "vae/diffusion_pytorch_model.safetensors")
    first = load_file(folder / "text_encoder/model.safetensors")
    second = load_file(folder / "text_encoder_2/model.safetensors")
    others = original_names(dict.fromkeys(f"unet.{name.rpartition('.')[0]}" for name in unet))
    tensors = {f"first_stage_model.{_vae_name(name)}": value for name, value in vae.items()}
    for name, value in unet.items():
        module, _, kind = name.rpartition(".")
        tensors[f"model.diffusion_model.{others[f'unet.{module}'].removeprefix('unet.')}.{kind}"] = value
    for name, value in first.items():
        tensors[f"conditioner.embedders.0.transformer.text_model.{name.removeprefix('text_model.')}"] = value
    for name, value in _open_clip(second).items():
        tensors[f"conditioner.embedders.1.model.{name}"] = value
    save_file({name: value.contiguous() for name, value in tensors.items()}, file)


_OPEN_CLIP = [
    (r"embeddings\.token_embedding\.", "token_embedding."),
    (r"embeddings\.position_embedding\.weight", "positional_embedding"),
    (r"final_layer_norm", "ln_final"), (r"encoder\.layers", "transformer.resblocks"), (r"layer_norm(\d)", r"ln_\1"),
    (r"mlp\.fc1", "mlp.c_fc"), (r"mlp\.fc2", "mlp.c_proj"), (r"self_attn", "attn"),
]  # fmt: skip


def _open_clip(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    found = {"text_projection": weights["text_projection.weight"].T}
    parts: dict[str, list[torch.Tensor]] = {}
    for name, value in sorted(weights.items()):  # k, q, v: put in the order q, k, v below
        other = name.removeprefix("text_model.")
        for ours, theirs in _OPEN_CLIP:
            other = re.sub(ours, theirs, other)
        if match := re.fullmatch(r"(.*\.attn)\.[kqv]_proj\.(weight|bias)", other):
            parts.setdefault(f"{match[1]}.in_proj_{match[2]}", []).append(value)
        elif not other.startswith("text_projection"):
            found[other] = value
    return found | {name: torch.cat([q, k, v]) for name, (k, q, v) in parts.items()}


def _unet_name(name: str, layers: int) -> str:
    for ours, original in _UNET_ENDS.items():
        if name.startswith(f"{ours}."):
            return name.replace(ours, original, 1)
    parts = name.split(".")
    if parts[0] == "mid_block":
        place = f"middle_block.{2 * int(parts[2]) if parts[1] == 'resnets' else 1}"
        return _in_block(parts[1], place, parts[3:], index="")
    block, kind, layer = int(parts[1]), parts[2], int(parts[3])
    if kind == "downsamplers":
        return f"input_blocks.{(block + 1) * (layers + 1)}.0.op.{parts[-1]}"
    if kind == "upsamplers":  # behind the attention, where its block has one
        return f"output_blocks.{block * (layers + 1) + layers}.{2 if block == 0 else 1}.conv.{parts[-1]}"
    if parts[0] == "down_blocks":
        place = f"input_blocks.{1 + block * (layers + 1) + layer}"
    else:
        place = f"output_blocks.{block * (layers + 1) + layer}"
    return _in_block(kind, place, parts[4:], index=".0" if kind == "resnets" else ".1")


def _in_block(kind: str, place: str, rest: list[str], index: str) -> str:
    inner = ".".join(rest)
    if kind == "resnets":
        for ours, original in _RESNET:
            inner = re.sub(rf"^{ours}\.", f"{original}.", inner)
    return f"{place}{index}.{inner}"


def _vae_name(name: str) -> str:
    blocks = 2
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    name = re.sub(r"down_blocks\.(\d)\.resnets", r"down.\1.block", name)
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(r"up_blocks\.(\d)\.resnets", lambda m: f"up.{blocks - 1 - int(m[1])}.block", name)
    name = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{blocks - 1 - int(m[1])}.upsample", name)
    return name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
