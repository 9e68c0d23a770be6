"""Draw prompt sets with whatever weights the base model holds now."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lorabench import diffusion
from lorabench.diffusion import BaseModel
from lorabench.records import ImageRequest, PromptSet, Sampling

# Libraries choose their kernels, and with them the order of sums, by the size of the matrices; from about this many
# rows on the choice stays the same. Tiny models are drawn in batches that reach it, so that batch_size moves no pixel.
STEADY_ROWS = 2048


@dataclass(frozen=True)
class Generated:
    """A complete prompt set: picture i, uint8 [h, w, 3], answers request i."""

    prompt_set: PromptSet
    images: tuple[np.ndarray, ...]


def generate(
    base: BaseModel,
    prompt_sets: Sequence[PromptSet],
    sampling: Sampling,
    batch_size: int,
    *,
    wanted: Sequence[bool] | None = None,
    on_images: Callable[[int], None] | None = None,
) -> Iterator[Generated]:
    """Draw the sets in order, yielding each one as soon as it is complete.

    Batches go across prompts and sets and all have one size (the last is padded), so that a picture depends neither on
    what shares its batch nor on which sets are `wanted` (None = all; batches without a wanted picture are left out).
    `on_images` is told how many wanted pictures each batch brought.
    """
    wanted = [True] * len(prompt_sets) if wanted is None else wanted
    work = [(owner, request) for owner, prompt_set in enumerate(prompt_sets) for request in prompt_set.requests]
    _, height, width = base.latent_shape(sampling.size, sampling.size)
    batch_size = max(min(batch_size, len(work)), STEADY_ROWS // (height * width))
    embeddings = _Embeddings(base, sampling)
    drawn: dict[int, list[np.ndarray]] = {owner: [] for owner in range(len(prompt_sets)) if wanted[owner]}
    for start in range(0, len(work), batch_size):
        batch = work[start : start + batch_size]
        owners = [owner for owner, _ in batch if wanted[owner]]
        if not owners:
            continue
        pictures = _draw(base, embeddings, [request for _, request in batch], sampling, batch_size)
        for (owner, _), picture in zip(batch, pictures):
            if wanted[owner]:
                drawn[owner].append(picture)
        if on_images is not None:
            on_images(len(owners))
        for owner in dict.fromkeys(owners):
            if len(drawn[owner]) == len(prompt_sets[owner].requests):
                yield Generated(prompt_sets[owner], tuple(drawn.pop(owner)))


def initial_noise(request: ImageRequest, shape: Sequence[int]) -> torch.Tensor:
    """The latent noise [c, h, w] that a request starts from, float32, whatever the device, batch and checkpoint."""
    return diffusion.gaussian_noise(request.noise_seed, shape)


class _Embeddings:
    """Text vectors, each distinct text encoded once, by itself, so that its rounding depends on nothing else."""

    def __init__(self, base: BaseModel, sampling: Sampling) -> None:
        self._base = base
        self._max_tokens = sampling.max_tokens
        self._known: dict[str, torch.Tensor] = {}
        self.unconditional = self.of([sampling.negative_prompt])

    def of(self, texts: Sequence[str]) -> torch.Tensor:
        """[n, tokens, d]"""
        for text in texts:
            if text not in self._known:
                with torch.no_grad():
                    self._known[text] = diffusion.encode_prompts(self._base, [text], self._max_tokens)[0]
        return torch.stack([self._known[text] for text in texts])


def _draw(
    base: BaseModel, embeddings: _Embeddings, requests: list[ImageRequest], sampling: Sampling, batch_size: int
) -> np.ndarray:
    padded = requests + requests[:1] * (batch_size - len(requests))
    shape = base.latent_shape(sampling.size, sampling.size)
    noise = torch.stack([initial_noise(request, shape) for request in padded])
    texts = embeddings.of([request.prompt.text for request in padded])
    return diffusion.sample(base, texts, embeddings.unconditional, noise, sampling)[: len(requests)]
