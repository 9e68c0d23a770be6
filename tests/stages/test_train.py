"""Training: paired across algorithms, exact to resume, equal to a hand-written loop, honest about divergence."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from changed_configs import changed

from lorabench import adapters, components, images, schedules
from lorabench.errors import UserError
from lorabench.records import AdapterConfig, TrainConfig, TrainingConfig, TrainingImage
from lorabench.stages import optimizers, samples, watching
from lorabench.stages import train as stage

CONFIG = TrainConfig(
    "lora-8",
    AdapterConfig("lora", "linear", dim=4, alpha=2),
    TrainingConfig(
        1e-2, epochs=3, checkpoint_epochs=(1, 3), batch_size=4, caption_dropout=0.2, resolution=16, max_tokens=14
    ),
)
KEPT, DROPPED = TrainingConfig(caption_dropout=0.0), TrainingConfig(caption_dropout=1.0)
OTHERS = {
    "lora": CONFIG,
    "loha": changed(CONFIG, algorithm="loha"),
    "lokr": changed(CONFIG, algorithm="lokr", dim=None, alpha=None, factor=4),
    "native": changed(CONFIG, algorithm="native", dim=None, alpha=None),
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Six pictures, two of them lying (two buckets at resolution 48, one at 16); 9 samples: 3 steps at batch 4."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    made = []
    for number in range(6):
        shape = (16, 32, 3) if number < 2 else (16, 16, 3)
        path = folder / f"{number}.png"
        images.write(path, np.full(shape, rng.integers(0, 256, 3), dtype=np.uint8))
        made.append(TrainingImage("toys/x", path, f"a red [V_x] dog {number}", repeats=2 if number > 2 else 1))
    return made


def examples_of(base, pictures, **settings):
    config = replace(CONFIG.training, **settings)
    encoded = samples.encode_images(base, pictures, config)
    return samples.examples_of(base, pictures, encoded, config.max_tokens)[0]


def eight_bits():
    """No part of the locked environment: wherever it is installed, diffusers takes two seconds longer to load."""
    return pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed: lorabench[gpu] brings it")


def run(base, pictures, config, seed=1, **options):
    algorithm = components.find("algorithms", config.adapter.algorithm)
    return list(stage.train(base, pictures, config, algorithm, seed, **options))


def tensors(trained):
    return [tensor for params in trained.adapter.modules.values() for tensor in params.values()]


def test_every_algorithm_sees_the_same_training(base, pictures):
    """At lr 0 no update moves, so equal losses at all steps mean equal order, captions, timesteps and noise."""
    losses = {}
    for name, config in OTHERS.items():
        results = run(base, pictures, changed(config, lr=0.0))
        losses[name] = [loss for result in results for loss in result.trace.losses]
    assert len(losses["lora"]) == 9 and len(set(losses["lora"])) == 9
    for name in OTHERS:
        assert losses[name] == losses["lora"], name
    assert losses["lora"] != [
        loss for r in run(base, pictures, changed(CONFIG, lr=0.0), seed=2) for loss in r.trace.losses
    ]


def test_training_learns(base, pictures):
    """Paired with lr 0 on the same draws, the loss falls; one seed is enough because only the weights differ."""
    config = changed(OTHERS["native"], trained_layers="full", lr=5e-3, epochs=10, checkpoint_epochs=(10,))
    (learnt,), (still,) = run(base, pictures, config), run(base, pictures, changed(config, lr=0.0))
    assert np.mean(learnt.trace.losses[-9:]) < 0.9 * np.mean(still.trace.losses[-9:])


@pytest.mark.parametrize(
    ("name", "optimizer", "schedule"),
    [
        ("lora", "adamw", "constant"),
        ("native", "adamw", "cosine_with_restarts"),
        ("lora", "prodigy", "linear"),
        ("native", "adamw8bit", "constant"),
    ],
)
def test_resumed_equals_uninterrupted_to_the_bit(base, pictures, name, optimizer, schedule):
    if optimizer == "adamw8bit":
        eight_bits()
    config = changed(
        OTHERS[name],
        lr=1.0 if optimizer == "prodigy" else 1e-3,
        warmup_epochs=1.5,
        optimizer=optimizer,
        schedule=schedule,
        cycles=2,
        rank_dropout=0.2,
        module_dropout=0.2,
    )
    first, last = run(base, pictures, config)
    in_bits = {value.dtype for state in first.state.optimizer["state"].values() for value in _tensors_in(state)}
    assert (torch.uint8 in in_bits) == (optimizer == "adamw8bit")
    before = [tensor.clone() for tensor in tensors(first)]
    (resumed,) = run(base, pictures, config, resume=first.state)
    assert (first.milestone.number, first.step, last.milestone.number, last.step) == (1, 3, 3, 9)
    assert resumed.trace.losses == last.trace.losses and resumed.step == last.step
    assert all(map(torch.equal, tensors(resumed), tensors(last)))
    # What was handed out is a copy: neither run changed it.
    assert all(map(torch.equal, tensors(first), before))
    assert not all(map(torch.equal, tensors(first), tensors(last)))


def test_steps_in_the_place_of_epochs_are_the_same_training(base, pictures):
    """Three steps are an epoch: what is kept by step is what is kept by epoch, and a moment may lie within one."""
    by_epoch = run(base, pictures, changed(CONFIG, schedule="cosine", epochs=3))
    by_step = run(base, pictures, changed(CONFIG, schedule="cosine", steps=9, checkpoint_steps=(3, 5, 9)))
    assert [(str(each.milestone), each.step) for each in by_step] == [("step 3", 3), ("step 5", 5), ("step 9", 9)]
    for one, other in ((by_epoch[0], by_step[0]), (by_epoch[1], by_step[2])):
        assert all(map(torch.equal, tensors(one), tensors(other)))
    assert by_epoch[1].trace.losses == by_step[1].trace.losses + by_step[2].trace.losses
    longer = run(base, pictures, changed(CONFIG, steps=20, checkpoint_steps=(5,)))
    assert [each.step for each in longer] == [5]


def _tensors_in(value):
    """All tensors of nested tables."""
    if isinstance(value, dict):
        return [tensor for item in value.values() for tensor in _tensors_in(item)]
    return [value] if isinstance(value, torch.Tensor) else []


@pytest.mark.parametrize("name", OTHERS)
def test_activations_computed_again_are_the_same(base, pictures, monkeypatch, name):
    """Gradient checkpointing, of updates merged and beside their weights: the same training to the bit.

    Blocks of the U-Net run twice a step, the second time in the backward pass, where the merged weights have to be.
    """
    passes = []
    hook = base.unet.mid_block.resnets[1].norm1.register_forward_hook(lambda *_: passes.append(1))
    config = changed(OTHERS[name], epochs=1, checkpoint_epochs=(1,), trained_layers="full")
    monkeypatch.setattr(adapters, "WRITE", 0)  # so that LoRA and LoKr have some of each in a tiny model
    (plain,) = run(base, pictures, config)
    once = len(passes)
    (again,) = run(base, pictures, config, recompute=True)
    hook.remove()
    assert len(passes) == 3 * once > 0
    assert plain.trace.losses == again.trace.losses
    assert all(torch.equal(*pair) for pair in zip(tensors(plain), tensors(again), strict=True))
    assert not base.unet.is_gradient_checkpointing


def test_a_batch_in_pieces_is_the_same_batch(base, pictures):
    """Gradients of one and two samples, added: rounding, which AdamW blows up where a gradient is next to nothing."""
    whole, pieces = (run(base, pictures, OTHERS["lokr"], micro_batch=most) for most in (None, 3))
    for ours, theirs in zip(whole, pieces, strict=True):
        np.testing.assert_allclose(ours.trace.losses, theirs.trace.losses, rtol=1e-4)
        apart = [float((a - b).norm() / a.norm().clamp(min=1e-9)) for a, b in zip(tensors(ours), tensors(theirs))]
        assert max(apart) < 1e-2 and float(np.median(apart)) < 1e-4


def test_an_optimizer_without_its_package_is_said_with_the_extra_that_brings_it(monkeypatch):
    monkeypatch.setattr(optimizers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs the package bitsandbytes.*pip install 'lorabench\[gpu\]'"):
        optimizers.require(TrainingConfig(1e-3, optimizer="adamw8bit"))
    optimizers.require(TrainingConfig(1e-3))


@pytest.mark.parametrize(
    ("name", "theirs_by"),
    [("adamw", lambda: torch.optim.AdamW), ("adamw8bit", lambda: eight_bits().optim.AdamW8bit)],
    ids=["adamw", "adamw8bit"],
)
def test_equals_a_hand_written_loop(base, pictures, name, theirs_by):
    """Native without weight decay is plain fine-tuning of the weights themselves: AdamW on them, nothing of ours."""
    make = theirs_by()
    config = changed(
        OTHERS["native"],
        lr=1e-4,
        weight_decay=0.0,
        trained_layers=r"regex:\.to_[qkv]$|fc1$|conv1$",
        max_grad_norm=0.01,
        optimizer=name,
    )
    results = run(base, pictures, config)
    ours = [loss for result in results for loss in result.trace.losses]

    adapter = adapters.create(base.components, components.find("algorithms", "native"), config.adapter, 0)
    trained = {  # also biases, which native trains
        f"{name}.{kind}": parameter
        for name in adapter.modules
        for kind, parameter, _ in adapters.updates(base.components, adapter, name)
    }
    pristine = {name: parameter.clone() for name, parameter in trained.items()}
    optimizer = make([p.requires_grad_() for p in trained.values()], 1e-4, (0.9, 0.99), weight_decay=0)
    encoded = samples.encode_images(base, pictures, CONFIG.training)
    examples, _ = samples.examples_of(base, pictures, encoded, config.training.max_tokens)
    theirs = []
    for epoch in range(3):
        for drawn in samples.epoch_batches(examples, 4, 1, epoch):
            batch = samples.draw_batch(base, examples, drawn, 1, len(theirs), config.training)
            text = base.text_encoders["text_encoder"](batch.tokens[:, 0, 0]).last_hidden_state
            signal = base.alphas_cumprod[batch.timesteps][:, None, None, None]
            noisy = signal.sqrt() * batch.latents + (1 - signal).sqrt() * batch.noise
            loss = torch.nn.functional.mse_loss(base.unet(noisy, batch.timesteps, text).sample, batch.noise)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(list(trained.values()), 0.01)
            optimizer.step()
            theirs.append(loss.item())
    for name, parameter in trained.items():
        parameter.requires_grad_(False).copy_(pristine[name])
    # W0 + sum of updates against a running W: one rounding of float32 a step, through nine steps.
    assert ours == pytest.approx(theirs, rel=1e-5)


def test_the_update_decays_and_not_the_pretrained_weight(base, pictures):
    """With a decay of 1 / lr nothing of native's update is left but its last step, at most lr in each number."""
    config = changed(OTHERS["native"], lr=1e-4, trained_layers=r"regex:\.to_[qkv]$", warmup_epochs=0)
    left, whole = (
        max(params["diff"].abs().max() for params in run(base, pictures, each)[-1].adapter.modules.values())
        for each in (changed(config, weight_decay=1e4), changed(config, weight_decay=0.0))
    )
    assert 0 < left <= 1.5e-4 < whole


