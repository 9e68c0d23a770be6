"""SDXL against diffusers' own pipeline: a tiny one for pixels, the published architecture for names and counts."""

from __future__ import annotations

import os

os.environ["LYCORIS_KERNEL_BACKEND"] = "torch"  # read when lycoris is imported

import copy
import json
import shutil
from dataclasses import replace

import diffusers
import numpy as np
import pytest
import torch
from lycoris import config as lycoris_config
from lycoris import kohya as lycoris_kohya
from safetensors.torch import load_file, save_file
from single_file import write_single_sdxl
from tiny_base import write_tiny_sdxl

from lorabench import adapters, base_models, components, diffusion, formats, images
from lorabench.api import adapter_tools
from lorabench.bases import SDXL
from lorabench.components import Origin
from lorabench.errors import UserError
from lorabench.formats._original_names import original_names
from lorabench.layers import canonical, trainable_modules
from lorabench.records import AdapterConfig, SampleConfig, Sampling, TrainConfig, TrainingConfig, TrainingImage
from lorabench.sampler import sampler_of
from lorabench.stages import samples, train

TEXTS = ["a red robot on the beach", "a blue dog [V_x]", "", "castle snow castle snow castle"]
SAMPLING = Sampling(steps=6, guidance=5.0, size=16, max_tokens=14)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_sdxl(tmp_path_factory.mktemp("sdxl"))


@pytest.fixture(scope="module")
def base(folder):
    return base_models.load_base(base_models.base_of(str(folder)), CPU)


@pytest.fixture(scope="module")
def pipeline(folder):
    pipe = diffusers.StableDiffusionXLPipeline.from_pretrained(folder, add_watermarker=False)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def drawn(base, noise, negative=""):
    with torch.no_grad():
        texts = diffusion.encode_prompts(base, TEXTS, 14)
        against = diffusion.negative(base, negative, diffusion.encode_prompts(base, [negative], 14))
        return sampler_of(base).sample(texts, against, noise, SAMPLING).astype(int)


def stock(pipeline, noise, **settings):
    pictures = pipeline(
        TEXTS,
        latents=noise,
        num_inference_steps=6,
        guidance_scale=5.0,
        height=16,
        width=16,
        output_type="np",
        **settings,
    ).images
    return np.round(pictures * 255).astype(int)


@pytest.fixture(scope="module")
def noise(base):
    return torch.stack([diffusion.gaussian_noise(seed, base.latent_shape(16, 16)) for seed in range(len(TEXTS))])


@pytest.mark.parametrize("negative", ["", "snow"])
def test_sampling_is_the_stock_pipeline(base, pipeline, noise, negative):
    ours, theirs = drawn(base, noise, negative), stock(pipeline, noise, negative_prompt=negative or None)
    assert np.abs(ours - theirs).max() <= 1
    assert len(np.unique(ours)) > 10


def test_clip_skip_and_long_prompts(base, pipeline):
    """Of a prompt in two chunks both are read, and the first one's vector of the whole prompt; 2 is diffusers' 1."""
    long = " ".join(["red", "dog", "a"] * 7)
    words = long.split()
    with torch.no_grad():
        ours = diffusion.encode_prompts(base, [long], 28)
        parts = [pipeline.encode_prompt(" ".join(part)) for part in (words[:14], words[14:])]
        skipped = diffusion.encode_prompts(base, TEXTS[:1], 14, clip_skip=2).states
        theirs = pipeline.encode_prompt(TEXTS[0], clip_skip=1)[0]
    torch.testing.assert_close(ours.states, torch.cat([parts[0][0][:, :-1], parts[1][0][:, 1:]], 1), rtol=0, atol=1e-5)
    torch.testing.assert_close(ours.pooled, parts[0][2], rtol=0, atol=1e-5)
    torch.testing.assert_close(skipped, theirs, rtol=0, atol=1e-5)


def test_a_single_file_is_read_like_its_folder(folder, base, noise, tmp_path):
    shutil.copytree(folder, tmp_path / "sdxl", ignore=shutil.ignore_patterns("*.safetensors"))
    write_single_sdxl(folder, tmp_path / "sdxl.safetensors")
    found = base_models.base_of(str(tmp_path / "sdxl.safetensors"))
    assert found.kind is SDXL
    assert np.array_equal(drawn(base_models.load_base(found, CPU), noise), drawn(base, noise))


def test_what_the_index_says_of_no_prompt_is_heard_and_in_the_id(folder, base, pipeline, noise, tmp_path):
    other = shutil.copytree(folder, tmp_path / "other")
    index = json.loads((other / "model_index.json").read_text())
    (other / "model_index.json").write_text(json.dumps({**index, "force_zeros_for_empty_prompt": False}))
    found = base_models.load_base(base_models.base_of(str(other)), CPU)
    ours, theirs = drawn(found, noise), stock(pipeline, noise, negative_prompt="")
    assert np.abs(ours - theirs).max() <= 1 and np.abs(ours - drawn(base, noise)).max() > 1
    assert found.id != base.id
    (other / "model_index.json").write_text(json.dumps({**index, "force_zeros_for_empty_prompt": "no"}))
    with pytest.raises(UserError, match="'force_zeros_for_empty_prompt' must be true or false"):
        _ = base_models.base_of(str(other)).id


