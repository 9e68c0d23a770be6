"""Held-out loss depends on the draw alone, is the loss of training, and orders what learnt and what did not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lorabench import diffusion
from lorabench.bases import sizes_of
from lorabench.stages import validate
from lorabench.stages.samples import EncodedImage

CONTENTS = [f"{number:02x}" for number in range(7)]


@pytest.fixture
def noised(base):
    """Draws of pictures of two shapes."""
    rng = torch.Generator().manual_seed(0)
    found = []
    for number, draw in enumerate(validate.draws_of("toys/cat", CONTENTS, 21, len(base.alphas_cumprod))):
        channels, height, width = base.latent_shape(16, 16)
        latents = torch.randn((channels, height, width if number % 3 else 2 * width), generator=rng)
        sizes = sizes_of((16, 16), (0, 0), (16, 16))
        found.append(validate.Noised(EncodedImage(latents, sizes), "a red robot" if number % 2 else "a dog", draw))
    return found


def losses(base, noised):
    return validate.losses(base, noised, 8, 1, lambda count: None)


def test_every_band_and_every_picture_has_its_turn():
    draws = validate.draws_of("toys/cat", CONTENTS, 35, 1000)
    bands = [validate.band_of(draw.timestep, 1000) for draw in draws]
    assert {band: bands.count(band) for band in range(5)} == dict.fromkeys(range(5), 7)
    assert sorted(draw.picture for draw in draws) == sorted(list(range(7)) * 5)
    assert len({(draw.picture, band) for draw, band in zip(draws, bands)}) == 35  # each in each band once
    assert draws[:6] == validate.draws_of("toys/cat", CONTENTS, 6, 1000)
    other_order = validate.draws_of("toys/cat", CONTENTS[::-1], 35, 1000)
    assert {(CONTENTS[each.picture], each.timestep, each.noise_seed) for each in draws} == {
        (CONTENTS[::-1][each.picture], each.timestep, each.noise_seed) for each in other_order
    }
    first = {validate.band_of(validate.draws_of(f"toys/{n}", CONTENTS, 1, 1000)[0].timestep, 1000) for n in range(40)}
    assert first == set(range(5))  # a draw of each concept alone covers the bands


def test_the_loss_of_a_draw_is_the_same_in_any_company_and_order(base, noised):
    """To the last digit, on the CPU."""
    whole = losses(base, noised)
    order = np.random.default_rng(0).permutation(len(noised))
    assert np.array_equal(losses(base, [noised[place] for place in order]), whole[order])
    for size in (1, 3, 8, 13):
        parts = [losses(base, noised[start : start + size]) for start in range(0, len(noised), size)]
        assert np.array_equal(np.concatenate(parts), whole), size
    assert len(set(whole)) == len(whole)


def test_it_is_the_error_of_the_predicted_noise(base, noised):
    """By hand, one draw alone."""
    one = noised[1]
    latents, timestep = one.image.latents[None], torch.tensor([one.draw.timestep])
    noise = torch.randn(latents.shape[1:], generator=torch.Generator().manual_seed(one.draw.noise_seed))[None]
    alpha = base.alphas_cumprod[one.draw.timestep]
    with torch.no_grad():
        states = diffusion.encode_prompts(base, [one.text], 8).states
        noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
        predicted = base.unet(noisy, timestep, states).sample
    assert losses(base, [one])[0] == pytest.approx(float(((predicted - noise) ** 2).mean()), rel=1e-5)


def test_another_caption_or_picture_is_another_loss(base, noised):
    """So that the test above could fail."""
    one = noised[1]
    others = [one, replace(one, text="a castle"), replace(one, image=noised[2].image)]
    assert len(set(losses(base, others))) == 3
