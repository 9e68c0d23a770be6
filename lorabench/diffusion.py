"""What training and drawing do with a base model: read prompts, encode pictures, hold other weights, the loss."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from torch.func import functional_call

from lorabench.base_models import BaseModel
from lorabench.bases import ZEROES, Texts
from lorabench.components import Words

Answer = TypeVar("Answer")
Weights = Mapping[str, torch.Tensor]  # "unet.<parameter>" or "text_encoder.<parameter>" -> tensor


@contextmanager
def with_words(base: BaseModel, words: Words) -> Iterator[BaseModel]:
    """Inside, prompts may hold these words, each of them the vectors [n, d] in a row; yields the model that knows them.

    Of each word the vectors of every text encoder. A word is itself in any case of its letters, as CLIP's tokenizer has
    it.
    """
    knowing = reading(base, words)
    with ExitStack() as longer:
        for table, weight in _longer_tables(base, words).items() if words else ():
            longer.enter_context(_holding(table, weight))
        yield knowing


@contextmanager
def _holding(table: torch.nn.Embedding, weight: torch.Tensor) -> Iterator[None]:
    own = table.weight
    try:
        table.weight = torch.nn.Parameter(weight.detach(), requires_grad=False)
        yield
    finally:
        table.weight = own


def reading(base: BaseModel, words: Words) -> BaseModel:
    """The model that finds these words in prompts, for which its tables have rows inside `with_words` only, or
    `with_weights` of `word_weights`."""
    if not words:
        return base
    ids: dict[str, dict[str, range]] = {}
    for encoder, model in base.text_encoders.items():
        first = model.get_input_embeddings().weight.shape[0]
        for word, vectors in words.items():
            ids.setdefault(encoder, {})[word.lower()] = range(first, first + len(vectors[encoder]))
            first += len(vectors[encoder])
    return replace(base, words=ids)


def word_weights(base: BaseModel, words: Words) -> Weights:
    """The text encoders' tables of vectors with those of the words behind their own, differentiable in the words'."""
    if not words:  # every step of every training asks
        return {}
    encoders = base.text_encoders.items()
    names = {module: f"{name}.{path}" for name, each in encoders for path, module in each.named_modules()}
    return {f"{names[table]}.weight": weight for table, weight in _longer_tables(base, words).items()}


def _longer_tables(base: BaseModel, words: Words) -> dict[torch.nn.Embedding, torch.Tensor]:
    tables = {}
    for encoder, model in base.text_encoders.items():
        table = model.get_input_embeddings()
        added = [vectors[encoder].to(table.weight.device, table.weight.dtype) for vectors in words.values()]
        tables[table] = torch.cat([table.weight.detach(), *added])
    return tables


def words_like(base: BaseModel, texts: Mapping[str, str], count: int) -> Words:
    """Words of so many vectors each that mean what a text does: vectors [count, d] for each text encoder.

    The text's tokens are spread over them evenly, as A1111's web UI does; where there are fewer vectors than tokens, a
    vector is the mean of those that fall to it. ValueError for a text without tokens.
    """
    return {
        word: {name: _spread(_vectors_of(base, name, text), count) for name in base.text_encoders}
        for word, text in texts.items()
    }


def _vectors_of(base: BaseModel, encoder: str, text: str) -> torch.Tensor:
    ids = base.tokenizers[encoder](text, add_special_tokens=False).input_ids
    if not ids:
        raise ValueError(f"'{text}' is no word to begin as")
    return base.text_encoders[encoder].get_input_embeddings().weight.detach()[torch.tensor(ids)]


def _spread(vectors: torch.Tensor, count: int) -> torch.Tensor:
    if count >= len(vectors):
        return vectors[[i * len(vectors) // count for i in range(count)]]
    return torch.stack([part.mean(dim=0) for part in vectors.tensor_split(count)])


def holds_word(text: str, word: str) -> bool:
    """Whether a prompt has this word, not as a part of another."""
    return re.search(_spelling(word), text, re.IGNORECASE) is not None


def _spelling(word: str) -> str:
    before, after = (r"(?<!\w)" if word[0].isalnum() else "", r"(?!\w)" if word[-1].isalnum() else "")
    return f"{before}{re.escape(word)}{after}"


def tokenize(base: BaseModel, texts: Sequence[str], max_tokens: int) -> torch.Tensor:
    """Token ids int64 [n, text encoders, chunks, length], on the CPU, each chunk framed and padded like a prompt of its
    own.

    As kohya's trainer does for 150 and 225 tokens; what is longer than `max_tokens` rounded up to whole chunks is cut.
    """
    return torch.stack([_tokens_of(base, encoder, texts, max_tokens) for encoder in base.text_encoders], dim=1)


def _tokens_of(base: BaseModel, encoder: str, texts: Sequence[str], max_tokens: int) -> torch.Tensor:
    room, tokenizer = base.chunk_tokens, base.tokenizers[encoder]
    chunks = max(1, -(-max_tokens // room))
    ids = torch.full((len(texts), chunks, room + 2), tokenizer.pad_token_id, dtype=torch.int64)
    ids[:, :, 0] = tokenizer.bos_token_id
    for i, text in enumerate(texts):
        words = _token_ids(base, encoder, text, chunks * room)
        for j in range(chunks):
            part = words[j * room : (j + 1) * room]
            ids[i, j, 1 : len(part) + 1] = torch.tensor(part, dtype=torch.int64)
            ids[i, j, len(part) + 1] = tokenizer.eos_token_id
    return ids


def tokens_needed(base: BaseModel, text: str, max_tokens: int) -> int:
    """How many of `max_tokens` a prompt needs, in whole chunks, at least one."""
    room = base.chunk_tokens
    most = max(1, -(-max_tokens // room)) * room
    needed = max(len(_token_ids(base, encoder, text, most)) for encoder in base.text_encoders)
    return max(1, -(-needed // room)) * room


def _token_ids(base: BaseModel, encoder: str, text: str, most: int) -> list[int]:
    parts, ids, words = [text], [], base.words.get(encoder, {})
    if words:
        longest_first = sorted(words, key=len, reverse=True)
        parts = re.split(f"({'|'.join(map(_spelling, longest_first))})", text, flags=re.IGNORECASE)
    for part in parts:
        known = words.get(part.lower())
        if known is None:
            tokenizer = base.tokenizers[encoder]
            known = tokenizer(part, add_special_tokens=False, truncation=True, max_length=most).input_ids
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


def embed_tokens(base: BaseModel, ids: torch.Tensor, clip_skip: int = 1) -> Texts:
    """Texts of `tokenize`'s ids, as training computes them: states [n, chunks * (length - 2) + 2, d].

    With `clip_skip` those of an earlier layer, 1 being the one that this kind of base models reads; see
    `Base.check_drawing`. The vector of a whole prompt is that of its first chunk, as in kohya's trainer.
    """
    n, _, chunks, length = ids.shape
    with base.autocast():
        rows = ids.transpose(1, 2).flatten(0, 1).to(base.device)
        texts = base.kind.encode(base.text_encoders, rows, clip_skip)
    states = texts.states.float().unflatten(0, (n, chunks))
    pooled = None if texts.pooled is None else texts.pooled.float()[::chunks]
    if chunks == 1:
        return Texts(states[:, 0], pooled)
    inner = states[:, :, 1 : length - 1].flatten(1, 2)
    return Texts(torch.cat([states[:, 0, :1], inner, states[:, -1, -1:]], dim=1), pooled)


def encode_prompts(base: BaseModel, texts: Sequence[str], max_tokens: int, clip_skip: int = 1) -> Texts:
    """What prompts become, float32; with one chunk, what the stock pipeline feeds its U-Net.

    Computed in float32 by a bfloat16 base too: bfloat16 would round away what a trained text encoder changes (an update
    of |dW|/|W| = 1e-3 would be off by several times its size).
    """
    return embed_tokens(replace(base, dtype=torch.float32), tokenize(base, texts, max_tokens), clip_skip)


def negative(base: BaseModel, text: str, encoded: Texts) -> Texts:
    """A negative prompt as the U-Net reads it: none at all is zeros where the base model's index says so (SDXL)."""
    return encoded.zeros() if not text and base.options.get(ZEROES) else encoded


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


def noise_prediction(
    base: BaseModel,
    latents: torch.Tensor,
    texts: Texts,
    noise: torch.Tensor,
    timesteps: torch.Tensor,
    sizes: torch.Tensor,
    *,
    seen_noise: torch.Tensor | None = None,
    alphas_cumprod: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(the noise, or velocity, that the U-Net predicts, what it is), float32 [n, c, h, w].

    latents and noise [n, c, h, w], timesteps int64 [n], sizes [n, 6] of `sizes_of`. What the U-Net sees holds
    `seen_noise`, by default that noise; `alphas_cumprod` [T] is by default the base model's own.
    """
    own = base.alphas_cumprod if alphas_cumprod is None else alphas_cumprod
    alphas = own[timesteps].view(-1, 1, 1, 1)
    signal, spread = alphas.sqrt(), (1 - alphas).sqrt()
    noisy = signal * latents + spread * (noise if seen_noise is None else seen_noise)
    with base.autocast():
        told = base.kind.conditions(texts, sizes)
        predicted = base.unet(noisy, timesteps, texts.states, return_dict=False, **told)[0]
    target = signal * noise - spread * latents if base.predicts_velocity else noise
    return predicted.float(), target
