"""What a safetensors file is that cannot be used, told by its keys, widths and metadata, so that it can be named."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lorabench.components import LoadedAdapter

ELSEWHERE = (
    "lorabench draws with Stable Diffusion 1.x, 2.x and SDXL; draw with another program and score its pictures "
    "(lorabench evaluate --images FOLDER)"
)
_UPDATE = re.compile(
    r"\.(?:lora_(?:up|down|mid|A|B)\b|lora\.(?:up|down)|.*_lora\.(?:up|down)|alpha$|dora_scale$|hada_|lokr_|oft_)"
    r"|\.diff(?:_b)?$"
)
_CROSS_ATTENTION = re.compile(
    r"attn2[._](?:processor[._])?to_[kv](?:_lora)?\.(?:(?:lora[._])?(?:lora_)?(?:down|A)\b|hada_w1_b)"
)
SDXL = "SDXL"
_BY_WIDTH = {768: "Stable Diffusion 1.x", 1024: "Stable Diffusion 2.x", 2048: SDXL}

# --- adapters of other models ----------------------------------------------------------------------------------------

# What trainers write under ss_base_model_version and modelspec.architecture, in small letters.
_BY_METADATA = (
    (r"sdxl|stable-diffusion-xl|pony|illustrious", SDXL),
    (r"flux", "FLUX"),
    (r"sd_?3|stable-diffusion-(?:v?3|3)", "Stable Diffusion 3"),
    (r"hunyuan", "HunyuanVideo"),
    (r"\bwan", "Wan"),
    (r"lumina", "Lumina"),
    (r"qwen", "Qwen-Image"),
    (r"cascade|wurstchen", "Stable Cascade"),
    (r"pixart", "PixArt"),
    (r"sd_?v?2|stable-diffusion-v2", "Stable Diffusion 2.x"),
    (r"sd_?v?1|stable-diffusion-v1", "Stable Diffusion 1.x"),
)
_DRAWN = ("Stable Diffusion 1.x", "Stable Diffusion 2.x", SDXL)
_TRANSFORMER = "a transformer (FLUX, SD3 or one of their kind)"
_BY_KEY = (
    (r"motion_modules?[._]", "AnimateDiff's motion modules"),
    (r"(?:^|[._])lora_te2_|^text_encoder_2\.|(?:^|_)add_embedding|unet_(?:input|middle|output)_blocks_", SDXL),
    (r"single_transformer_blocks|(?:double|single)_blocks[._]\d", f"{_TRANSFORMER}, FLUX by its blocks"),
    (r"joint_blocks[._]\d|context_block", f"{_TRANSFORMER}, SD3 by its blocks"),
    (r"(?:^|\.)transformer\.|^lora_transformer_|^lycoris_transformer_|^diffusion_model\.", _TRANSFORMER),
    # A U-Net has its transformer blocks inside of attentions.
    (r"^(?:unet\.|base_model\.model\.|lora_unet_)?(?:transformer_blocks|blocks|layers)[._]\d", _TRANSFORMER),
    (r"^lora_te3_|encoder[._]block[._]\d", f"{_TRANSFORMER}, with its T5 text encoder"),
    (r"(?:^|\.)model\.layers\.\d+\.(?:self_attn|mlp)\.", "a language model"),
)


@dataclass(frozen=True)
class Header:
    """What is known of a file without its numbers."""

    shapes: Mapping[str, tuple[int, ...]]
    metadata: Mapping[str, str]


@dataclass(frozen=True)
class Family:
    """The base models that an adapter is of, and how one can tell."""

    name: str
    sign: str

    @property
    def drawn(self) -> bool:
        """Whether lorabench draws with such a base."""
        return self.name in _DRAWN

    @property
    def words(self) -> str:
        return f"an adapter of {self.name} ({self.sign})"


def family(header: Header) -> Family | None:
    """The base models that the file's keys, widths or metadata name; None where nothing does."""
    for pattern, name in _BY_KEY:
        key = _first(pattern, header.shapes)
        if key is not None:
            return Family(name, f"'{key}' says so")
    for key, shape in header.shapes.items():
        if _CROSS_ATTENTION.search(key) and len(shape) > 1 and shape[1] in _BY_WIDTH:
            return Family(_BY_WIDTH[shape[1]], f"its text vectors are {shape[1]} wide")
    for entry in ("ss_base_model_version", "modelspec.architecture"):
        said = header.metadata.get(entry, "")
        for pattern, name in _BY_METADATA:
            if re.search(pattern, said.lower()):
                return Family(name, f"{entry} is '{said}'")
    return None