def test_an_epoch_holds_every_sample_once_and_a_batch_one_bucket(base, pictures):
    encoded = samples.encode_images(base, pictures, replace(CONFIG.training, resolution=48))
    assert [tuple(image.latents.shape) for image in encoded] == [(4, 16, 32)] * 2 + [(4, 24, 24)] * 4
    examples, _ = samples.examples_of(base, pictures, encoded, CONFIG.training.max_tokens)
    epochs = [samples.epoch_batches(examples, 4, 1, epoch) for epoch in range(2)]
    for batches in epochs:
        assert sorted(np.concatenate(batches)) == list(range(9))
        assert Counter(examples.image_of[np.concatenate(batches)]) == {0: 1, 1: 1, 2: 1, 3: 2, 4: 2, 5: 2}
        assert sorted(len(batch) for batch in batches) == [2, 3, 4]
        for batch in batches:
            assert len({encoded[image].latents.shape for image in examples.image_of[batch]}) == 1
    assert not all(map(np.array_equal, *epochs))


def test_draws_belong_to_the_sample(base, pictures):
    """Neither its place in the batch nor its company nor the dropout changes a sample's noise and timestep."""
    examples = examples_of(base, pictures)
    one = samples.draw_batch(base, examples, np.array([3, 5, 6]), 1, 7, KEPT)
    other = samples.draw_batch(base, examples, np.array([8, 5]), 1, 7, DROPPED)
    assert torch.equal(one.noise[1], other.noise[1]) and one.timesteps[1] == other.timesteps[1]
    assert torch.equal(other.tokens, examples.no_tokens.expand_as(other.tokens))
    assert not torch.equal(one.tokens[1], other.tokens[1])
    assert examples.image_of[3] == examples.image_of[4]  # two repeats of a picture, and yet not the same noise
    assert not torch.equal(*samples.draw_batch(base, examples, np.array([3, 4]), 1, 7, KEPT).noise)