def test_the_decoder_stays_in_float32_where_its_config_says_so(base):
    """SDXL's own overflows in float16; the one that was mended says force_upcast = false."""
    half = replace(base, dtype=torch.bfloat16)
    assert (sampler_of(half).unet.dtype, sampler_of(half).vae.dtype) == (torch.float16, torch.float32)
    mended = copy.deepcopy(base.vae)
    mended.register_to_config(force_upcast=False)
    assert sampler_of(replace(half, vae=mended)).vae.dtype == torch.float16


# --- adapters ---------------------------------------------------------------------------------------------------------


def made(base, algorithm, seed, layers="linear"):
    """An adapter that changes every picture; with a dim that LoKr's second factor is decomposed at."""
    config = AdapterConfig(algorithm, layers, dim=2, alpha=2.0, factor=4 if algorithm == "lokr" else None)
    adapter = adapters.create(base.components, components.find("algorithms", algorithm), config, seed)
    rng = torch.Generator().manual_seed(seed)
    for tensor in adapters.parameters(adapter):
        tensor.data = torch.randn(tensor.shape, generator=rng) * 0.2
    return adapter


def saved(path, adapter, format_name):
    formats.save_adapter(path, adapter, TrainConfig("x", adapter.config), Origin(), "float32", format_name)
    return path


def as_kohya_trains(file, names, out):
    """The U-Net's blocks by their original names, as kohya's trainer has them."""
    others = {f"lora_{canonical(name)}": f"lora_{canonical(other)}" for name, other in original_names(names).items()}
    parts = ((key.partition("."), tensor) for key, tensor in load_file(file).items())
    save_file({f"{others.get(module, module)}.{suffix}": tensor for (module, _, suffix), tensor in parts}, out)
    return out


@pytest.mark.parametrize("spelling", ["kohya", "kohya, original blocks", "diffusers"])
@pytest.mark.parametrize("count", [1, 2])
def test_adapters_are_drawn_as_the_stock_pipeline_draws_them(base, folder, noise, tmp_path, spelling, count):
    names = trainable_modules(base.components)
    files = []
    for seed in range(count):
        file = saved(tmp_path / f"{seed}.safetensors", made(base, "lora", seed), spelling.split(",")[0])
        if "," in spelling:
            file = as_kohya_trains(file, names, tmp_path / f"sgm{seed}.safetensors")
            assert any("input_blocks" in key for key in load_file(file))
        files.append(file)
    scaled = [(formats.load_adapter(file, base.components)[0], ratio) for file, ratio in zip(files, (0.5, 1.0))]
    with adapters.swapped(base.components, *scaled):
        ours = drawn(base, noise)
    pipe = diffusers.StableDiffusionXLPipeline.from_pretrained(folder, add_watermarker=False)
    pipe.set_progress_bar_config(disable=True)
    for number, file in enumerate(files):
        pipe.load_lora_weights(str(file), adapter_name=str(number))
    pipe.set_adapters([str(number) for number in range(count)], [0.5, 1.0][:count])
    assert np.abs(ours - stock(pipe, noise)).max() <= 1
    assert np.abs(ours - drawn(base, noise)).max() > 1


# --- counts against the authors' library ------------------------------------------------------------------------------

# The library's presets by the classes that diffusers' U-Net has. Attention is CrossAttention in kohya's; and the class
# TimestepEmbedding, which is there for another model (Anima), would be found here too, and in `full` twice.
PRESETS = {"attention": "attn-only", "linear": "attn-mlp", "full": "full"}


@pytest.fixture(scope="module")
def published():
    return base_models.architecture("sdxl")


def theirs_counted(published, preset, algorithm):
    chosen = {**lycoris_config.PRESET[PRESETS[preset]]}
    if preset == "attention":
        chosen["unet_target_module"] = ["Attention"]
    chosen["unet_target_module"] = [name for name in chosen["unet_target_module"] if name != "TimestepEmbedding"]
    lycoris_kohya.LycorisNetworkKohya.apply_preset(chosen)
    encoders = [module for name, module in published.items() if name != "unet"]
    network = lycoris_kohya.LycorisNetworkKohya(
        encoders, published["unet"], lora_dim=8, conv_lora_dim=8, alpha=4.0, conv_alpha=4.0, factor=8,
        network_module=algorithm, train_norm=preset == "full",
    )  # fmt: skip
    modules = [*network.text_encoder_loras, *network.unet_loras]
    return len(modules), sum(parameter.numel() for module in modules for parameter in module.parameters())


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(("algorithm", "theirs"), [("lora", "locon"), ("loha", "loha"), ("lokr", "lokr")])
def test_counts_are_lycoris(published, monkeypatch, preset, algorithm, theirs):
    monkeypatch.setattr(lycoris_kohya.logger, "disabled", True)
    config = AdapterConfig(algorithm, preset, dim=8, alpha=4.0, factor=8 if algorithm == "lokr" else None)
    counted = adapter_tools.count("sdxl", config)
    modules, parameters = theirs_counted(published, preset, theirs)
    assert (sum(counted["modules"].values()), counted["parameters"]) == (modules, parameters)


