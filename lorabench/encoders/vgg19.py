"""VGG-19's Gram matrices: style, for the style loss."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn

from lorabench import components
from lorabench.components import Outline
from lorabench.encoders import _weights
from lorabench.encoders._pictures import IMAGENET_MEAN, IMAGENET_STD, PictureEncoder, Preprocessing
from lorabench.errors import UserError
from lorabench.hashes import sha256_of

RESIZE_MODES = ("scale", "letterbox", "center_crop", "stretch")
# torchvision's IMAGENET1K_V1 weights, as safetensors.
HUB_ID = "timm/vgg19.tv_in1k"
FULL_SIZE = 224
FULL_LAYERS: tuple[int | str, ...] = (
    64, 64, "M", 128, 128, "M", 256, 256, 256, 256, "M", 512, 512, 512, 512, "M", 512, 512, 512, 512, "M",
)  # fmt: skip
STAGES = 5


class VggConfig(_weights.PictureConfig):
    """config.json of a folder: its convolutions' channels, and "M" where pictures are halved."""

    layers: list[Annotated[int, Field(ge=1, le=2**14)] | Literal["M"]]


def outline() -> Outline:
    """The published network without its weights."""
    return Outline(_empty(FULL_LAYERS, False).grams, FULL_SIZE)


@components.encoder(stored=False, resize_modes=RESIZE_MODES, published=(HUB_ID, _weights.WEIGHTS), outline=outline)
def vgg19(weights: Path | None, device: torch.device) -> PictureEncoder:
    """Gram matrices of conv1_1, 2_1, 3_1, 4_1, 5_1, each divided by c h w, flattened and joined (610,304 numbers).

    Squared Euclidean distance of two vectors = the style loss of LyCORIS D.4. Pictures keep their shape, at least 224.
    As in the paper's runs, the first four layers count after their ReLU (theirs works in place) and conv5_1 before it.
    """
    return vgg19_encoder("vgg19", weights, device)


def vgg19_encoder(name: str, weights: Path | None, device: torch.device, half: bool = False) -> PictureEncoder:
    """The encoder under a name, with published weights (None), a file of VGG-19, or a folder's own architecture.

    `half`: float16 where PyTorch's autocast has it so.
    """
    if weights is not None and Path(weights).is_dir():
        config = _weights.read_config(name, Path(weights), VggConfig)
        file = _weights.safetensors_file(name, Path(weights) / _weights.WEIGHTS)
        layers = _checked_layers(name, config.layers, Path(weights))
        architecture = f"vgg{sum(layer != 'M' for layer in layers)}conv"
        preprocessing = Preprocessing(config.image_size, config.mean, config.std)
    else:
        file = (
            _weights.published_file(name, HUB_ID) if weights is None else _weights.safetensors_file(name, Path(weights))
        )
        layers, architecture = FULL_LAYERS, "vgg19"
        preprocessing = Preprocessing(FULL_SIZE, IMAGENET_MEAN, IMAGENET_STD)
    grams = _grams(name, layers, file, half).to(device)
    return PictureEncoder(name, architecture, sha256_of(file), grams, preprocessing, device, RESIZE_MODES, stored=False)


class Grams(nn.Module):
    """float [n, 3, h, w] -> [n, sum of c^2]: normalised Gram matrices at the first convolution of each stage."""

    def __init__(self, features: nn.Sequential, taps: tuple[int, ...], half: bool = False) -> None:
        super().__init__()
        self.features = features
        self.taps = taps
        self.half_precision = half

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        with torch.autocast(batch.device.type, torch.float16, enabled=self.half_precision):
            return self.grams(batch)

    def grams(self, batch: torch.Tensor) -> torch.Tensor:
        grams = []
        for index, layer in enumerate(self.features[: self.taps[-1] + 1]):
            batch = layer(batch)
            if index in self.taps:
                maps = batch.flatten(2)
                if self.half_precision:  # sums of squares are beyond float16, as those of the scaled maps are not
                    scaled = maps / maps[0].numel() ** 0.5
                    grams.append((scaled @ scaled.transpose(1, 2)).flatten(1))
                else:
                    grams.append((maps @ maps.transpose(1, 2) / maps[0].numel()).flatten(1))
        return torch.cat(grams, dim=1)


def _grams(name: str, layers: tuple[int | str, ...], file: Path, half: bool) -> Grams:
    grams = _empty(layers, half)
    state = _weights.read_state(name, file, prefix="features.")
    # What comes after conv5_1 is in every file and never used.
    used = {key: value for key, value in state.items() if int(key.split(".")[1]) <= grams.taps[-1]}
    _weights.load_strictly(name, grams, used, file)
    return grams


def _empty(layers: tuple[int | str, ...], half: bool) -> Grams:
    """The network up to the last layer that is looked at, on the meta device."""
    from torchvision.models.vgg import make_layers

    with torch.device("meta"):
        whole = make_layers(list(layers), batch_norm=False)
    taps = gram_taps(whole)
    return Grams(whole[: taps[-1] + 1], taps, half)


def gram_taps(features: nn.Sequential) -> tuple[int, ...]:
    """Where Gram matrices are taken: at the first convolution of each stage, after the ReLU but for the last."""
    pools = [-1] + [index for index, layer in enumerate(features) if isinstance(layer, nn.MaxPool2d)]
    firsts = [index + 1 for index in pools[:STAGES]]
    return (*(index + 1 for index in firsts[:-1]), firsts[-1])


def _checked_layers(name: str, layers: list[int | str], folder: Path) -> tuple[int | str, ...]:
    stages = " ".join("M" if layer == "M" else "c" for layer in layers).split("M")[:STAGES]
    if len(stages) < STAGES or not all(stage.strip() for stage in stages):
        raise UserError(
            f"Encoder '{name}': 'layers' in {folder / _weights.CONFIG} must have {STAGES} stages of channel numbers, "
            f'each but the last ending in "M", got {layers}.'
        )
    return tuple(layers)