def test_what_more_noise_is_drawn_changes_nothing_else(base, pictures):
    examples = examples_of(base, pictures)
    drawn = np.arange(9)

    def batch(**settings):
        return samples.draw_batch(base, examples, drawn, 1, 7, replace(KEPT, **settings))

    plain, offset, perturbed = batch(), batch(noise_offset=0.1), batch(input_perturbation=0.1)
    assert all(torch.equal(each.timesteps, plain.timesteps) for each in (offset, perturbed))
    assert torch.equal(plain.noise, plain.seen_noise) and torch.equal(perturbed.noise, plain.noise)
    added = offset.noise - plain.noise
    torch.testing.assert_close(added, added.mean((2, 3), keepdim=True).expand_as(added), rtol=0, atol=1e-6)
    assert added[:, :, 0, 0].std() == pytest.approx(0.1, rel=0.35)  # 36 numbers
    seen = perturbed.seen_noise - plain.noise
    assert seen.std() == pytest.approx(0.1, rel=0.1) and seen.mean().abs() < 0.02
    assert torch.equal(offset.noise, offset.seen_noise)


def test_the_second_factor_has_a_rate_of_its_own(base, pictures):
    """LoRA+: what starts at zero, of LoRA lora_up; a lone tensor is no second factor."""
    for name, suffixes in (("lora", {"lora_up.weight"}), ("native", set())):
        config = changed(OTHERS[name], lora_plus_ratio=16.0)
        adapter = adapters.create(base.components, components.find("algorithms", name), config.adapter, 1)
        optimizer = stage._optimizer(adapter, config.training, base.device)
        ratios = {id(p): group["ratio"] for group in optimizer.param_groups for p in group["params"]}
        of_suffix = {(k, ratios[id(t)]) for params in adapter.modules.values() for k, t in params.items()}
        assert of_suffix == {(k, 16.0 if k in suffixes else 1.0) for k, _ in of_suffix}


