"""Loading, encoding, the loss and sampling against diffusers' own pipeline and schedulers."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, StableDiffusionPipeline
from diffusers.schedulers import KarrasDiffusionSchedulers
from safetensors.torch import load_file, save_file
from single_file import write_single_file
from tiny_base import write_tiny_base

from lorabench import base_models, devices, diffusion
from lorabench.base_files import find_base
from lorabench.errors import UserError
from lorabench.records import Sampling
from lorabench.sampler import passes, sampler_of
from lorabench.values import SCHEDULERS, scheduler_name

TEXTS = [
    "a red robot on the beach",
    "a blue dog [V_x]",
    "",
    "castle snow castle snow castle snow castle snow castle snow",
]
LONG = " ".join(["red", "dog", "a"] * 7)  # 21 words of one token each; a chunk holds 14
SAMPLING = Sampling(steps=6, guidance=5.0, size=16, max_tokens=14)
CPU = torch.device("cpu")
UNREAD = torch.zeros(1, 6)  # sizes, which the U-Net of SD1.5 is not told


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def base(folder):
    return base_models.load_base(base_models.base_of(str(folder)), CPU)


@pytest.fixture(scope="module")
def pipeline(folder):
    pipe = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def stock_embedding(pipeline, text):
    return pipeline.encode_prompt(text, CPU, 1, False)[0]


def test_one_chunk_is_the_stock_embedding(base, pipeline):
    with torch.no_grad():
        ours = diffusion.encode_prompts(base, TEXTS, 14).states
        theirs = torch.cat([stock_embedding(pipeline, text) for text in TEXTS])
    # The batch is another, so sums may be ordered otherwise: rounding of values of order 1.
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_long_captions_are_chunks_without_inner_frames(base, pipeline):
    words = LONG.split()
    assert len(base.tokenizers["text_encoder"](LONG).input_ids) == len(words) + 2
    with torch.no_grad():
        ours = diffusion.encode_prompts(base, [LONG], 28).states
        first, second = (stock_embedding(pipeline, " ".join(part)) for part in (words[:14], words[14:]))
        cut = diffusion.encode_prompts(base, [LONG], 14).states
    joined = torch.cat([first[:, :-1], second[:, 1:]], dim=1)
    torch.testing.assert_close(ours, joined, rtol=0, atol=1e-5)
    torch.testing.assert_close(cut, first, rtol=0, atol=1e-5)


def test_sampling_is_the_stock_pipeline(base, pipeline):
    noise = torch.stack([diffusion.gaussian_noise(seed, base.latent_shape(16, 16)) for seed in range(4)])
    with torch.no_grad():
        ours = sampler_of(base).sample(
            diffusion.encode_prompts(base, TEXTS, 14), diffusion.encode_prompts(base, [""], 14), noise, SAMPLING
        )
    theirs = pipeline(
        TEXTS, latents=noise, num_inference_steps=6, guidance_scale=5.0, height=16, width=16, output_type="np"
    ).images
    # The same operations in the same order; one level of 255 is left for a value on the edge between two.
    assert np.abs(ours.astype(int) - np.round(theirs * 255).astype(int)).max() <= 1
    assert ours.shape == (4, 16, 16, 3) and len(np.unique(ours)) > 10


@pytest.mark.parametrize("name", [*SCHEDULERS, "DPMSolverMultistep karras", "EulerDiscrete karras"])
def test_schedulers_by_name_are_the_stock_pipelines(base, pipeline, monkeypatch, name):
    """Each picture from a generator of its own, which draws its first noise and what the scheduler adds."""
    options = {"use_karras_sigmas": True} if name.endswith("karras") else {}
    scheduler = getattr(diffusers, f"{name.split()[0]}Scheduler")
    options |= {"skip_prk_steps": True} if name == "PNDM" else {}
    monkeypatch.setattr(pipeline, "scheduler", scheduler.from_config(pipeline.scheduler.config, **options))
    generators = [torch.Generator().manual_seed(seed) for seed in range(4)]
    noise = torch.stack([diffusion.gaussian_noise(each, base.latent_shape(16, 16)) for each in generators])
    drawn = replace(SAMPLING, scheduler=name, negative_prompt="snow")
    with torch.no_grad():
        text, none = (diffusion.encode_prompts(base, each, 14) for each in (TEXTS, ["snow"]))
        ours = sampler_of(base).sample(text, none, noise, drawn, generators)
    theirs = pipeline(
        TEXTS, negative_prompt=["snow"] * 4, generator=[torch.Generator().manual_seed(seed) for seed in range(4)],
        num_inference_steps=6, guidance_scale=5.0, height=16, width=16, output_type="np",
    ).images  # fmt: skip
    assert np.abs(ours.astype(int) - np.round(theirs * 255).astype(int)).max() <= 1


def test_schedulers_are_those_that_diffusers_calls_interchangeable():
    # One is for EDM's models alone, the other takes a package that nothing else here needs.
    others = {"EDMEulerScheduler", "DPMSolverSDEScheduler"}
    assert {each.name for each in KarrasDiffusionSchedulers} - others == {f"{name}Scheduler" for name in SCHEDULERS}
    for text, name in [("EulerDiscreteScheduler", "EulerDiscrete"), ("UniPCMultistep karras", "UniPCMultistep karras")]:
        assert scheduler_name(text) == name
    for text, words in [("Euler", "is Euler"), ("DDIM karras", "levels of its own"), ("", "must be one of")]:
        with pytest.raises(ValueError, match=words):
            scheduler_name(text)


def test_passes_are_counted_as_they_are_made(base):
    """Heun's method looks twice at all steps but the last."""
    with torch.no_grad():
        text = diffusion.encode_prompts(base, TEXTS[:1], 14)
    made: list[int] = []
    hook = base.unet.register_forward_pre_hook(lambda _, inputs: made.append(len(inputs[0])))
    for name, guidance in [("DDIM", 1.0), ("DDIM", 5.0), ("HeunDiscrete", 5.0)]:
        drawn = replace(SAMPLING, scheduler=name, guidance=guidance)
        sampler_of(base).sample(text, text, diffusion.gaussian_noise(1, (1, 4, 8, 8)), drawn)
        assert sum(made) == passes(drawn)
        made.clear()
    hook.remove()
    assert passes(drawn) == 22


