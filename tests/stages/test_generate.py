"""Generation: whole sets in order, and pictures that depend on prompt, noise and weights only."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from tiny_base import write_tiny_base

from lorabench import base_models, diffusion
from lorabench.records import Concept, ImageRequest, Prompt, PromptSet, Sampling
from lorabench.sampler import sampler_of
from lorabench.stages.generate import generate

SAMPLING = Sampling(steps=5, guidance=5.0, size=16, max_tokens=14, negative_prompt="snow")


def prompt_set(type_: str, texts: list[str], first_seed: int) -> PromptSet:
    concept = Concept("toys", "dog", "", "[V_x]", "dog")
    return PromptSet(
        concept,
        type_,
        tuple(
            ImageRequest(Prompt(concept.id, type_, text, text), index, first_seed + index)
            for index, text in enumerate(texts)
        ),
    )


SETS = [
    prompt_set("trigger", ["[V_x] dog"] * 5, 100),
    prompt_set("alter", ["a red dog", "a dog on the beach", "a dog on the beach"], 200),
    prompt_set("style", ["blue castle"], 300),
    prompt_set("drift", ["a green robot", ""], 400),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def base(folder):
    return base_models.load_base(base_models.base_of(str(folder)), torch.device("cpu"))


def pictures(base, batch_size, **options):
    return {
        g.prompt_set.type: np.stack(g.images) for g in generate(sampler_of(base), SETS, SAMPLING, batch_size, **options)
    }


def noise_of(request):
    return diffusion.gaussian_noise(request.noise_seed, (4, 8, 8))


def test_sets_come_whole_and_in_order(base):
    counts = []
    drawn = list(generate(sampler_of(base), SETS, SAMPLING, 4, on_images=counts.append))
    assert [result.prompt_set for result in drawn] == SETS
    assert [len(result.images) for result in drawn] == [5, 3, 1, 2]
    assert sum(counts) == 11
    assert all(image.shape == (16, 16, 3) and image.dtype == np.uint8 for result in drawn for image in result.images)


def test_each_picture_is_the_stock_pipelines(base, folder):
    pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    ours = pictures(base, 4)
    for a_set in SETS:
        for request, picture in zip(a_set.requests, ours[a_set.type], strict=True):
            theirs = pipeline(
                request.prompt.text, negative_prompt="snow", latents=noise_of(request)[None],
                num_inference_steps=5, guidance_scale=5.0, height=16, width=16, output_type="np",
            ).images[0]  # fmt: skip
            # Batch 1 against batch 4: sums in another order, a level of 255 at most.
            assert np.abs(np.round(theirs * 255) - picture.astype(int)).max() <= 1


def test_batch_size_changes_no_picture(base):
    """One level of 255 in a few pixels: kernels choose their order of summation by the batch's size."""
    reference = pictures(base, 11)
    for batch_size in (1, 3, 8, 64):
        for type_, drawn in pictures(base, batch_size).items():
            difference = np.abs(drawn.astype(int) - reference[type_])
            assert difference.max() <= 1 and (difference > 0).mean() < 0.01


def test_company_changes_no_bit(base):
    """At one batch size a picture is the same bytes whatever else is drawn: resumed runs leave no trace."""
    everything = pictures(base, 4)
    some = pictures(base, 4, wanted=[False, True, False, True])
    assert set(some) == {"alter", "drift"}
    assert all(np.array_equal(some[type_], everything[type_]) for type_ in some)
    alone = np.stack(next(generate(sampler_of(base), SETS[1:2] + SETS[2:3], SAMPLING, 4)).images)
    assert np.array_equal(alone, everything["alter"])


def test_batches_without_a_wanted_picture_are_left_out(base):
    counts = []
    pictures(base, 4, wanted=[False, False, False, True], on_images=counts.append)
    assert counts == [2]
    assert pictures(base, 4, wanted=[False] * 4) == {}


def test_pictures_follow_prompt_noise_and_weights(base):
    drawn = pictures(base, 4)
    assert not np.array_equal(drawn["alter"][1], drawn["alter"][2])  # one prompt, two noises
    weight = base.unet.conv_out.weight
    pristine = weight.clone()
    weight.mul_(1.5)
    changed = pictures(base, 4)
    weight.copy_(pristine)
    assert not np.array_equal(changed["trigger"], drawn["trigger"])
    assert np.array_equal(pictures(base, 4)["trigger"], drawn["trigger"])


LONG = " ".join(["a red dog on the beach"] * 4)  # 24 words of one token; a chunk holds 14
WITH_LONG = [prompt_set("train", ["a dog", LONG, LONG, "a dog"], 500), *SETS]
TWO_CHUNKS = replace(SAMPLING, max_tokens=28)


def drawn_with(base, sets, sampling, batch_size=4):
    return {g.prompt_set.type: np.stack(g.images) for g in generate(sampler_of(base), sets, sampling, batch_size)}


def test_long_prompts_are_drawn_whole_and_short_ones_as_ever(base):
    """Two chunks where a prompt has more than 14 words, with the negative prompt in two chunks beside it."""
    drawn, cut = drawn_with(base, WITH_LONG, TWO_CHUNKS), drawn_with(base, WITH_LONG, SAMPLING)
    short = pictures(base, 4)
    assert all(np.array_equal(drawn[type_], short[type_]) for type_ in short)
    assert np.array_equal(drawn["train"][[0, 3]], cut["train"][[0, 3]])
    assert not np.array_equal(drawn["train"][1], cut["train"][1])
    request = WITH_LONG[0].requests[1]
    text, negative = (diffusion.encode_prompts(base, [each], 28) for each in (LONG, "snow"))
    assert text.states.shape[1] == negative.states.shape[1] == 30
    alone = sampler_of(base).sample(text, negative, noise_of(request)[None], TWO_CHUNKS)[0]
    assert np.abs(drawn["train"][1].astype(int) - alone).max() <= 1  # another batch size, as above


def test_a_long_negative_prompt_makes_all_prompts_long(base):
    whole, cut = (drawn_with(base, SETS, replace(each, negative_prompt=LONG)) for each in (TWO_CHUNKS, SAMPLING))
    assert not np.array_equal(whole["trigger"], cut["trigger"])


def test_sets_with_long_prompts_wait_for_their_batch_but_not_for_ever(base):
    """One long prompt, then many sets of short ones: drawn after 32 sets, and every set comes once."""
    sets = [prompt_set("train", [LONG], 0), *(prompt_set(f"set {n}", ["a dog"] * 32, n) for n in range(40))]
    order = [result.prompt_set.type for result in generate(sampler_of(base), sets, replace(TWO_CHUNKS, steps=1), 4)]
    assert order == [f"set {n}" for n in range(32)] + ["train"] + [f"set {n}" for n in range(32, 40)]
