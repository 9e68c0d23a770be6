"""Load base models, and save them: their networks, and what a study has to know of them before it loads a weight.

Weights stay float32; `BaseModel.dtype` is what training's matrix products are computed in (autocast). A bfloat16 base
encodes pictures and prompts in float32 and draws in float16.
"""

from __future__ import annotations

import importlib
import inspect
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.utils import logging as diffusers_logging
from transformers import CLIPTextConfig, CLIPTokenizer
from transformers.utils import logging as transformers_logging

from lorabench.architectures import ARCHITECTURES, AUTOENCODER
from lorabench.base_files import BaseFiles, VaeFiles, clean_base, find_base, find_vae
from lorabench.bases import KINDS, SD, UNET, Kind
from lorabench.errors import UserError
from lorabench.untrusted import clean_folder, known
from lorabench.values import LARGEST_SIDE, SMALLEST_SIDE

# The protocol's DDIM (LyCORIS D.4); only the noise schedule and the prediction type come from the base model.
STOCK_DDIM = {
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "thresholding": False,
}
# What a config of a base model's folder may say: what the class that it configures asks for.
_OF_TEXT = {
    *("vocab_size", "hidden_size", "intermediate_size", "projection_dim", "num_hidden_layers", "hidden_act"),
    *("num_attention_heads", "max_position_embeddings", "layer_norm_eps", "attention_dropout"),
    *("initializer_range", "initializer_factor", "pad_token_id", "bos_token_id", "eos_token_id"),
}
_KEYS = {part: _OF_TEXT for kind in KINDS for part in kind.text_encoders} | {
    part: inspect.signature(class_).parameters.keys()
    for part, class_ in ((UNET, UNet2DConditionModel), ("vae", AutoencoderKL), ("scheduler", DDIMScheduler))
}


@dataclass(frozen=True)
class Base:
    """A base model as its configs have it, before a weight is read."""

    source: str  # what it was found by, as in `base_files.find_base`
    files: BaseFiles
    pixels_per_latent: int
    side: int | None  # pixels of the pictures that it was made for; None where its configs do not say
    vae: VaeFiles | None = None  # in the place of its own

    @property
    def id(self) -> str:
        return f"{self.files.id}+{self.vae.id}" if self.vae else self.files.id

    @property
    def kind(self) -> Kind:
        return self.files.kind

    def architecture(self) -> dict[str, torch.nn.Module]:
        """The modules that adapters may change, on the meta device: names and shapes. UserError for broken configs."""
        try:
            return _made(self.kind, {name: self._config(name) for name in (UNET, *self.kind.text_encoders)})
        except Exception as error:
            raise _not_loaded(self.files.path, error) from error

    def autoencoder(self) -> AutoencoderKL:
        """The autoencoder on the meta device. UserError for broken configs."""
        try:
            return autoencoder(self._config("vae"))
        except Exception as error:
            raise _not_loaded(self.files.path, error) from error

    def check_drawing(self, size: int, clip_skip: int) -> None:
        """UserError if it cannot draw pictures of that side, or as of `check_clip_skip`."""
        if size % self.pixels_per_latent:
            raise UserError(
                f"Pictures of {size} pixels do not fit this base model; make images.size a multiple of "
                f"{self.pixels_per_latent}."
            )
        self.check_clip_skip(clip_skip)

    def check_clip_skip(self, clip_skip: int) -> None:
        """UserError if its text encoder has fewer layers."""
        usual = CLIPTextConfig().num_hidden_layers
        layers = min(self._config(name).get("num_hidden_layers", usual) for name in self.kind.text_encoders)
        if clip_skip >= layers:
            raise UserError(f"clip_skip is {clip_skip}, but a text encoder of this base model has {layers} layers.")

    def _config(self, part: str) -> dict[str, Any]:
        return _config(self.files, part)