def family_of(loaded: LoadedAdapter) -> Family | None:
    """The base models that an adapter says to be of, or whose widths it has."""
    shapes = {
        f"{name}.{suffix}": tuple(tensor.shape)
        for name, params in loaded.modules.items()
        for suffix, tensor in params.items()
    }
    return family(Header(shapes, loaded.metadata))


# --- files that are no adapters --------------------------------------------------------------------------------------

_NO_BASE = f"it is no adapter: {ELSEWHERE}"
_GUIDE = "it steers a base model beside its prompt, which lorabench does not measure"
_OTHERS = (
    (
        r"^control_model\.|^controlnet_(?:cond|down|mid|block)|input_hint_block|^lora_controlnet$",
        "a ControlNet",
        _GUIDE,
    ),
    (r"^(?:image_proj|ip_adapter)\.", "an IP-Adapter", _GUIDE),
    (r"^(?:adapter\.)?body\.\d+\.(?:block1|in_conv|resnets)", "a T2I-Adapter", _GUIDE),
    (r"motion_modules?\.", "AnimateDiff's motion module", _GUIDE),
    (r"^(?:model\.diffusion_model\.)?(?:joint|double|single)_blocks\.", "a base model, a transformer", _NO_BASE),
    (
        r"^(?:model\.diffusion_model\.|transformer\.|model\.)?(?:(?:single_)?transformer_blocks|blocks)\.",
        "a base model, a transformer",
        _NO_BASE,
    ),
    (
        r"^model\.diffusion_model\.|^conditioner\.embedders",
        "a whole checkpoint, a base model",
        "give it as the base with --base, and a folder of adapters to measure on it",
    ),
    (
        r"^(?:unet\.|module\.)?(?:conv_in|conv_out|time_embedding|time_embed|down_blocks|up_blocks|mid_block|"
        r"input_blocks|output_blocks|middle_block|add_embedding)\.",
        "the U-Net of a base model",
        "give the diffusers folder or the whole checkpoint that it is of with --base",
    ),
    (
        r"^(?:first_stage_model\.|vae\.)?(?:encoder|decoder)\.(?:conv_in|conv_out|down|up|mid)|^(?:post_)?quant_conv\.",
        "an autoencoder (VAE)",
        "put it into the base model's folder",
    ),
    (
        r"^(?:cond_stage_model\.)?(?:transformer\.)?(?:text_model|text_encoder)\.",
        "a text encoder",
        "give the base model that it is of with --base",
    ),
    (r"^(?:encoder|decoder)\.block\.\d+\.layer|^shared\.weight$", "a T5 text encoder", "it is no adapter"),
    (r"^(?:vision_model|visual)\.", "an image encoder", "it is no adapter"),
    (r"rdb\d?\.|^conv_first\.|^model\.\d+\.(?:sub\.|weight)", "an upscaler", "it is no adapter"),
    (r"^(?:model\.)?(?:layers\.\d|embed_tokens)|^lm_head", "a language model", "it is no adapter"),
    (r"^base_model\.model\.", "weights of a peft adapter", "its adapter_config.json is missing: copy it beside them"),
)


def holds_updates(header: Header) -> bool:
    """Does a key say that the file is an adapter?"""
    return any(_UPDATE.search(key) for key in header.shapes)


def not_an_adapter(header: Header) -> str | None:
    """What the file is, and what to do with it; None of an adapter, and of what nobody has named here."""
    if holds_updates(header):
        lone = _first(r"^base_model\.model\.", header.shapes)
        return None if lone is None else f"holds {_OTHERS[-1][1]}; {_OTHERS[-1][2]}"
    for pattern, what, do in _OTHERS:
        if _first(pattern, header.shapes) is not None:
            return f"is {what}; {do}"
    return None


def _first(pattern: str, keys: Iterable[str]) -> str | None:
    return next((key for key in keys if re.search(pattern, key)), None)
