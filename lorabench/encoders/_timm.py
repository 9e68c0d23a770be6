"""Encoders whose network is one of timm's: features before the classifier."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import StringConstraints
from torch import nn

from lorabench.components import Outline
from lorabench.encoders import _weights
from lorabench.encoders._pictures import IMAGENET_MEAN, IMAGENET_STD, PictureEncoder, Preprocessing
from lorabench.errors import UserError
from lorabench.hashes import sha256_of
from lorabench.untrusted import offline

# timm's arguments that shape a network; others name files, repositories and addresses to load from.
_Argument = Literal[
    "img_size", "patch_size", "embed_dim", "depth", "num_heads", "mlp_ratio", "qkv_bias", "init_values", "class_token",
    "reg_tokens", "no_embed_class", "pre_norm", "final_norm", "fc_norm", "dynamic_img_size", "global_pool", "in_chans",
    "dims", "depths", "kernel_sizes", "stem_type", "use_grn", "ls_init_value", "conv_mlp", "conv_bias", "output_stride",
    "drop_path_rate", "drop_rate", "window_size", "num_heads_per_stage", "width_factor", "stem_width", "cardinality",
]  # fmt: skip
_Word = Annotated[str, StringConstraints(pattern=r"^[\w.]{0,100}$")]  # never "hf-hub:..." or "local-dir:..."


@dataclass(frozen=True)
class Published:
    """The network behind an encoder's name: timm architecture, input size in pixels and the hub's repository."""

    architecture: str
    size: int
    hub_id: str
    model_args: dict[str, Any] = field(default_factory=dict)


class TimmConfig(_weights.PictureConfig):
    """config.json of a folder with a network of its own."""

    architecture: _Word
    model_args: dict[_Argument, bool | int | float | list[int] | _Word | None]


def timm_encoder(
    name: str,
    published: Published,
    weights: Path | None,
    device: torch.device,
    resize_modes: tuple[str, ...],
    classes: int = 0,
) -> PictureEncoder:
    """The encoder with published weights (None), a state dict of that architecture, or a folder's own architecture.

    The folder holds model.safetensors and config.json: architecture, model_args, image_size, mean, std. With `classes`
    the features are the answer of the classifier, which has so many, else what it is given.
    """
    if weights is not None and Path(weights).is_dir():
        return _from_folder(name, Path(weights), device, resize_modes, classes)
    file = (
        _weights.published_file(name, published.hub_id)
        if weights is None
        else _weights.safetensors_file(name, Path(weights))
    )
    preprocessing = Preprocessing(published.size, IMAGENET_MEAN, IMAGENET_STD)
    # On "meta": initialising 300 M weights that are replaced at once would take longer than loading them.
    with torch.device("meta"):
        network = _network(name, published.architecture, published.model_args, classes, str(file))
    return _encoder(name, published.architecture, network, file, preprocessing, device, resize_modes)


def _from_folder(
    name: str, folder: Path, device: torch.device, resize_modes: tuple[str, ...], classes: int
) -> PictureEncoder:
    config = _weights.read_config(name, folder, TimmConfig)
    file = _weights.safetensors_file(name, folder / _weights.WEIGHTS)
    preprocessing = Preprocessing(config.image_size, config.mean, config.std)
    network = _network(name, config.architecture, dict(config.model_args), classes, str(folder / _weights.CONFIG))
    return _encoder(name, config.architecture, network, file, preprocessing, device, resize_modes)


def outline(name: str, published: Published, classes: int = 0) -> Outline:
    """The published network without its weights."""
    with torch.device("meta"):
        network = _network(name, published.architecture, published.model_args, classes, published.hub_id)
    return Outline(_features_of(network), published.size)


def _features_of(network: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    def features(batch: torch.Tensor) -> torch.Tensor:
        return network.forward_head(network.forward_features(batch), pre_logits=network.num_classes == 0)

    return features


def _network(name: str, architecture: str, model_args: dict[str, Any], classes: int, where: str) -> nn.Module:
    import timm  # takes seconds: only when an encoder is used

    try:
        with offline():
            return timm.create_model(architecture, pretrained=False, num_classes=classes, **model_args)
    except (RuntimeError, TypeError, ValueError, AssertionError, LookupError, ArithmeticError) as error:
        raise UserError(f"Encoder '{name}': timm cannot make '{architecture}' ({error}) for {where}.") from error


def _encoder(
    name: str,
    architecture: str,
    network: nn.Module,
    file: Path,
    preprocessing: Preprocessing,
    device: torch.device,
    resize_modes: tuple[str, ...],
) -> PictureEncoder:
    wanted = network.state_dict()
    state = _weights.read_state(name, file)
    # Published files carry a classifier, which need be no part of the features.
    state = {key: value for key, value in state.items() if key in wanted or not key.startswith("head.")}
    _fit_positions(network, state)
    _weights.load_strictly(name, network, state, file)
    network.to(device)
    features, sha256 = _features_of(network), sha256_of(file)
    return PictureEncoder(name, architecture, sha256, features, preprocessing, device, resize_modes)


def _fit_positions(network: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Interpolate position embeddings learnt at another resolution (DINOv2: 518 pixels, used at 224), in place.

    Bicubic with antialiasing, as timm does; the original code of DINOv2 interpolates without antialiasing.
    """
    from timm.layers import resample_abs_pos_embed

    wanted, found = getattr(network, "pos_embed", None), state.get("pos_embed")
    if wanted is None or found is None or found.shape == wanted.shape or found.shape[2:] != wanted.shape[2:]:
        return
    prefix = network.num_prefix_tokens
    if math.isqrt(found.shape[1] - prefix) ** 2 == found.shape[1] - prefix:
        grid = network.patch_embed.grid_size
        state["pos_embed"] = resample_abs_pos_embed(found, new_size=list(grid), num_prefix_tokens=prefix)
