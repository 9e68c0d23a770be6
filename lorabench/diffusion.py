"""Load a base model, encode, noise-prediction loss. `sampler` draws with it; these two know diffusers.

Weights stay float32; `BaseModel.dtype` is what training's matrix products are computed in (autocast). A bfloat16 base
encodes pictures and prompts in float32 and draws in float16.
"""

from __future__ import annotations

import inspect
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.utils import logging as diffusers_logging
from torch.func import functional_call
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer
from transformers.utils import logging as transformers_logging

from lorabench.architectures import ARCHITECTURES, AUTOENCODER
from lorabench.base_files import WEIGHTS, BaseFiles, VaeFiles, clean_base, find_base, find_vae, settings_folder
from lorabench.errors import UserError
from lorabench.untrusted import clean_folder, known
from lorabench.values import LARGEST_SIDE, SMALLEST_SIDE, device_names

Answer = TypeVar("Answer")
Weights = Mapping[str, torch.Tensor]  # "unet.<parameter>" or "text_encoder.<parameter>" -> tensor
# The protocol's DDIM (LyCORIS D.4); only the noise schedule and the prediction type come from the base model.
STOCK_DDIM = {
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "thresholding": False,
}
# What a config of a base model's folder may say: what the class that it configures asks for.
_KEYS = {
    "unet": inspect.signature(UNet2DConditionModel).parameters.keys(),
    "vae": inspect.signature(AutoencoderKL).parameters.keys(),
    "scheduler": inspect.signature(DDIMScheduler).parameters.keys(),
    "text_encoder": {
        *("vocab_size", "hidden_size", "intermediate_size", "projection_dim", "num_hidden_layers", "hidden_act"),
        *("num_attention_heads", "max_position_embeddings", "layer_norm_eps", "attention_dropout"),
        *("initializer_range", "initializer_factor", "pad_token_id", "bos_token_id", "eos_token_id"),
    },
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

    def architecture(self) -> dict[str, torch.nn.Module]:
        """The modules that adapters may change, on the meta device: names and shapes. UserError for broken configs."""
        try:
            return _made({name: _config(self.files.path, name) for name in ("unet", "text_encoder")})
        except Exception as error:
            raise _not_loaded(self.files.path, error) from error

    def autoencoder(self) -> AutoencoderKL:
        """The autoencoder on the meta device. UserError for broken configs."""
        try:
            return autoencoder(_config(self.files.path, "vae"))
        except Exception as error:
            raise _not_loaded(self.files.path, error) from error

    def check_drawing(self, size: int, clip_skip: int) -> None:
        """UserError if it cannot draw pictures of that side, or if its text encoder has fewer layers."""
        if size % self.pixels_per_latent:
            raise UserError(
                f"Pictures of {size} pixels do not fit this base model; make images.size a multiple of "
                f"{self.pixels_per_latent}."
            )
        layers = _config(self.files.path, "text_encoder").get("num_hidden_layers", CLIPTextConfig().num_hidden_layers)
        if clip_skip >= layers:
            raise UserError(f"clip_skip is {clip_skip}, but the text encoder of this base model has {layers} layers.")


@dataclass(frozen=True)
class BaseModel:
    """A Stable Diffusion model, frozen, in evaluation mode."""

    id: str  # of its content: `BaseFiles.id`
    unet: UNet2DConditionModel
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    vae: AutoencoderKL
    scheduler_config: Mapping[str, Any]
    alphas_cumprod: torch.Tensor  # float32 [training timesteps], on the device
    device: torch.device
    dtype: torch.dtype  # of training's matrix products; bfloat16 holds for it only, see `encode_prompts` and `sampler`
    words: Mapping[str, Sequence[int]] = field(default_factory=dict)  # in small letters: token ids, see `with_words`

    @property
    def components(self) -> dict[str, torch.nn.Module]:
        """The modules that adapters may change, under the names that their parameters carry."""
        return {"unet": self.unet, "text_encoder": self.text_encoder}

    @property
    def predicts_velocity(self) -> bool:
        return self.scheduler_config.get("prediction_type", "epsilon") == "v_prediction"

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
        """Tokens that the text encoder reads at once, beside the start and the end token."""
        return self.tokenizer.model_max_length - 2

    def autocast(self) -> AbstractContextManager:
        return _autocast(self.device, self.dtype)


def pick_device(name: str) -> torch.device:
    """The torch device that "auto", "cpu", "mps", "cuda" or "cuda:1" means here. UserError if this machine lacks it."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _, index = name.partition(":")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        reason = (
            "this PyTorch was built without CUDA" if torch.version.cuda is None else "not that many GPUs are visible"
        )
        raise UserError(f"Device '{name}' is not there ({torch.cuda.device_count()} found; {reason}); use auto or cpu.")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UserError("Device 'mps' is not there: it needs macOS on Apple silicon; use auto or cpu.")
    return torch.device(name)


def pick_devices(names: str) -> tuple[str, ...]:
    """The devices that a list like "cuda:0,cuda:2" means, or "auto": every GPU that is visible. UserError."""
    try:
        asked = [name.strip() for name in device_names(names).split(",")]
    except ValueError as error:
        raise UserError(f"A device {error}.") from None
    if asked == ["auto"] and torch.cuda.device_count() > 1:
        asked = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return tuple(str(pick_device(name)) for name in asked)


def base_of(source: str, vae: str = "") -> Base:
    """Find a base model: a diffusers folder, a single .safetensors file, or a hub id in the local cache. UserError.

    `source` as in `base_files.find_base`: with ":variant", those of its files; `vae` as in `base_files.find_vae`.
    """
    files = find_base(source)
    factor = 2 ** (len(_config(files.path, "vae").get("block_out_channels", (64,))) - 1)
    unet = _config(files.path, "unet")
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
            parts = _parts_of_folder(clean) if files.weights else _parts_of_file(path, clean)
            parts |= {"vae": _autoencoder_of(base.vae, clean)} if base.vae else {}
        scheduler = DDIMScheduler.from_config(parts["scheduler_config"], **STOCK_DDIM)
    except Exception as error:
        raise _not_loaded(path, error) from error
    if scheduler.config.prediction_type not in ("epsilon", "v_prediction"):
        kind = scheduler.config.prediction_type
        raise UserError(f"Base model {path} predicts '{kind}'; lorabench knows epsilon and v_prediction.")
    for name in ("unet", "text_encoder", "vae"):
        parts[name].float().to(device).requires_grad_(False).eval()
    alphas = scheduler.alphas_cumprod.to(device=device, dtype=torch.float32)
    return BaseModel(id=base.id, alphas_cumprod=alphas, device=device, dtype=dtype, **parts)


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
    return _made(ARCHITECTURES[source]) if source in ARCHITECTURES else base_of(source).architecture()


def autoencoder(config: Mapping[str, Any] = AUTOENCODER) -> AutoencoderKL:
    """An autoencoder on the meta device, by default the published one of all `architectures`."""
    with torch.device("meta"):
        return AutoencoderKL.from_config(dict(config))


def _made(configs: Mapping[str, Mapping[str, Any]]) -> dict[str, torch.nn.Module]:
    with torch.device("meta"):
        modules: dict[str, torch.nn.Module] = {"unet": UNet2DConditionModel.from_config(dict(configs["unet"]))}
        if "text_encoder" in configs:
            modules["text_encoder"] = CLIPTextModel(CLIPTextConfig(**configs["text_encoder"]))
    return modules


def _config(path: Path, name: str) -> dict[str, Any]:
    """What is known of the config of one part of a base model."""
    return known(settings_folder(path) / name / "config.json", _KEYS[name])


def save_folder(model: BaseModel, base: Base, folder: Path) -> None:
    """Write a model with the weights that it has now, float32, as a diffusers folder; `base` is what it was."""
    with clean_base(base.files, _KEYS) as clean:
        # Copied, not saved: transformers 5 writes tokenizers in a way that older versions do not read.
        shutil.copyfile(clean / "model_index.json", folder / "model_index.json")
        for name in ("scheduler", "tokenizer"):
            shutil.copytree(clean / name, folder / name)
    with _no_progress_bars():
        for name, part in {"unet": model.unet, "text_encoder": model.text_encoder, "vae": model.vae}.items():
            part.save_pretrained(folder / name, safe_serialization=True)


def _parts_of_folder(folder: Path) -> dict[str, Any]:
    return {
        "unet": UNet2DConditionModel.from_pretrained(folder / "unet", use_safetensors=True),
        "text_encoder": CLIPTextModel.from_pretrained(
            folder / "text_encoder", use_safetensors=True, dtype=torch.float32
        ),
        "tokenizer": CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        "vae": AutoencoderKL.from_pretrained(folder / "vae", use_safetensors=True),
        "scheduler_config": DDIMScheduler.load_config(folder / "scheduler"),
    }


def _parts_of_file(file: Path, configs: Path) -> dict[str, Any]:
    pipeline = StableDiffusionPipeline.from_single_file(
        str(file), config=str(configs), local_files_only=True, safety_checker=None
    )
    return {
        "unet": pipeline.unet,
        "text_encoder": pipeline.text_encoder,
        "tokenizer": pipeline.tokenizer,
        "vae": pipeline.vae,
        "scheduler_config": dict(pipeline.scheduler.config),
    }


def _autoencoder_of(files: VaeFiles, base: Path) -> AutoencoderKL:
    """Another autoencoder than that of a clean base folder. UserError for files that are none."""
    try:
        if files.config is None:
            return AutoencoderKL.from_single_file(
                str(files.weights), config=str(base), subfolder="vae", local_files_only=True
            )
        content = {"config.json": known(files.config, _KEYS["vae"]), WEIGHTS["vae"]: files.weights}
        with clean_folder(content) as clean:
            return AutoencoderKL.from_pretrained(clean, use_safetensors=True)
    except Exception as error:
        raise UserError(f"VAE {files.weights} cannot be loaded: {str(error).strip().splitlines()[0]}") from error


@contextmanager
def with_words(base: BaseModel, words: Mapping[str, torch.Tensor]) -> Iterator[BaseModel]:
    """Inside, prompts may hold these words, each of them the vectors [n, d] in a row; yields the model that knows them.

    A word is itself in any case of its letters, as CLIP's tokenizer has it.
    """
    if not words:
        yield base
        return
    table = base.text_encoder.get_input_embeddings()
    own, ids, first = table.weight, {}, table.weight.shape[0]
    for word, vectors in words.items():
        ids[word.lower()] = range(first, first + len(vectors))
        first += len(vectors)
    added = [vectors.to(own.device, own.dtype) for vectors in words.values()]
    try:
        table.weight = torch.nn.Parameter(torch.cat([own.detach(), *added]), requires_grad=False)
        yield replace(base, words=ids)
    finally:
        table.weight = own


def holds_word(text: str, word: str) -> bool:
    """Whether a prompt has this word, not as a part of another."""
    return re.search(_spelling(word), text, re.IGNORECASE) is not None


def _spelling(word: str) -> str:
    before, after = (r"(?<!\w)" if word[0].isalnum() else "", r"(?!\w)" if word[-1].isalnum() else "")
    return f"{before}{re.escape(word)}{after}"


def tokenize(base: BaseModel, texts: Sequence[str], max_tokens: int) -> torch.Tensor:
    """Token ids int64 [n, chunks, length], on the CPU, each chunk framed and padded like a prompt of its own.

    As kohya's trainer does for 150 and 225 tokens; what is longer than `max_tokens` rounded up to whole chunks is cut.
    """
    room = base.chunk_tokens
    chunks = max(1, -(-max_tokens // room))
    start, end, pad = (base.tokenizer.bos_token_id, base.tokenizer.eos_token_id, base.tokenizer.pad_token_id)
    ids = torch.full((len(texts), chunks, room + 2), pad, dtype=torch.int64)
    ids[:, :, 0] = start
    for i, text in enumerate(texts):
        words = _token_ids(base, text, chunks * room)
        for j in range(chunks):
            part = words[j * room : (j + 1) * room]
            ids[i, j, 1 : len(part) + 1] = torch.tensor(part, dtype=torch.int64)
            ids[i, j, len(part) + 1] = end
    return ids


def tokens_needed(base: BaseModel, text: str, max_tokens: int) -> int:
    """How many of `max_tokens` a prompt needs, in whole chunks, at least one."""
    room = base.chunk_tokens
    most = max(1, -(-max_tokens // room)) * room
    return max(1, -(-len(_token_ids(base, text, most)) // room)) * room


def _token_ids(base: BaseModel, text: str, most: int) -> list[int]:
    parts, ids = [text], []
    if base.words:
        longest_first = sorted(base.words, key=len, reverse=True)
        parts = re.split(f"({'|'.join(map(_spelling, longest_first))})", text, flags=re.IGNORECASE)
    for part in parts:
        known = base.words.get(part.lower())
        if known is None:
            known = base.tokenizer(part, add_special_tokens=False, truncation=True, max_length=most).input_ids
        ids += known
    return ids[:most]


def with_weights(base: BaseModel, weights: Weights, work: Callable[[], Answer]) -> Answer:
    """What `work` answers while the model holds these weights in the place of its own, for as long as `work` goes on.

    Differentiable in them. A backward pass that computes activations again (`recomputing`) belongs into `work`.
    """
    return functional_call(_Together(base.components), dict(weights), (work,), tie_weights=False)  # the models tie none


class _Together(torch.nn.Module):
    """Modules under the names that weights have, whatever is done with them."""

    def __init__(self, components: Mapping[str, torch.nn.Module]) -> None:
        super().__init__()
        for name, module in components.items():
            self.add_module(name, module)

    def forward(self, work: Callable[[], Answer]) -> Answer:
        return work()


@contextmanager
def recomputing(base: BaseModel) -> Iterator[None]:
    """Inside, the U-Net keeps the activations between its blocks only; backward passes compute those within again."""
    base.unet.enable_gradient_checkpointing()
    try:
        yield
    finally:
        base.unet.disable_gradient_checkpointing()


def embed_tokens(base: BaseModel, ids: torch.Tensor, clip_skip: int = 1) -> torch.Tensor:
    """Text vectors float32 [n, chunks * (length - 2) + 2, d] of `tokenize`'s ids, as training computes them.

    With `clip_skip` those of an earlier layer, the last one being 1, through the norm that the last one has; see
    `Base.check_drawing`.
    """
    n, chunks, length = ids.shape
    with base.autocast():
        states = _text_states(base.text_encoder, ids.flatten(0, 1).to(base.device), clip_skip)
    states = states.float().unflatten(0, (n, chunks))
    if chunks == 1:
        return states[:, 0]
    inner = states[:, :, 1 : length - 1].flatten(1, 2)
    return torch.cat([states[:, 0, :1], inner, states[:, -1, -1:]], dim=1)


def _text_states(encoder: CLIPTextModel, ids: torch.Tensor, clip_skip: int) -> torch.Tensor:
    if clip_skip == 1:
        return encoder(ids).last_hidden_state
    layers = encoder(ids, output_hidden_states=True).hidden_states
    inner = getattr(encoder, "text_model", encoder)  # transformers 5.6 took it out
    return inner.final_layer_norm(layers[-clip_skip])


def encode_prompts(base: BaseModel, texts: Sequence[str], max_tokens: int, clip_skip: int = 1) -> torch.Tensor:
    """Text vectors float32 [n, tokens, d]; with one chunk, what the stock pipeline feeds its U-Net.

    Computed in float32 by a bfloat16 base too: bfloat16 would round away what a trained text encoder changes (an update
    of |dW|/|W| = 1e-3 would be off by several times its size).
    """
    return embed_tokens(replace(base, dtype=torch.float32), tokenize(base, texts, max_tokens), clip_skip)


@torch.no_grad()
def encode_latents(base: BaseModel, images: np.ndarray, seeds: Sequence[int]) -> torch.Tensor:
    """One posterior sample of each image, scaled: uint8 [n, h, w, 3] -> float32 [n, c, h / 8, w / 8] for SD1.5.

    Image i is drawn with a CPU generator seeded by seeds[i], so that neither batch nor device changes the draw.
    """
    pixels = torch.from_numpy(np.ascontiguousarray(images)).to(base.device).permute(0, 3, 1, 2).float() / 127.5 - 1
    posterior = base.vae.encode(pixels).latent_dist
    noise = torch.stack([gaussian_noise(seed, posterior.mean.shape[1:]) for seed in seeds]).to(base.device)
    return (posterior.mean + posterior.std * noise) * base.vae.config.scaling_factor


def gaussian_noise(seed: int | torch.Generator, shape: Sequence[int]) -> torch.Tensor:
    """Standard normal float32 of that shape, drawn on the CPU: the same on every device and in every batch."""
    generator = seed if isinstance(seed, torch.Generator) else torch.Generator().manual_seed(seed)
    return torch.randn(tuple(shape), generator=generator)


def noise_prediction_loss(
    base: BaseModel,
    latents: torch.Tensor,
    embeddings: torch.Tensor,
    noise: torch.Tensor,
    timesteps: torch.Tensor,
) -> torch.Tensor:
    """Mean squared error of the predicted noise (or velocity) of each sample, float32 [n].

    latents and noise [n, c, h, w], embeddings [n, tokens, d], timesteps int64 [n].
    """
    alphas = base.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
    signal, spread = alphas.sqrt(), (1 - alphas).sqrt()
    noisy = signal * latents + spread * noise
    with base.autocast():
        predicted = base.unet(noisy, timesteps, embeddings, return_dict=False)[0]
    target = signal * noise - spread * latents if base.predicts_velocity else noise
    return (predicted.float() - target).square().mean(dim=(1, 2, 3))


def _autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager:
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)
