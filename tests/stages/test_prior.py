"""Prior preservation: class images are a loss of their own beside the batch, and change nothing that it draws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from changed_configs import changed
from command_line import lorabench_here

from lorabench import adapters, components, datasets, diffusion, images
from lorabench.errors import UserError
from lorabench.records import AdapterConfig, TrainConfig, TrainingConfig
from lorabench.stages import losses, samples
from lorabench.stages import train as stage

CONFIG = TrainConfig(
    "prior",
    AdapterConfig("lora", "linear", dim=4, alpha=2),
    TrainingConfig(
        1e-2, epochs=2, checkpoint_epochs=(2,), batch_size=4, resolution=16, max_tokens=14, prior_weight=0.5
    ),
)


@pytest.fixture(scope="module")
def pictures(plain_pictures):
    """Five of a concept and three of its class."""
    own = [f"a [V_x] dog on the {'beach' if number % 2 else 'snow'}" for number in range(5)]
    made = plain_pictures([*own, *["a dog"] * 3])
    return [replace(image, is_class_image=number > 4) for number, image in enumerate(made)]


def train(base, pictures, config, **options):
    algorithm = components.find("algorithms", config.adapter.algorithm)
    return list(stage.train(base, pictures, config, algorithm, 1, **options))[-1]


def test_a_step_is_the_gradient_of_both_losses(base, pictures):
    """By hand for the first step: batch of the concept, batch of the class, one AdamW step on the weighted sum."""
    config = changed(CONFIG, epochs=1, checkpoint_epochs=(1,), batch_size=8)
    found = train(base, pictures, config)
    encoded = samples.encode_images(base, pictures, config.training)
    own, of_classes = samples.examples_of(base, pictures, encoded, 14)
    assert (len(own.images), len(of_classes.images)) == (5, 3) and set(of_classes.captions) == {"a dog"}
    adapter = adapters.create(base.components, components.find("algorithms", "lora"), config.adapter, 1)
    (drawn,) = samples.epoch_batches(own, 8, 1, 0)
    batches = (
        samples.draw_batch(base, own, drawn, 1, 0, config.training),
        samples.draw_class_batch(base, of_classes, 1, 0, config.training),
    )

    def loss(batch):
        def forward():
            texts = diffusion.embed_tokens(base, batch.tokens)
            answer = diffusion.noise_prediction(
                base, batch.latents, texts, batch.noise, batch.timesteps, batch.sizes, seen_noise=batch.seen_noise
            )
            each = losses.sample_losses(
                config.training, *answer, batch.timesteps, base.alphas_cumprod, False, batch.mask
            )
            return each.mean()

        return diffusion.with_weights(base, adapters.merged_weights(base.components, adapter), forward)

    both = [loss(batch) for batch in batches]
    (both[0] + 0.5 * both[1]).backward()
    params = adapters.parameters(adapter)
    torch.nn.utils.clip_grad_norm_(params, 1.0)
    torch.optim.AdamW(params, lr=1e-2, betas=(0.9, 0.99), weight_decay=0.1).step()
    assert found.trace.losses == pytest.approx([both[0].item()], rel=1e-5)  # of the batch itself: configs compare
    for name, expected in adapter.modules.items():
        for suffix, tensor in found.adapter.modules[name].items():
            torch.testing.assert_close(tensor, expected[suffix].detach(), rtol=1e-4, atol=1e-5)


def test_class_images_change_no_draw_and_are_not_needed_without_their_weight(base, pictures):
    """At lr 0 the losses of the batches say what was drawn."""
    still, own = changed(CONFIG, lr=0.0), pictures[:5]
    plain = changed(still, prior_weight=0.0)
    assert (
        train(base, pictures, still).trace.losses
        == train(base, own, plain).trace.losses
        == train(base, pictures, plain).trace.losses
    )
    with pytest.raises(UserError, match="no class images"):
        train(base, own, still)


def test_it_goes_on_from_any_step_and_in_parts(base, pictures):
    whole, states = train(base, pictures, CONFIG), []
    train(base, pictures, CONFIG, on_state=lambda _, make: states.append(make()))
    again = train(base, pictures, CONFIG, resume=states[1])
    halves = train(base, pictures, CONFIG, micro_batch=2)
    for name, params in whole.adapter.modules.items():
        for suffix, tensor in params.items():
            assert torch.equal(tensor, again.adapter.modules[name][suffix])
            torch.testing.assert_close(tensor, halves.adapter.modules[name][suffix], rtol=1e-3, atol=1e-4)


def test_folders_of_class_images_as_people_have_them(tmp_path):
    picture = np.zeros((16, 16, 3), np.uint8)
    for place in ("kohya/1_anime girl/a.png", "named/stuffed toy/a.png", "flat/a.png", "nameless/a.png"):
        images.write(tmp_path / place, picture)
    (tmp_path / "flat/a.txt").write_text("a photo of a dog")
    for folder, caption in (("kohya", "anime girl"), ("named", "stuffed toy"), ("flat", "a photo of a dog")):
        (image,) = datasets.load_class_images(tmp_path / folder).images
        assert (image.caption, image.is_class_image) == (caption, True)
    with pytest.raises(UserError, match=r"Nothing says what class .*a\.png is of"):
        datasets.load_class_images(tmp_path / "nameless")
    found = datasets.load_class_images(tmp_path / "named")
    assert replace(found, images=()).samples == found.samples == 0


def test_a_study_draws_its_class_images_and_trains_on_them(tmp_path):
    study, folder = tmp_path / "study.toml", tmp_path / "classes"
    study.write_text(
        'name = "prior"\nextends = "smoke"\nseeds = [1]\n[data]\nconcepts = ["stuffed_toys/*"]\n'
        'class_images = "classes"\n[training]\nepochs = 1\ncheckpoint_epochs = [1]\n[[grid]]\nalgorithm = "lora"\n'
        "dim = 2\nlr = 1e-3\nprior_weight = 1.0\n"
    )
    words = ("train", str(study), "--out", str(tmp_path / "run"), "--workers", "1")
    asked = lorabench_here(*words)
    assert asked.returncode == 2 and "class-images STUDY" in asked.stderr
    drawn = lorabench_here("class-images", str(study), "--count", "3", "--quiet")
    assert drawn.returncode == 0, drawn.stderr
    first = {file: file.read_bytes() for file in folder.rglob("*.png")}
    assert "3 are new" in drawn.stdout and len(first) == 3
    assert {file.read_text() for file in folder.rglob("*.txt")} == {next(iter(first)).parent.name}
    more = lorabench_here("class-images", str(study), "--count", "4", "--quiet")
    assert "1 are new" in more.stdout and {file: file.read_bytes() for file in first} == first
    trained = lorabench_here(*words)
    assert trained.returncode == 0, trained.stderr
