"""Draw prompt sets with whatever weights the base model holds now."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lorabench import base_models, diffusion
from lorabench.bases import Texts
from lorabench.records import ImageRequest, PromptSet, Sampling
from lorabench.sampler import Sampler

# Libraries choose their kernels, and with them the order of sums, by the size of the matrices; from about this many
# rows on the choice stays the same. Tiny models are drawn in batches that reach it, so that batch_size moves no pixel.
STEADY_ROWS = 2048
# A batch holds prompts of one number of chunks. Few are long: their batch is drawn before it is full when one of them
# has waited for so many sets, because the other pictures of its set are held in memory until then.
HELD_SETS = 32
# A GPU takes as long for one prompt as for so many; a CPU takes as many times longer.
TEXTS_AT_ONCE = 16


@dataclass(frozen=True)
class Generated:
    """A complete prompt set: picture i, uint8 [h, w, 3], answers request i."""

    prompt_set: PromptSet
    images: tuple[np.ndarray, ...]


def generate(
    sampler: Sampler,
    prompt_sets: Sequence[PromptSet],
    sampling: Sampling,
    batch_size: int,
    *,
    wanted: Sequence[bool] | None = None,
    on_images: Callable[[int], None] | None = None,
) -> Iterator[Generated]:
    """Draw the sets, yielding each one as soon as it is complete: in order, but for sets with longer prompts.

    A prompt is drawn with as many chunks of the text encoder as it needs, up to `sampling.max_tokens`. Batches go
    across prompts and sets and all have one size (the last is padded), so that a picture depends neither on what shares
    its batch nor on which sets are `wanted` (None = all; batches without a wanted picture are left out).
    `on_images` is told how many wanted pictures each batch brought.
    """
    wanted = [True] * len(prompt_sets) if wanted is None else wanted
    _, height, width = sampler.base.latent_shape(sampling.size, sampling.size)
    count = sum(len(prompt_set.requests) for prompt_set in prompt_sets)
    batch_size = max(min(batch_size, count), STEADY_ROWS // (height * width))
    embeddings = _Embeddings(sampler.base, sampling)
    drawn: dict[int, dict[int, np.ndarray]] = {owner: {} for owner in range(len(prompt_sets)) if wanted[owner]}
    is_checked = False
    for batch in _batches(prompt_sets, embeddings.tokens_for, batch_size):
        owners = [owner for owner, _ in batch if wanted[owner]]
        if not owners:
            continue
        inputs = _inputs(sampler.base, embeddings, [request for _, request in batch], batch_size)
        if not is_checked:
            sampler.check(inputs.texts, inputs.noise, sampling)
            is_checked = True
        pictures = sampler.sample(inputs.texts, inputs.unconditional, inputs.noise, sampling, inputs.generators)
        for (owner, request), picture in zip(batch, pictures):
            if wanted[owner]:
                drawn[owner][request.index] = picture
        if on_images is not None:
            on_images(len(owners))
        for owner in dict.fromkeys(owners):
            if len(drawn[owner]) == len(prompt_sets[owner].requests):
                found = drawn.pop(owner)
                images = tuple(found[request.index] for request in prompt_sets[owner].requests)
                yield Generated(prompt_sets[owner], images)


def _batches(
    prompt_sets: Sequence[PromptSet], tokens_for: Callable[[str], int], batch_size: int
) -> Iterator[list[tuple[int, ImageRequest]]]:
    """Requests of all sets, each with its set's number, in order; a batch's prompts are of one length in chunks."""
    waiting: dict[int, list[tuple[int, ImageRequest]]] = {}
    for owner, prompt_set in enumerate(prompt_sets):
        for request in prompt_set.requests:
            tokens = tokens_for(request.prompt.text)
            waiting.setdefault(tokens, []).append((owner, request))
            if len(waiting[tokens]) == batch_size:
                yield waiting.pop(tokens)
        for tokens, requests in list(waiting.items()):
            if owner - requests[0][0] >= HELD_SETS:
                yield waiting.pop(tokens)
    yield from waiting.values()


class _Embeddings:
    """Text vectors, each distinct one encoded once, in batches of one size, whatever else there is to encode."""

    def __init__(self, base: base_models.BaseModel, sampling: Sampling) -> None:
        self._base = base
        self.sampling = sampling
        self._batch = 1 if base.device.type == "cpu" else TEXTS_AT_ONCE
        self._needed: dict[str, int] = {}
        self._known: dict[tuple[str, int], Texts] = {}

    def tokens_for(self, text: str) -> int:
        """In whole chunks what a prompt needs; as many as the negative prompt, since guidance pairs the two."""
        return max(self._needs(text), self._needs(self.sampling.negative_prompt))

    def of(self, texts: Sequence[str], tokens: int) -> Texts:
        new = [text for text in dict.fromkeys(texts) if (text, tokens) not in self._known]
        for start in range(0, len(new), self._batch):
            part = new[start : start + self._batch]
            padded = part + part[:1] * (self._batch - len(part))
            with torch.no_grad():
                vectors = diffusion.encode_prompts(self._base, padded, tokens, self.sampling.clip_skip)
            self._known |= {(text, tokens): vectors[row : row + 1] for row, text in enumerate(part)}
        return Texts.joined([self._known[text, tokens] for text in texts])

    def negative(self, tokens: int) -> Texts:
        """The negative prompt, one row."""
        text = self.sampling.negative_prompt
        return diffusion.negative(self._base, text, self.of([text], tokens))

    def _needs(self, text: str) -> int:
        if text not in self._needed:
            self._needed[text] = diffusion.tokens_needed(self._base, text, self.sampling.max_tokens)
        return self._needed[text]


@dataclass(frozen=True)
class _Inputs:
    """Of a batch, as `Sampler.sample` takes them."""

    texts: Texts
    unconditional: Texts  # the negative prompt's
    noise: torch.Tensor
    generators: list[torch.Generator]  # that have just drawn the noise, as in diffusers' own pipeline


def _inputs(
    base: base_models.BaseModel, embeddings: _Embeddings, requests: list[ImageRequest], batch_size: int
) -> _Inputs:
    padded = requests + requests[:1] * (batch_size - len(requests))
    sampling = embeddings.sampling
    shape = base.latent_shape(sampling.size, sampling.size)
    generators = [torch.Generator().manual_seed(request.noise_seed) for request in padded]
    noise = torch.stack([diffusion.gaussian_noise(generator, shape) for generator in generators])
    tokens = embeddings.tokens_for(requests[0].prompt.text)
    texts = embeddings.of([request.prompt.text for request in padded], tokens)
    return _Inputs(texts, embeddings.negative(tokens), noise, generators)
