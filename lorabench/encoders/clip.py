"""CLIP: pictures and texts in one space, for text similarity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import StringConstraints
from torch import nn

from lorabench import components
from lorabench.components import Outline
from lorabench.encoders import _weights
from lorabench.encoders._pictures import BATCH_SIZE, PictureEncoder, Preprocessing
from lorabench.errors import UserError
from lorabench.hashes import sha256_of
from lorabench.untrusted import FileRecord, checked, clean_folder, read_json, tokenizer_files

RESIZE_MODES = ("letterbox", "center_crop", "stretch")
ARCHITECTURE, PRETRAINED = "ViT-L-14", "datacomp_xl_s13b_b90k"
SIZE = 224  # pixels
HUB_ID = "laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K"  # of these weights in open_clip's own list
FOLDER_CONFIG, FOLDER_WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
_FAULTS = (OSError, RuntimeError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError, AssertionError)
Tokenizer = Callable[[Sequence[str]], torch.Tensor]


def outline() -> Outline:
    """The published network without its weights, as it reads pictures."""
    return Outline(_empty().encode_image, SIZE)


@components.encoder(
    reads_text=True,
    resize_modes=RESIZE_MODES,
    published=(HUB_ID, "open_clip_model.safetensors", "open_clip_pytorch_model.bin"),
    outline=outline,
)
def clip(weights: Path | None, device: torch.device) -> ClipEncoder:
    """OpenCLIP ViT-L/14 trained on DataComp-1B, features after the projection (768), pictures at 224 (LyCORIS D.5).

    A folder is one that open_clip loads as "local-dir:": open_clip_config.json, open_clip_model.safetensors, tokenizer.
    """
    import open_clip  # takes seconds: only when the encoder is used

    if weights is not None and Path(weights).is_dir():
        return _from_folder(Path(weights), device)
    if weights is None:
        file, state = _published()
    else:
        file = _weights.safetensors_file("clip", Path(weights))
        state = _weights.read_state("clip", file)
    network = _empty()
    _weights.load_strictly("clip", network, state, file)
    length = network.context_length
    network.attn_mask = torch.full((length, length), float("-inf")).triu(1)  # causal; no part of the state dict
    preprocessing = Preprocessing(SIZE, open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    return ClipEncoder(ARCHITECTURE, file, network, open_clip.get_tokenizer(ARCHITECTURE), preprocessing, device)


def _empty() -> Any:
    # On "meta": initialising 430 M weights that are replaced at once would take longer than loading them.
    import open_clip

    with torch.device("meta"):
        return open_clip.CLIP(**open_clip.get_model_config(ARCHITECTURE))


class ClipEncoder(PictureEncoder):
    """A picture encoder that reads texts too."""

    def __init__(
        self,
        architecture: str,
        file: Path,
        network: nn.Module,
        tokenizer: Tokenizer,
        preprocessing: Preprocessing,
        device: torch.device,
    ) -> None:
        network.to(device)
        sha256 = sha256_of(file)
        super().__init__("clip", architecture, sha256, network.encode_image, preprocessing, device, RESIZE_MODES)
        self._text_network = network.encode_text
        self._tokenizer = tokenizer

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Texts -> float32 [n, d]; what exceeds the context length is cut off."""
        if not texts:
            raise ValueError("Encoder 'clip' was given no texts.")
        batches = [
            self._text_network(self._tokenizer(list(texts[start : start + BATCH_SIZE])).to(self._device)).float().cpu()
            for start in range(0, len(texts), BATCH_SIZE)
        ]
        return torch.cat(batches).numpy()


class _Tower(FileRecord):
    """Part of an open_clip config that could name a model of a hub: its weights then come from there, or its code."""

    hf_model_name: None = None
    timm_model_name: Annotated[str, StringConstraints(pattern=r"^[\w.]+$")] | None = None


class _ModelConfig(FileRecord):
    vision_cfg: dict[str, Any]
    text_cfg: dict[str, Any]


class _FolderConfig(FileRecord):
    """open_clip_config.json, of which the rest is for open_clip to read."""

    model_cfg: dict[str, Any]
    preprocess_cfg: dict[str, Any] = {}


def _from_folder(folder: Path, device: torch.device) -> ClipEncoder:
    import open_clip

    network, tokenizer = networks_of("clip", folder)
    settings = open_clip.get_model_preprocess_cfg(network)
    size = settings["size"][0] if isinstance(settings["size"], tuple | list) else settings["size"]
    preprocessing = Preprocessing(size, tuple(settings["mean"]), tuple(settings["std"]))
    architecture = f"{type(network.visual).__name__}{size}px"
    return ClipEncoder(architecture, folder / FOLDER_WEIGHTS, network, tokenizer, preprocessing, device)


def networks_of(encoder: str, folder: Path) -> tuple[nn.Module, Tokenizer]:
    """open_clip's network, on the CPU, and tokenizer of a folder of its own. UserError, naming the encoder."""
    import open_clip

    file = _weights.safetensors_file(encoder, folder / FOLDER_WEIGHTS)
    files = {FOLDER_CONFIG: _clean_config(encoder, folder / FOLDER_CONFIG), FOLDER_WEIGHTS: file}
    try:
        with clean_folder(files | tokenizer_files(folder)) as clean:
            network = open_clip.create_model(f"local-dir:{clean}", precision="fp32", device="cpu")
            tokenizer = open_clip.get_tokenizer(f"local-dir:{clean}")
    except _FAULTS as error:
        raise UserError(f"Encoder '{encoder}': open_clip cannot load the folder {folder}: {error}") from error
    return network.requires_grad_(False).eval(), tokenizer


def _clean_config(encoder: str, file: Path) -> dict[str, Any]:
    """open_clip's config without what names another model, and of its tokenizer's options how it cleans texts.

    UserError where a tower is such a model.
    """
    try:
        config = read_json(file, _FolderConfig)
        towers = checked(config.model_cfg, _ModelConfig, f"{file}: 'model_cfg'")
        for name in ("vision_cfg", "text_cfg"):
            checked(getattr(towers, name), _Tower, f"{file}: '{name}'")
    except UserError as error:
        raise UserError(f"Encoder '{encoder}': {error}") from error
    options = towers.text_cfg.get("tokenizer_kwargs")
    clean = options.get("clean") if isinstance(options, dict) else None
    text = {**towers.text_cfg, "tokenizer_kwargs": {"clean": clean} if isinstance(clean, str) else {}}
    return {"model_cfg": {**config.model_cfg, "text_cfg": text}, "preprocess_cfg": config.preprocess_cfg}


def _published() -> tuple[Path, dict[str, torch.Tensor]]:
    """File and tensors of the published weights, from open_clip's cache or its download."""
    import open_clip
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    settings = open_clip.get_pretrained_cfg(ARCHITECTURE, PRETRAINED)
    try:
        file = Path(open_clip.download_pretrained(settings))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, RuntimeError) as error:
        raise UserError(_weights.missing_weights("clip", HUB_ID)) from error
    if file.suffix == ".safetensors":
        return file, _weights.read_state("clip", file)
    # The repository may hold torch's format only; `weights_only` keeps code in it from running.
    state = torch.load(file, map_location="cpu", weights_only=True)
    return file, {name.removeprefix("module."): value.float() for name, value in state.items()}
