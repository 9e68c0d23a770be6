"""What a step sees of pictures and captions: mirrored, cut anywhere, weighted by opacity, tags shuffled and dropped."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lorabench import datasets, diffusion, images
from lorabench.pipeline.training_sets import balanced
from lorabench.records import Concept, Dataset, SampleConfig, TrainingConfig, TrainingImage
from lorabench.seeds import derive_seed
from lorabench.stages import samples

PLAIN = TrainingConfig(1e-3, caption_dropout=0.0, resolution=32, max_tokens=14)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A wide picture, and one whose right half is transparent."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    images.write(folder / "wide.png", rng.integers(0, 256, (40, 96, 3), dtype=np.uint8))
    half = rng.integers(0, 256, (32, 32, 4), dtype=np.uint8)
    half[..., 3] = np.where(np.arange(32) < 16, 255, 0)
    Image.fromarray(half).save(folder / "half.png")
    caption = "[V_x] dog, red, blue, green"
    return [TrainingImage("toys/x", folder / name, caption, 8) for name in ("wide.png", "half.png")]


def batches(base, pictures, **settings):
    """All samples of two steps, bucket by bucket, and the encoded pictures."""
    config = replace(PLAIN, **settings)
    encoded = samples.encode_images(base, pictures, config)
    examples, _ = samples.examples_of(base, pictures, encoded, config.max_tokens)
    chosen = [np.arange(8), np.arange(8, 16)]
    return encoded, [samples.draw_batch(base, examples, each, 1, step, config) for step in (0, 1) for each in chosen]


def test_half_of_the_samples_are_mirrored_and_nothing_else_changes(base, pictures):
    encoded, flipped = batches(base, pictures, flip=True)
    plain_encoded, plain = batches(base, pictures)
    turned = []
    for number, (one, other) in enumerate(zip(flipped, plain)):
        own = encoded[number % 2]
        for row in range(8):
            is_turned = torch.equal(one.latents[row], own.mirrored)
            assert is_turned or torch.equal(one.latents[row], own.latents)
            turned.append(is_turned)
        assert torch.equal(one.noise, other.noise) and torch.equal(one.timesteps, other.timesteps)
    assert 8 < sum(turned) < 24  # of 32
    picture = images.read(pictures[0].path)
    width, height = datasets.bucket_size(96, 40, 32)
    seed = derive_seed("latent", "toys/x", "wide.png")
    turned = np.ascontiguousarray(images.fit(picture, width, height)[None, :, ::-1])
    assert torch.equal(encoded[0].mirrored, diffusion.encode_latents(base, turned, [seed])[0])
    assert torch.equal(encoded[0].latents, plain_encoded[0].latents)


def test_cuts_lie_anywhere_in_the_picture_and_say_where(base, pictures):
    encoded, cut = batches(base, pictures, random_crop=True)
    whole = encoded[0].whole
    corners = set()
    for batch in (cut[0], cut[2]):  # of the wide picture
        for row in range(8):
            top, left, height, width = map(int, batch.sizes[row][2:])
            assert top + height <= whole.shape[0] and left + width <= whole.shape[1]
            corners.add((top, left))
            mean = base.vae.encode(
                torch.from_numpy(whole[top : top + height, left : left + width].copy()).permute(2, 0, 1)[None] / 127.5
                - 1
            ).latent_dist.mean[0]
            near = (batch.latents[row] / base.vae.config.scaling_factor - mean).abs().mean()
            assert near < (encoded[0].latents / base.vae.config.scaling_factor - mean).abs().mean() or left == 0
    assert len(corners) > 3
    again = batches(base, pictures, random_crop=True)[1]
    assert all(torch.equal(one.latents, other.latents) for one, other in zip(cut, again))


def test_what_is_transparent_does_not_count(base, pictures):
    encoded, masked = batches(base, pictures, masked_loss=True, flip=True)
    width = masked[1].mask.shape[-1]
    left = torch.cat([torch.ones(width // 2), torch.zeros(width // 2)]).expand_as(masked[1].mask[0])
    for batch in (masked[1], masked[3]):
        for row in range(8):
            is_turned = torch.equal(batch.latents[row], encoded[1].mirrored)
            assert torch.equal(batch.mask[row], left.flip(-1) if is_turned else left)
    assert all((batch.mask == 1).all() for batch in (masked[0], masked[2]))
    both = batches(base, pictures, masked_loss=True, random_crop=True)[1]
    assert torch.equal(both[1].mask[0], left)  # a square of the bucket's own size has one cut


def test_tags_are_shuffled_and_dropped_but_for_the_first():
    caption, seen, orders = "[V_x] dog, a, b, c, d, e", Counter(), set()
    for number in range(400):
        rng = torch.Generator().manual_seed(number)
        text = samples.varied(caption, SampleConfig(shuffle_captions=True, tag_dropout=0.25), rng)
        first, *others = text.split(", ")
        assert first == "[V_x] dog" and len(set(others)) == len(others)
        seen.update(others)
        orders.add(text)
        kept = samples.varied(caption, SampleConfig(tag_dropout=0.25), torch.Generator().manual_seed(number))
        assert kept.split(", ")[1:] == sorted(others)  # the same are dropped, in their order
    assert all(0.65 < seen[tag] / 400 < 0.85 for tag in "abcde") and len(orders) > 100
    assert samples.varied(caption, SampleConfig(shuffle_captions=True, keep_tokens=9), rng) == caption
    assert samples.varied("", SampleConfig(shuffle_captions=True), rng) == ""


def test_a_step_reads_the_varied_caption(base, pictures):
    examples, _ = samples.examples_of(base, pictures, samples.encode_images(base, pictures, PLAIN), 14)
    config = replace(PLAIN, tag_dropout=1.0)
    batch = samples.draw_batch(base, examples, np.arange(4), 1, 0, config)
    assert torch.equal(batch.tokens, diffusion.tokenize(base, ["[V_x] dog"] * 4, 14))


def test_small_classes_are_shown_as_often_as_the_largest():
    concepts = tuple(Concept("toys", name, "", f"[{name}]", "toy") for name in "abc")
    counts = {"a": 12, "b": 4, "c": 1}
    pictures = tuple(
        TrainingImage(f"toys/{name}", Path(f"{name}{k}.png"), "", 2) for name, n in counts.items() for k in range(n)
    )
    found = balanced(Dataset("d", "", "", "", concepts, pictures, "0"))
    shown = Counter()
    for image in found.images:
        shown[image.concept_id] += image.repeats
    assert shown == {"toys/a": 24, "toys/b": 24, "toys/c": 24}


@pytest.mark.parametrize("step", [8, 32, 64])
def test_sides_of_buckets_are_multiples_of_their_step(step):
    for width, height in ((640, 480), (1000, 301), (512, 512), (100, 900)):
        sides = datasets.bucket_size(width, height, 512, step)
        assert all(side % step == 0 for side in sides) and np.prod(sides) <= 512**2
    assert datasets.bucket_size(640, 480, 512) == datasets.bucket_size(640, 480, 512, 64)
