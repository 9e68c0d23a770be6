"""kohya and LyCORIS safetensors: `lora_unet_...`, `lora_te_...` and `lycoris_...` keys, `ss_*` metadata."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import torch

from lorabench.components import Format, LoadedAdapter, Origin, find
from lorabench.formats import _safetensors
from lorabench.formats._headers import OwnHeader, kohya_header, table_of
from lorabench.formats._params import gather, has_alpha, recognise_algorithm, with_neutral_alphas
from lorabench.formats._peft_config import settings_of
from lorabench.formats._unusable import SDXL, family_of
from lorabench.formats._words import BUNDLE, bundled, to_bundle
from lorabench.layers import canonical
from lorabench.records import TEXTUAL_INVERSION, AdapterConfig, TrainConfig, TrainingConfig
from lorabench.untrusted import parsed

METADATA_KEY = "lorabench"  # what ss_* cannot say: the whole TrainConfig, the base's id, our epoch and step

_LYCORIS_ALGO = {"lora": "locon", "native": "full", "oft": "diag-oft"}  # others have the same name there
_LYCORIS_PRESET = {"attention": "attn-only", "linear": "attn-mlp"}


def recognises(path: Path) -> bool:
    """A safetensors file with the prefixes of kohya, of LyCORIS' own wrapper, or of A1111's bundled words."""
    if not path.is_file() or path.suffix != ".safetensors":
        return False
    return any(key.startswith(("lora_unet_", "lora_te", "lycoris_", BUNDLE)) for key in _safetensors.keys(path))


def read(path: Path, unused: Sequence[str] = ()) -> LoadedAdapter:
    """Modules by kohya's names; both spellings of the text encoder's are understood. UserError for a faulty file."""
    tensors, metadata = _safetensors.read(path, unused)
    tensors, words, notes = bundled(tensors, path)
    modules, alphas = gather(tensors, path) if tensors or not words else ({}, {})
    algorithm = recognise_algorithm(modules, path) if modules else find("algorithms", TEXTUAL_INVERSION)
    alphas, assumed = with_neutral_alphas(modules, alphas, algorithm)
    if METADATA_KEY in metadata:
        config, origin = own_metadata(metadata[METADATA_KEY], path)
    else:
        config, origin = _ss_metadata(metadata, algorithm.name, path.stem)
    # DyLoRA's files are LoRA's, but for what they say.
    name = algorithm.name if config is None else config.adapter.algorithm
    return LoadedAdapter(name, config, modules, alphas, path, origin, metadata, words, (*assumed, *notes))


def write(path: Path, adapter: LoadedAdapter, dtype: torch.dtype) -> None:
    """Write an adapter whose modules go by dotted names, with an alpha a module and both kinds of metadata."""
    _safetensors.write(path, tensors_of(adapter), metadata_of(adapter), dtype)


def file_size(adapter: LoadedAdapter, dtype: torch.dtype) -> int:
    """Bytes of the file that `write` would make; the adapter may be on the meta device."""
    return _safetensors.file_size(tensors_of(adapter), metadata_of(adapter), dtype)


def tensors_of(adapter: LoadedAdapter) -> dict[str, torch.Tensor]:
    """What the file holds, by kohya's keys."""
    algorithm = find("algorithms", adapter.algorithm)
    tensors, two = to_bundle(adapter.words), _is_sdxl(adapter)
    for name, params in adapter.modules.items():
        for suffix, tensor in params.items():
            tensors[f"{kohya_name(name, two)}.{suffix}"] = tensor
        if has_alpha(algorithm, params):
            tensors[f"{kohya_name(name, two)}.alpha"] = torch.tensor(adapter.alphas[name])
    return tensors


def kohya_name(name: str, of_two: bool = False) -> str:
    """ "unet.a.0.b" -> "lora_unet_a_0_b", "text_encoder.encoder.x" -> "lora_te_text_model_encoder_x".

    Text encoders are numbered where the base model has two. Blocks of a U-Net go by diffusers' names, which every tool
    reads; those of the original code, which kohya's trainer writes for SDXL, depend on the whole of the U-Net.
    """
    flat = canonical(name)
    if flat.startswith("unet_"):
        return f"lora_{flat}"
    number, path = re.fullmatch(r"text_encoder_(2_)?(.+)", flat).groups()
    prefix = "lora_te2" if number else "lora_te1" if of_two else "lora_te"
    return f"{prefix}_{path}" if path == "text_projection" else f"{prefix}_text_model_{path}"