@dataclass(frozen=True)
class BaseModel:
    """A base model, frozen, in evaluation mode."""

    id: str  # of its content: `BaseFiles.id`
    kind: Kind
    unet: UNet2DConditionModel
    text_encoders: Mapping[str, torch.nn.Module]  # by the names of `Kind.text_encoders`, in their order
    tokenizers: Mapping[str, CLIPTokenizer]  # of each text encoder
    vae: AutoencoderKL
    scheduler_config: Mapping[str, Any]
    options: Mapping[str, bool]  # see `Kind.options`
    alphas_cumprod: torch.Tensor  # float32 [training timesteps], on the device
    device: torch.device
    dtype: torch.dtype  # of training's matrix products; bfloat16 holds for it only, see `diffusion`, `sampler`
    # Of each text encoder: a word in small letters -> its token ids, see `diffusion.with_words`.
    words: Mapping[str, Mapping[str, Sequence[int]]] = field(default_factory=dict)

    @property
    def components(self) -> dict[str, torch.nn.Module]:
        """The modules that adapters may change, under the names that their parameters carry."""
        return {UNET: self.unet, **self.text_encoders}

    @property
    def predicts_velocity(self) -> bool:
        return self.scheduler_config.get("prediction_type", "epsilon") == "v_prediction"

    @property
    def decodes_in_float32(self) -> bool:
        """Whether its autoencoder overflows in float16."""
        return self.kind.upcasts and bool(self.vae.config.force_upcast)

    @property
    def pixels_per_latent(self) -> int:
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        """[channels, h, w] of a picture's latents. UserError for sides that the autoencoder cannot halve evenly."""
        factor = self.pixels_per_latent
        if width % factor or height % factor:
            raise UserError(
                f"Pictures of {width} x {height} pixels do not fit this base model; use multiples of {factor}."
            )
        return self.unet.config.in_channels, height // factor, width // factor

    @property
    def chunk_tokens(self) -> int:
        """Tokens that the text encoders read at once, beside the start and the end token."""
        return next(iter(self.tokenizers.values())).model_max_length - 2

    def autocast(self) -> AbstractContextManager:
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)


def base_of(source: str, vae: str = "") -> Base:
    """Find a base model: a diffusers folder, a single .safetensors file, or a hub id in the local cache. UserError.

    `source` as in `base_files.find_base`: with ":variant", those of its files; `vae` as in `base_files.find_vae`.
    """
    files = find_base(source)
    factor = 2 ** (len(_config(files, "vae").get("block_out_channels", (64,))) - 1)
    unet = _config(files, UNET)
    other = find_vae(vae) if vae else None
    if other and other.latent_channels != unet.get("in_channels", 4):
        raise UserError(
            f"VAE {vae} has latents of {other.latent_channels} channels, which base model {source} has not."
        )
    return Base(source, files, factor, _side(unet.get("sample_size"), factor), other)


def _side(latents: object, factor: int) -> int | None:
    if isinstance(latents, list) and len(set(map(str, latents))) == 1:
        latents = latents[0]
    if isinstance(latents, bool) or not isinstance(latents, int):
        return None
    side = latents * factor
    return side if SMALLEST_SIDE <= side <= LARGEST_SIDE else None


def load_base(base: Base, device: torch.device, dtype: torch.dtype = torch.float32) -> BaseModel:
    """Load a base model's weights. UserError for what is none, or does not fit its configs."""
    files, path = base.files, base.files.path
    try:
        with _no_progress_bars(), clean_base(files, _KEYS) as clean:
            parts = _parts_of_folder(base.kind, clean) if files.weights else _parts_of_file(base.kind, path, clean)
            parts |= {"vae": _autoencoder_of(base.vae, clean)} if base.vae else {}
        scheduler = DDIMScheduler.from_config(parts["scheduler"], **STOCK_DDIM)
        _match_tokenizers(base.kind, parts)
    except Exception as error:
        raise _not_loaded(path, error) from error
    if scheduler.config.prediction_type not in ("epsilon", "v_prediction"):
        kind = scheduler.config.prediction_type
        raise UserError(f"Base model {path} predicts '{kind}'; lorabench knows epsilon and v_prediction.")
    if parts["vae"].config.get("latents_mean") is not None:
        raise UserError(f"Base model {path} has latents with a mean of their own, as EDM has; lorabench knows none.")
    for name in base.kind.weights:
        parts[name].float().to(device).requires_grad_(False).eval()
    encoders = base.kind.text_encoders
    return BaseModel(
        id=base.id,
        kind=base.kind,
        unet=parts[UNET],
        text_encoders={name: parts[name] for name in encoders},
        tokenizers={name: parts[base.kind.tokenizer_of(name)] for name in encoders},
        vae=parts["vae"],
        scheduler_config=parts["scheduler"],
        options=files.options,
        alphas_cumprod=scheduler.alphas_cumprod.to(device=device, dtype=torch.float32),
        device=device,
        dtype=dtype,
    )


def _match_tokenizers(kind: Kind, parts: Mapping[str, Any]) -> None:
    """ValueError for tokenizers of several lengths. A prompt's own vector is at the token that they end it with."""
    tokenizers = {name: parts[kind.tokenizer_of(name)] for name in kind.text_encoders}
    lengths = {tokenizer.model_max_length for tokenizer in tokenizers.values()}
    if len(lengths) > 1:
        raise ValueError(f"its tokenizers read {' and '.join(map(str, sorted(lengths)))} tokens at once")
    for name, tokenizer in tokenizers.items():
        # Configs from before transformers 4.31 name another, and then the highest id is taken for it: a new word's.
        getattr(parts[name], "text_model", parts[name]).eos_token_id = tokenizer.eos_token_id


