"""Held-out loss: how well the noise of pictures is predicted, over draws that are the same for all checkpoints.

No image is drawn. A draw is a picture, a noise and a timestep, each derived from the picture's own bytes and the number
of the draw: neither the other pictures nor the checkpoint, the batch or the order change it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lorabench import diffusion
from lorabench.base_models import BaseModel
from lorabench.seeds import derive_seed
from lorabench.stages.samples import EncodedImage

BANDS = 5  # of timesteps, of one width
# A passage through a network has always so many rows, the last one again and again where there are fewer: on the CPU a
# row's numbers then depend on that row alone, to the last digit, and a batch of another size rounds otherwise.
ROWS = 8


@dataclass(frozen=True)
class Draw:
    """One picture with one noise at one timestep."""

    picture: int  # its place among those that there are
    timestep: int
    noise_seed: int


@dataclass(frozen=True)
class Noised:
    """A draw, ready for the loss."""

    image: EncodedImage
    text: str
    draw: Draw


def band_of(timestep: int, timesteps: int) -> int:
    """Which of BANDS parts of so many timesteps it falls into."""
    return timestep * BANDS // timesteps


def draws_of(concept_id: str, contents: Sequence[str], count: int, timesteps: int) -> list[Draw]:
    """So many draws of a concept's pictures, known by their contents: each band in turn, each picture in turn.

    Fewer draws are the first of more, as long as the pictures are the same. Where there are fewer than bands, concepts
    begin with different ones.
    """
    order = sorted(range(len(contents)), key=lambda place: derive_seed("validation", contents[place]))
    begin = derive_seed("validation band", concept_id) % BANDS
    return [_draw(number, begin, contents, order, timesteps) for number in range(count if contents else 0)]


def _draw(number: int, begin: int, contents: Sequence[str], order: Sequence[int], timesteps: int) -> Draw:
    # One further where both begin anew together, or each of five pictures would have a band of its own.
    turn = number // math.lcm(BANDS, len(order))
    picture = order[(number + turn) % len(order)]
    first, end = (timesteps * ((number + begin) % BANDS + each) // BANDS for each in (0, 1))
    within = derive_seed("validation timestep", contents[picture], number) % (end - first)
    return Draw(picture, first + within, derive_seed("validation noise", contents[picture], number))


@torch.inference_mode()
def losses(
    base: BaseModel, noised: Sequence[Noised], max_tokens: int, clip_skip: int, on_draws: Callable[[int], None]
) -> np.ndarray:
    """The mean squared error of the predicted noise, or velocity, of each draw: float64 [n]."""
    found = np.full(len(noised), np.nan)
    places = sorted(range(len(noised)), key=lambda place: tuple(noised[place].image.latents.shape))
    for _, alike in itertools.groupby(places, key=lambda place: tuple(noised[place].image.latents.shape)):
        for rows in _full(list(alike)):
            found[rows] = _row_losses(base, [noised[place] for place in rows], max_tokens, clip_skip)
            on_draws(len(set(rows)))
    return found


def _full(places: Sequence[int]) -> Iterator[list[int]]:
    for start in range(0, len(places), ROWS):
        rows = list(places[start : start + ROWS])
        yield rows + rows[-1:] * (ROWS - len(rows))


def _row_losses(base: BaseModel, rows: Sequence[Noised], max_tokens: int, clip_skip: int) -> list[float]:
    latents = torch.stack([row.image.latents for row in rows])
    noise = torch.stack([diffusion.gaussian_noise(row.draw.noise_seed, latents.shape[1:]) for row in rows])
    predicted, target = diffusion.noise_prediction(
        base,
        latents,
        diffusion.encode_prompts(base, [row.text for row in rows], max_tokens, clip_skip),
        noise.to(base.device),
        torch.tensor([row.draw.timestep for row in rows], device=base.device),
        torch.stack([row.image.sizes for row in rows]),
    )
    return [float((one - other).double().square().mean()) for one, other in zip(predicted, target, strict=True)]