def _is_sdxl(adapter: LoadedAdapter) -> bool:
    """Whether the adapter is of SDXL, by its modules and widths."""
    family = family_of(adapter)
    return family is not None and family.name == SDXL


# --- metadata --------------------------------------------------------------------------------------------------------


def metadata_of(adapter: LoadedAdapter) -> dict[str, str]:
    config, origin = adapter.config, adapter.origin
    own = {
        "version": version("lorabench"),
        "algorithm": adapter.algorithm,
        **dataclasses.asdict(origin),
        "config": _config_in_metadata(config),
    }
    metadata = {METADATA_KEY: json.dumps(own)} | ({"ss_network_module": "lycoris.kohya"} if adapter.modules else {})
    if _is_sdxl(adapter):  # A1111's web UI takes what does not say so for SD1.x, and hides it beside SDXL
        metadata |= {"ss_base_model_version": "sdxl_base_v1-0"}
    known: dict[str, object] = {"ss_seed": origin.seed, "ss_epoch": origin.epoch, "ss_steps": origin.step}
    # A base's id ends in its hash (base_files.base_id).
    known |= {"ss_sd_model_name": origin.base or None, "ss_sd_model_hash": origin.base.rpartition("-")[2] or None}
    if config is not None:
        known |= _network(config.adapter) if adapter.modules else {}
        known |= {"ss_learning_rate": config.training.lr, "ss_text_encoder_lr": config.training.text_encoder_lr}
        known["ss_num_epochs"] = config.training.epochs
    return metadata | {key: str(value) for key, value in known.items() if value is not None and value == value}


def _config_in_metadata(config: TrainConfig | None) -> dict[str, object] | None:
    """None where it was read off somebody's weights, as a missing learning rate says: that can be done again.

    The settings of a peft method cannot be read off weights.
    """
    if config is None or (math.isnan(config.training.lr) and config.adapter.peft is None):
        return None
    return table_of(config)


def _network(config: AdapterConfig) -> dict[str, object]:
    """What is trained, in the words of the authors' library."""
    arguments = {
        "algo": _LYCORIS_ALGO.get(config.algorithm, config.algorithm),
        "factor": config.factor,
        "preset": _LYCORIS_PRESET.get(config.trained_layers, config.trained_layers),
        "conv_dim": config.conv_dim,
        "conv_alpha": config.conv_alpha,
        "use_tucker": config.tucker,
        "dora_wd": config.dora,
        "decompose_both": config.decompose_both,
    }
    text = {key: str(value) for key, value in arguments.items() if value not in (None, "", False)}
    # The authors' way to say "no low-rank block" is a dim that no layer reaches.
    dim = 10000 if config.algorithm == "lokr" and config.dim is None else config.dim
    return {"ss_network_dim": dim, "ss_network_alpha": config.alpha, "ss_network_args": json.dumps(text)}


def own_metadata(text: str, path: Path) -> tuple[TrainConfig | None, Origin]:
    """What lorabench wrote. UserError for what it would not have written."""
    place = f"{path}: its '{METADATA_KEY}' metadata is damaged"
    own = parsed(text, OwnHeader, place)
    config = None if own.config is None else own.config.known()
    if config is not None and config.adapter.peft is not None:
        config = replace(config, adapter=replace(config.adapter, peft=settings_of(config.adapter.peft, place)))
    return config, Origin(own.base, own.seed, own.epoch, own.step, own.pictures)


def _ss_metadata(metadata: Mapping[str, str], algorithm: str, name: str) -> tuple[TrainConfig | None, Origin]:
    """What kohya's trainer wrote. Its dims and layers are read off the weights instead, which cannot be wrong."""
    header = kohya_header(metadata)
    if header is None:
        return None, Origin()
    rate = header.ss_unet_lr or header.ss_learning_rate or float("nan")
    epochs = header.ss_num_epochs or 1
    training = TrainingConfig(lr=rate, epochs=epochs, checkpoint_epochs=(epochs,))
    return TrainConfig(name, AdapterConfig(algorithm), training), header.origin


kohya = Format(
    name="kohya",
    recognises=recognises,
    read=read,
    write=write,
    description="kohya and LyCORIS safetensors file.",
)