# --- training ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A wide one, which is cut at its sides, and a square one."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for name, shape in (("wide.png", (30, 50, 3)), ("square.png", (40, 40, 3))):
        images.write(folder / name, rng.integers(0, 256, shape, dtype=np.uint8))
    captions = {"wide.png": "a red robot", "square.png": "a blue dog on the beach"}
    return tuple(TrainingImage("things", folder / name, caption, 2) for name, caption in captions.items())


def test_the_loss_is_of_a_unet_that_is_told_sizes_and_the_whole_prompt(base, pipeline, pictures):
    encoded = samples.encode_images(base, pictures, SampleConfig(resolution=16))
    examples, _ = samples.examples_of(base, pictures, encoded, 14)
    for image, original in enumerate(((30, 50), (40, 40))):
        batch = samples.draw_batch(
            base, examples, np.array([2 * image, 2 * image + 1]), 1, 0, TrainingConfig(caption_dropout=0)
        )
        height, width = (2 * side for side in batch.latents.shape[-2:])
        scale = max(height / original[0], width / original[1])
        corner = tuple((round(old * scale) - new) // 2 for old, new in zip(original, (height, width)))
        told = pipeline._get_add_time_ids(original, corner, (height, width), torch.float32, 24)
        with torch.no_grad():
            answer, target = diffusion.noise_prediction(
                base,
                batch.latents,
                diffusion.embed_tokens(base, batch.tokens),
                batch.noise,
                batch.timesteps,
                batch.sizes,
            )
            states, _, pooled, _ = pipeline.encode_prompt([pictures[image].caption] * 2)
            noisy = pipeline.scheduler.add_noise(batch.latents, batch.noise, batch.timesteps)
            conditions = {"text_embeds": pooled, "time_ids": told.expand(2, 6)}
            predicted = pipeline.unet(noisy, batch.timesteps, states, added_cond_kwargs=conditions).sample
        torch.testing.assert_close(answer, predicted)
        assert torch.equal(target, batch.noise)


@pytest.mark.parametrize("algorithm", ["lora", "loha", "lokr"])
def test_adapters_of_all_three_networks_are_trained_saved_and_drawn(base, pictures, noise, tmp_path, algorithm):
    config = made(base, algorithm, 0).config
    training = TrainingConfig(1e-2, batch_size=2, epochs=2, checkpoint_epochs=(2,), resolution=16, max_tokens=14)
    plugin = components.find("algorithms", algorithm)
    [whole], [parts] = (
        list(train.train(base, pictures, TrainConfig("x", config, training), plugin, 1, micro_batch=size))
        for size in (None, 1)
    )
    assert np.allclose(whole.trace.losses, parts.trace.losses, rtol=1e-3)
    file = saved(tmp_path / "trained.safetensors", whole.adapter, "kohya")
    for prefix in ("lora_unet_", "lora_te1_", "lora_te2_"):
        changed = [tensor for key, tensor in load_file(file).items() if key.startswith(prefix)]
        assert any(tensor.abs().max() > 0 for tensor in changed), prefix
    read, loaded = formats.load_adapter(file, base.components)
    assert loaded.metadata["ss_base_model_version"] == "sdxl_base_v1-0"
    with adapters.swapped(base.components, (read, 1.0)):
        trained = drawn(base, noise)
    assert np.abs(trained - drawn(base, noise)).max() > 1


def test_a_word_has_vectors_for_each_text_encoder(base, tmp_path):
    """As trainers save them for SDXL; the end of a prompt is where the tokenizer puts it, not at the highest id."""
    tables = {name: encoder.get_input_embeddings().weight for name, encoder in base.text_encoders.items()}
    ids = base.tokenizers["text_encoder"]("red dog", add_special_tokens=False).input_ids
    vectors = {name: table[ids].detach().clone() for name, table in tables.items()}
    save_file({"clip_l": vectors["text_encoder"], "clip_g": vectors["text_encoder_2"]}, tmp_path / "mine.safetensors")
    adapter, _ = formats.load_adapter(tmp_path / "mine.safetensors", base.components)
    with torch.no_grad(), diffusion.with_words(base, adapter.words) as knowing:
        ours, theirs = (diffusion.encode_prompts(knowing, [f"a {text} on snow"], 14) for text in ("mine", "red dog"))
        tokens = diffusion.encode_prompts(knowing, ["a <s0><s1> on snow"], 14)
    for found in (ours, tokens):
        torch.testing.assert_close(found.states, theirs.states)
        torch.testing.assert_close(found.pooled, theirs.pooled)