def _not_loaded(path: Path, error: Exception) -> UserError:
    """diffusers and transformers raise anything for settings that cannot be and weights that do not fit them."""
    if isinstance(error, UserError):
        return error
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return UserError(f"Base model {path} cannot be loaded: {reason}")


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Both libraries draw bars while they load; a run has one bar a stage, and it is not theirs."""
    silenced = [log for log in (diffusers_logging, transformers_logging) if log.is_progress_bar_enabled()]
    for log in silenced:
        log.disable_progress_bar()
    try:
        yield
    finally:
        for log in silenced:
            log.enable_progress_bar()


def architecture(source: str) -> dict[str, torch.nn.Module]:
    """`Base.architecture` of a base model, or of a name of `architectures.ARCHITECTURES`, which needs no file."""
    if source not in ARCHITECTURES:
        return base_of(source).architecture()
    published = ARCHITECTURES[source]
    return _made(published.kind, published.configs)


def autoencoder(config: Mapping[str, Any] = AUTOENCODER) -> AutoencoderKL:
    """An autoencoder on the meta device, by default the published one of all `architectures`."""
    with torch.device("meta"):
        return AutoencoderKL.from_config(dict(config))


def _made(kind: Kind, configs: Mapping[str, Mapping[str, Any]]) -> dict[str, torch.nn.Module]:
    with torch.device("meta"):
        modules: dict[str, torch.nn.Module] = {UNET: UNet2DConditionModel.from_config(dict(configs[UNET]))}
        for name in kind.text_encoders:
            modules[name] = _class_of(kind, name)(CLIPTextConfig(**configs[name]))
    return modules


def _class_of(kind: Kind, part: str) -> Any:
    library, name = kind.parts[part]
    return getattr(importlib.import_module(library), name)


def _config(files: BaseFiles, part: str) -> dict[str, Any]:
    """What is known of the config of one part of a base model."""
    return known(files.settings / part / "config.json", _KEYS[part])


def save_folder(model: BaseModel, base: Base, folder: Path) -> None:
    """Write a model with the weights that it has now, float32, as a diffusers folder; `base` is what it was."""
    with clean_base(base.files, _KEYS) as clean:
        # Copied, not saved: transformers 5 writes tokenizers in a way that older versions do not read.
        shutil.copyfile(clean / "model_index.json", folder / "model_index.json")
        for name in base.kind.parts.keys() - base.kind.weights.keys():
            shutil.copytree(clean / name, folder / name)
    with _no_progress_bars():
        for name, part in {**model.components, "vae": model.vae}.items():
            part.save_pretrained(folder / name, safe_serialization=True)


def _parts_of_folder(kind: Kind, folder: Path) -> dict[str, Any]:
    parts = {"scheduler": DDIMScheduler.load_config(folder / "scheduler")}
    for name in kind.parts.keys() - {"scheduler"}:
        how = {"use_safetensors": True} if name in kind.weights else {}
        how |= {"dtype": torch.float32} if name in kind.text_encoders else {}
        parts[name] = _class_of(kind, name).from_pretrained(folder / name, **how)
    return parts


def _parts_of_file(kind: Kind, file: Path, configs: Path) -> dict[str, Any]:
    absent = {name: None for name, value in kind.index.items() if value == [None, None]}
    pipeline = getattr(diffusers, kind.pipeline).from_single_file(
        str(file), config=str(configs), local_files_only=True, **absent
    )
    parts = {name: getattr(pipeline, name) for name in kind.parts}
    return parts | {"scheduler": dict(pipeline.scheduler.config)}


def _autoencoder_of(files: VaeFiles, base: Path) -> AutoencoderKL:
    """Another autoencoder than that of a clean base folder. UserError for files that are none."""
    try:
        if files.config is None:
            return AutoencoderKL.from_single_file(
                str(files.weights), config=str(base), subfolder="vae", local_files_only=True
            )
        content = {"config.json": known(files.config, _KEYS["vae"]), SD.weights["vae"]: files.weights}
        with clean_folder(content) as clean:
            return AutoencoderKL.from_pretrained(clean, use_safetensors=True)
    except Exception as error:
        raise UserError(f"VAE {files.weights} cannot be loaded: {str(error).strip().splitlines()[0]}") from error