def test_velocity_alone_has_a_zero_terminal_snr(base, pictures):
    with pytest.raises(
        UserError, match="'lora-8' has zero_terminal_snr, which is for base models that predict velocity"
    ):
        run(base, pictures, changed(CONFIG, zero_terminal_snr=True))
    velocity = replace(base, scheduler_config={**base.scheduler_config, "prediction_type": "v_prediction"})
    zero, usual = (run(velocity, pictures, changed(CONFIG, zero_terminal_snr=each)) for each in (True, False))
    assert zero[0].trace.losses != usual[0].trace.losses


def test_warm_up_and_progress(base, pictures):
    multiplier = schedules.multiplier(TrainingConfig(1e-2, warmup_epochs=2.0), 1e-2, 90, 3)
    assert [multiplier(step) for step in (0, 3, 6, 60)] == [0, 0.5, 1, 1]
    calls = []
    results = run(base, pictures, CONFIG, on_step=lambda *call: calls.append(call))
    assert [call[:2] for call in calls] == [(step, 9) for step in range(1, 10)]
    assert [call[2] for call in calls] == [loss for result in results for loss in result.trace.losses]


def test_divergence_names_config_seed_and_step(base, pictures):
    with pytest.raises(watching.TrainingDiverged, match=r"'lora-8', seed 1: the (loss|weights)"):
        run(base, pictures, changed(CONFIG, lr=1e38, weight_decay=0.0))
    broken = [
        replace(image, latents=torch.full_like(image.latents, math.nan))
        for image in samples.encode_images(base, pictures, CONFIG.training)
    ]
    with pytest.raises(watching.TrainingDiverged, match="loss is nan at step 1 of 9"):
        run(base, pictures, CONFIG, encoded=broken)


def test_the_base_is_as_it_was(base, pictures):
    before = {name: tensor.clone() for name, tensor in base.unet.state_dict().items()}
    run(base, pictures, OTHERS["native"])
    assert all(torch.equal(tensor, before[name]) for name, tensor in base.unet.state_dict().items())


def test_the_text_encoder_has_a_rate_of_its_own(base, pictures):
    """AdamW's first step moves every weight by its learning rate, up to epsilon."""
    config = changed(OTHERS["native"], lr=1e-3, text_encoder_lr=1e-4, epochs=1, checkpoint_epochs=(1,), batch_size=100)
    (result,) = run(base, pictures, changed(config, warmup_epochs=0, weight_decay=0.0))
    moved = {name: float(params["diff"].abs().max()) for name, params in result.adapter.modules.items()}
    of_text = {moved.pop(name) for name in list(moved) if name.startswith("text_encoder.")}
    steps = result.step
    assert 0.9e-3 <= max(moved.values()) <= 1.01e-3 * steps and 0.9e-4 <= max(of_text) <= 1.01e-4 * steps


def test_an_algorithm_that_trains_a_part_at_a_time_trains_all_in_time(base, pictures):
    """DyLoRA draws how many ranks a step has; the same draw for all modules, other draws at other steps."""
    config = changed(CONFIG, algorithm="dylora", dim=4, epochs=6, checkpoint_epochs=(6,))
    (result,) = run(base, pictures, config)
    adapter = result.adapter
    ranks = set()
    for step in range(12):
        part = adapters.for_step(adapter, 1, step)
        shapes = {params["lora_down.weight"].shape[0] for params in part.modules.values()}
        assert len(shapes) == 1
        ranks |= shapes
    assert len(ranks) > 1 and max(ranks) <= 4
    up = next(params["lora_up.weight"] for name, params in adapter.modules.items() if name.startswith("unet."))
    assert (up.flatten(1).abs().amax(0) > 0).all(), "a rank was never trained"