def test_clip_skip_is_the_stock_pipelines(base, pipeline):
    """Counted as people do: 2 is diffusers' 1, the last layer but one."""
    object.__setattr__(pipeline.text_encoder, "text_model", pipeline.text_encoder)  # where diffusers 0.39 looks for it
    with torch.no_grad():
        ours = diffusion.encode_prompts(base, TEXTS[:1], 14, clip_skip=2).states
        theirs = pipeline.encode_prompt(TEXTS[0], CPU, 1, False, clip_skip=1)[0]
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
        assert not torch.allclose(ours, diffusion.encode_prompts(base, TEXTS[:1], 14).states, atol=1e-2)


def test_base_schedulers_of_other_kinds_give_the_same_pictures(folder, base, tmp_path):
    """SD1.5 ships a PNDM scheduler: only its noise schedule counts."""
    other = shutil.copytree(folder, tmp_path / "pndm")
    settings = {"_class_name": "PNDMScheduler", "skip_prk_steps": True, "set_alpha_to_one": True, "steps_offset": 0}
    settings |= {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    (other / "scheduler/scheduler_config.json").write_text(json.dumps(settings))
    noise = diffusion.gaussian_noise(1, (1, 4, 8, 8))
    pictures = []
    for model in (base, base_models.load_base(base_models.base_of(str(other)), CPU)):
        with torch.no_grad():
            text = diffusion.encode_prompts(model, ["a dog"], 14)
        pictures.append(sampler_of(model).sample(text, text, noise, SAMPLING))
    assert np.array_equal(*pictures)


def square(prediction):
    """The mean square of what is off, [n]."""
    predicted, target = prediction
    return (predicted - target).square().mean((1, 2, 3))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_loss_is_the_textbook_one(base, prediction):
    model = replace(base, scheduler_config={**base.scheduler_config, "prediction_type": prediction})
    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    latents, noise = torch.randn(2, 3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    steps = torch.tensor([0, 500, 999])
    with torch.no_grad():
        text = diffusion.encode_prompts(base, TEXTS[:3], 14)
        ours = square(diffusion.noise_prediction(model, latents, text, noise, steps, UNREAD))
        predicted = base.unet(scheduler.add_noise(latents, noise, steps), steps, text.states).sample
    target = noise if prediction == "epsilon" else scheduler.get_velocity(latents, noise, steps)
    torch.testing.assert_close(ours, ((predicted - target) ** 2).flatten(1).mean(1))  # float32 rounding


def test_given_weights_take_the_place_of_the_models_own(base):
    """functional weights = the same weights copied into the model, for both components, and gradients reach them."""
    names = ["unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_v.weight"]
    names += [
        f"text_encoder.{name}"
        for name, _ in base.text_encoders["text_encoder"].named_parameters()
        if name.endswith("fc1.weight")
    ]
    live = {name: base.components[name.split(".")[0]].get_parameter(name.split(".", 1)[1]) for name in names}
    rng = torch.Generator().manual_seed(1)
    weights = {
        name: (parameter + torch.randn(parameter.shape, generator=rng)).requires_grad_()
        for name, parameter in live.items()
    }
    pristine = {name: parameter.clone() for name, parameter in live.items()}
    latents, noise = torch.randn(2, 2, 4, 8, 8, generator=torch.Generator().manual_seed(0))

    def loss(given):
        def forward():
            text = diffusion.encode_prompts(base, TEXTS[:2], 14)
            return square(diffusion.noise_prediction(base, latents, text, noise, torch.tensor([10, 900]), UNREAD))

        return diffusion.with_weights(base, given or {}, forward)

    functional, untouched = loss(weights), loss(None)
    functional.sum().backward()
    for name, parameter in live.items():
        parameter.copy_(weights[name].detach())
    copied = loss(None)
    for name, parameter in live.items():
        parameter.copy_(pristine[name])
    assert torch.equal(functional, copied)
    assert not torch.allclose(functional, untouched)
    assert all(tensor.grad.abs().max() > 0 for tensor in weights.values())
    assert torch.equal(loss(None), untouched)


def test_latents_are_frozen_draws_of_each_picture(base):
    pictures = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    together = diffusion.encode_latents(base, pictures, [5, 6, 7])
    alone = diffusion.encode_latents(base, pictures[1:2], [6])
    torch.testing.assert_close(together[1:2], alone, rtol=0, atol=1e-5)  # convolutions may sum in another order
    assert not torch.allclose(alone, diffusion.encode_latents(base, pictures[1:2], [8]), atol=1e-3)
    with torch.no_grad():
        posterior = base.vae.encode(torch.from_numpy(pictures / 127.5 - 1).permute(0, 3, 1, 2).float()).latent_dist
    draws = torch.stack(
        [diffusion.encode_latents(base, pictures[:1], [seed])[0] for seed in range(400)]
    ) / 0.18215  # fmt: skip
    # 400 draws of 256 values: the mean of squared standardised distances is 1 within 3 sqrt(2 / 102400).
    assert ((draws - posterior.mean[0]) / posterior.std[0]).square().mean() == pytest.approx(1, abs=0.014)


def test_half_precision_is_close(base):
    """bfloat16 trains; it draws in float16. Rounding of 8 and 11 bits through some 30 layers."""
    half = replace(base, dtype=torch.bfloat16)
    latents, noise = torch.randn(2, 2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    steps = torch.tensor([100, 700])
    with torch.no_grad():
        text, none = diffusion.encode_prompts(base, TEXTS[:2], 14), diffusion.encode_prompts(base, [""], 14)
        losses = [
            square(diffusion.noise_prediction(model, latents, text, noise, steps, UNREAD)) for model in (base, half)
        ]
        torch.testing.assert_close(losses[1], losses[0], rtol=0.05, atol=0)
        assert not torch.equal(losses[1], losses[0])
        pictures = [sampler_of(model).sample(text, none, noise, SAMPLING).astype(int) for model in (base, half)]
    assert np.abs(pictures[0] - pictures[1]).mean() < 1


@pytest.mark.parametrize("size", [1e-2, 1e-3])
def test_prompts_are_encoded_in_float32_whatever_training_computes_in(base, size):
    """What an update of |dW|/|W| changes in the vectors, against float32: within 1 %. bfloat16 could not tell."""
    half = replace(base, dtype=torch.bfloat16)
    matrices = [
        each.weight for each in base.text_encoders["text_encoder"].modules() if isinstance(each, torch.nn.Linear)
    ]
    pristine, rng = [weight.clone() for weight in matrices], torch.Generator().manual_seed(0)

    def vectors():
        with torch.no_grad():
            exact, drawn = (diffusion.encode_prompts(model, TEXTS, 14).states for model in (base, half))
            return exact, drawn, diffusion.embed_tokens(half, diffusion.tokenize(base, TEXTS, 14)).states

    before = vectors()
    for weight in matrices:
        update = torch.randn(weight.shape, generator=rng)
        weight.add_(update * size * weight.norm() / update.norm())
    exact, drawn, trained = (new - old for new, old in zip(vectors(), before))
    for weight, old in zip(matrices, pristine):
        weight.copy_(old)
    assert (drawn - exact).norm() < 0.01 * exact.norm()
    assert (trained - exact).norm() > 0.2 * exact.norm()  # training does compute in bfloat16


def test_tokens_that_a_prompt_needs(base):
    """Chunks of 14: one at the least, as many as the words fill, no more than the maximum fills."""
    words = {number: " ".join(["dog"] * number) for number in (0, 1, 14, 15, 28, 29, 100)}
    needed = {number: diffusion.tokens_needed(base, text, 28) for number, text in words.items()}
    assert needed == {0: 14, 1: 14, 14: 14, 15: 28, 28: 28, 29: 28, 100: 28}
    assert diffusion.tokens_needed(base, words[100], 30) == 42  # whole chunks, as in training
    assert diffusion.tokens_needed(base, words[100], 5) == 14


def test_the_base_is_frozen(base):
    for module in (base.unet, base.text_encoders["text_encoder"], base.vae):
        assert not module.training and not any(parameter.requires_grad for parameter in module.parameters())


def test_a_single_file_is_read_like_its_folder(folder, base, tmp_path):
    """The configs lie in the folder named like the file; nothing is fetched."""
    file = tmp_path / "model.safetensors"
    write_single_file(folder, file, layers_per_block=1)
    configs = shutil.copytree(folder, tmp_path / "model", ignore=shutil.ignore_patterns("*.safetensors"))
    read = base_models.load_base(base_models.base_of(str(file)), CPU)
    assert not list(configs.rglob("*.safetensors"))
    for ours, theirs in [
        (read.unet, base.unet),
        (read.vae, base.vae),
        (read.text_encoders["text_encoder"], base.text_encoders["text_encoder"]),
    ]:
        expected = theirs.state_dict()
        assert ours.state_dict().keys() == expected.keys()
        assert all(torch.equal(tensor, expected[name]) for name, tensor in ours.state_dict().items())
    assert torch.equal(diffusion.tokenize(read, TEXTS, 14), diffusion.tokenize(base, TEXTS, 14))
    assert read.id != base.id  # of the bytes on disk, which are others


def test_base_id_follows_content(folder, base, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "elsewhere")
    assert find_base(str(copy)).id == base.id
    assert base.id.startswith("custom-")
    file = copy / "text_encoder/model.safetensors"
    tensors = load_file(file)
    next(iter(tensors.values())).view(-1)[0] += 1
    save_file(tensors, file, {"format": "pt"})
    assert find_base(str(copy)).id != base.id


def _without_index(folder: Path) -> None:
    (folder / "model_index.json").unlink()


def _other_class(folder: Path) -> None:
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusion3Pipeline"}')


def _pickled(folder: Path) -> None:
    (folder / "unet/diffusion_pytorch_model.safetensors").rename(folder / "unet/diffusion_pytorch_model.bin")


def _truncated(folder: Path) -> None:
    file = folder / "vae/diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def _no_vae(folder: Path) -> None:
    (folder / "vae/diffusion_pytorch_model.safetensors").unlink()


def _no_tokenizer(folder: Path) -> None:
    shutil.rmtree(folder / "tokenizer")


def _other_shapes(folder: Path) -> None:
    config = json.loads((folder / "unet/config.json").read_text())
    (folder / "unet/config.json").write_text(json.dumps({**config, "cross_attention_dim": 24}))


def _predicts_sample(folder: Path) -> None:
    file = folder / "scheduler/scheduler_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "prediction_type": "sample"}))


@pytest.mark.parametrize(
    "damage, words",
    [
        (_without_index, ["has no model_index.json"]),
        (_other_class, ["StableDiffusion3Pipeline", "Stable Diffusion 1.x", "SDXL"]),
        (_pickled, ["unet/diffusion_pytorch_model.bin", "pickle", "save_pretrained"]),
        (_truncated, ["vae/diffusion_pytorch_model.safetensors", "corrupt or truncated"]),
        (_no_vae, ["lacks vae/diffusion_pytorch_model.safetensors"]),
        (_no_tokenizer, ["lacks tokenizer/vocab.json"]),
        (_other_shapes, ["cannot be loaded"]),
        (_predicts_sample, ["'sample'", "epsilon and v_prediction"]),
    ],
)
def test_damaged_folders_are_refused_in_a_sentence(folder, tmp_path, damage, words):
    copy = shutil.copytree(folder, tmp_path / "damaged")
    damage(copy)
    with pytest.raises(UserError) as refusal:
        base_models.load_base(base_models.base_of(str(copy)), CPU)
    assert str(copy) in str(refusal.value) and "\n" not in str(refusal.value)
    assert all(word in str(refusal.value) for word in words)


def test_other_sources_are_refused_in_a_sentence(tmp_path):
    (tmp_path / "model.ckpt").write_bytes(b"\x80\x02")
    (tmp_path / "noise.safetensors").write_bytes(b"\xff" * 100)
    save_file({"lora_unet_x.lora_up.weight": torch.zeros(1)}, tmp_path / "lora.safetensors")
    unet = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
    text = {"cond_stage_model.transformer.text_model.final_layer_norm.bias": torch.zeros(768)}
    save_file({unet: torch.zeros(320, 768), **text}, tmp_path / "sd.safetensors")
    save_file({unet: torch.zeros(320, 768)}, tmp_path / "alone.safetensors")
    cases = {
        "nobody/no-such-model": ["local cache", "hf download nobody/no-such-model", "unet/diffusion_pytorch_model"],
        str(tmp_path / "missing"): ["does not exist"],
        "./missing": ["does not exist"],
        "missing.safetensors": ["does not exist"],
        str(tmp_path / "model.ckpt"): ["pickle"],
        str(tmp_path / "noise.safetensors"): ["corrupt or truncated"],
        str(tmp_path / "lora.safetensors"): ["no Stable Diffusion U-Net", "adapter"],
        str(tmp_path / "alone.safetensors"): ["without the text encoders", "take the whole checkpoint"],
        str(tmp_path / "sd.safetensors"): [f"the folder {tmp_path / 'sd'}", "hf download"],
    }
    for source, words in cases.items():
        with pytest.raises(UserError) as refusal:
            base_models.load_base(base_models.base_of(source), CPU)
        assert all(word in str(refusal.value) for word in [source, *words]), str(refusal.value)


def test_devices():
    assert devices.pick_device("cpu") == CPU
    assert devices.pick_device("auto").type in ("cpu", "cuda", "mps")
    for name, word in [
        ("gpu", "must be auto"),
        ("cpu:1", "must be"),
        ("cuda:x", "must be"),
        ("auto,cpu", "must be"),
        ("", "must be"),
        ("cuda:99", "found"),
    ]:
        with pytest.raises(UserError, match=word):
            devices.pick_devices(name)


def test_several_gpus_are_used_without_a_word_or_chosen(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert devices.pick_devices("auto") == ("cuda:0", "cuda:1", "cuda:2")
    assert devices.pick_devices("cuda:0, cuda:2") == ("cuda:0", "cuda:2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert devices.pick_devices("auto") == ("cuda",)
    with pytest.raises(UserError, match="cpu twice"):
        devices.pick_devices("cpu,cpu")
    with pytest.raises(UserError, match="'cuda:2' is not there"):
        devices.pick_devices("cuda:0,cuda:2")


def test_sizes_that_do_not_fit(base):
    assert base.latent_shape(16, 24) == (4, 12, 8)
    with pytest.raises(UserError, match="multiples of 2"):
        base.latent_shape(16, 15)


def test_a_word_of_a_file_is_its_vectors_in_any_prompt(base):
    """With the vectors of known words, prompts with the new word are encoded as those with the known ones."""
    table = base.text_encoders["text_encoder"].get_input_embeddings().weight
    start, red, dog, end = base.tokenizers["text_encoder"]("red dog").input_ids
    with (
        torch.no_grad(),
        diffusion.with_words(base, {"<my.Word>": {"text_encoder": table[[red, dog]].clone()}}) as knowing,
    ):
        for new, known in (("a <my.word> on snow", "a red dog on snow"), ("<MY.WORD>, castle", "red dog, castle")):
            ours, theirs = (diffusion.encode_prompts(knowing, [text], 14).states for text in (new, known))
            assert torch.equal(ours, theirs)
    assert base.text_encoders["text_encoder"].get_input_embeddings().weight is table
    assert diffusion.holds_word("a <my.word>!", "<my.word>") and diffusion.holds_word("my Toy.", "toy")
    assert not diffusion.holds_word("toys", "toy")
