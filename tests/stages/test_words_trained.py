"""Textual inversion: words are trained as by hand with transformers, beside an update too, and saved for others."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from changed_configs import changed
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file
from tiny_base import write_tiny_sdxl

import lorabench
from lorabench import adapters, base_models, components, diffusion, formats
from lorabench.components import Origin
from lorabench.errors import UserError
from lorabench.pipeline.training_sets import trained_words
from lorabench.records import AdapterConfig, Concept, Dataset, TrainConfig, TrainingConfig, TrainingImage
from lorabench.stages import losses, samples
from lorabench.stages import train as stage

TRAINING = TrainingConfig(
    1e-2, epochs=3, checkpoint_epochs=(3,), batch_size=4, caption_dropout=0.0, resolution=16, max_tokens=14
)
ALONE = TrainConfig("words", AdapterConfig("textual_inversion", "embeddings", vectors=2), TRAINING)
PIVOTAL = TrainConfig("pivotal", AdapterConfig("lora", "linear", dim=2, alpha=1, vectors=1), TRAINING)
WORDS = {"<sks>": "red dog"}


def loaded(folder):
    return base_models.load_base(base_models.base_of(str(folder)), torch.device("cpu"))


@pytest.fixture(scope="module")
def pictures(plain_pictures):
    return plain_pictures(["a <sks> dog on the beach"] * 6)


def train(base, pictures, config, **options):
    algorithm = components.find("algorithms", config.adapter.algorithm)
    return list(stage.train(base, pictures, config, algorithm, 1, words=WORDS, **options))[-1]


def test_it_is_the_training_of_new_rows_of_the_embedding(base, pictures):
    """By hand: two tokens more in transformers' own table, of which the other rows are put back after each step."""
    found = train(base, pictures, ALONE).adapter.words["<sks>"]["text_encoder"]
    encoder = copy.deepcopy(base.text_encoders["text_encoder"])
    known = len(encoder.get_input_embeddings().weight)
    encoder.resize_token_embeddings(known + 2, mean_resizing=False)
    table = encoder.get_input_embeddings().weight
    begin = base.tokenizers["text_encoder"]("red dog", add_special_tokens=False).input_ids
    with torch.no_grad():
        table[known:] = table[begin]
    before = table.detach().clone()
    table.requires_grad_()
    byhand = replace(base, text_encoders={"text_encoder": encoder})
    encoded = samples.encode_images(base, pictures, TRAINING)
    examples, _ = samples.examples_of(byhand, pictures, encoded, TRAINING.max_tokens)
    tokenizer = base.tokenizers["text_encoder"]
    ids = [
        *tokenizer("a", add_special_tokens=False).input_ids,
        *(known, known + 1),
        *tokenizer("dog on the beach", add_special_tokens=False).input_ids,
    ]
    tokens = examples.tokens.clone()
    tokens[:] = tokenizer.pad_token_id
    tokens[..., 0], tokens[..., len(ids) + 1] = tokenizer.bos_token_id, tokenizer.eos_token_id
    tokens[..., 1 : len(ids) + 1] = torch.tensor(ids)
    examples = replace(examples, tokens=tokens)
    optimizer = torch.optim.AdamW([table], lr=1e-2, betas=TRAINING.betas, weight_decay=TRAINING.weight_decay)
    step = 0
    for epoch in range(3):
        for drawn in samples.epoch_batches(examples, 4, 1, epoch):
            batch = samples.draw_batch(byhand, examples, drawn, 1, step, TRAINING)
            texts = diffusion.embed_tokens(byhand, batch.tokens)
            answer = diffusion.noise_prediction(
                byhand, batch.latents, texts, batch.noise, batch.timesteps, batch.sizes, seen_noise=batch.seen_noise
            )
            optimizer.zero_grad()
            losses.sample_losses(
                TRAINING, *answer, batch.timesteps, base.alphas_cumprod, False, batch.mask
            ).mean().backward()
            table.grad[:known] = 0
            torch.nn.utils.clip_grad_norm_([table], 1.0)
            optimizer.step()
            with torch.no_grad():
                table[:known] = before[:known]
            step += 1
    assert not torch.equal(found, before[known:])
    torch.testing.assert_close(found, table[known:].detach(), rtol=1e-4, atol=1e-6)
    assert len(base.text_encoders["text_encoder"].get_input_embeddings().weight) == known


def test_vectors_begin_as_the_initial_word(base):
    table = base.text_encoders["text_encoder"].get_input_embeddings().weight
    red, dog = table[base.tokenizers["text_encoder"]("red dog", add_special_tokens=False).input_ids]
    spread = {n: diffusion.words_like(base, WORDS, n)["<sks>"]["text_encoder"] for n in (1, 2, 3, 4)}
    assert torch.allclose(spread[1], (red + dog)[None] / 2)
    for count, expected in ((2, [red, dog]), (3, [red, red, dog]), (4, [red, red, dog, dog])):
        assert torch.equal(spread[count], torch.stack(expected))


def test_a_word_and_an_update_are_trained_together_at_their_own_rates(base, pictures):
    pivotal = train(base, pictures, PIVOTAL).adapter
    still = train(base, pictures, changed(PIVOTAL, embedding_lr=1e-12)).adapter
    begin = diffusion.words_like(base, WORDS, 1)["<sks>"]["text_encoder"]
    assert torch.allclose(still.words["<sks>"]["text_encoder"], begin, atol=1e-9)
    assert not torch.allclose(pivotal.words["<sks>"]["text_encoder"], begin, atol=1e-4)
    assert all(params["lora_up.weight"].any() for params in still.modules.values())


@pytest.mark.parametrize("config", [ALONE, PIVOTAL], ids=lambda config: config.name)
def test_it_goes_on_from_any_step(base, pictures, config):
    whole, states = train(base, pictures, config), []
    train(base, pictures, config, on_state=lambda _, make: states.append(make()))
    again = train(base, pictures, config, resume=states[2])
    vectors = [each.adapter.words["<sks>"]["text_encoder"] for each in (whole, again)]
    assert torch.equal(*vectors) and whole.trace.losses[-2:] == again.trace.losses[-2:]


@pytest.mark.parametrize("config", [ALONE, PIVOTAL], ids=lambda config: config.name)
def test_files_hold_the_words(base, pictures, config, tmp_path):
    made = train(base, pictures, config).adapter
    formats.save_adapter(tmp_path / "a.safetensors", made, config, Origin("tiny-0", 1, 3, 6), "float32")
    found, read = formats.load_adapter(tmp_path / "a.safetensors", base.components)
    assert read.config == config and found.words.keys() == {"<sks>"} and found.modules.keys() == made.modules.keys()
    assert torch.equal(found.words["<sks>"]["text_encoder"], made.words["<sks>"]["text_encoder"])


def test_diffusers_and_a1111_read_the_embedding(base, tiny_folder, pictures, tmp_path):
    """diffusers calls the word by its key; A1111 takes the only tensor and the file's name."""
    made = train(base, pictures, ALONE).adapter
    formats.save_adapter(tmp_path / "a.safetensors", made, ALONE, Origin("tiny-0", 1, 3, 6), "float32")
    file = tmp_path / "<sks>.safetensors"
    lorabench.convert(tmp_path / "a.safetensors", file, to="embedding", base=str(tiny_folder))
    (tensor,) = load_file(file).values()
    assert tensor.shape == (2, 16)
    pipe = StableDiffusionPipeline.from_pretrained(tiny_folder, safety_checker=None)
    pipe.load_textual_inversion(file)
    prompt = pipe.maybe_convert_prompt("a <sks> dog", pipe.tokenizer)
    with torch.no_grad():
        ids = pipe.tokenizer(prompt, padding="max_length", max_length=16, return_tensors="pt").input_ids
        theirs = pipe.text_encoder(ids).last_hidden_state
        with diffusion.with_words(base, formats.load_adapter(file, base.components)[0].words) as knowing:
            ours = diffusion.encode_prompts(knowing, ["a <sks> dog"], 14).states
    torch.testing.assert_close(ours, theirs)


def test_sdxl_trains_a_vector_for_each_text_encoder(pictures, tmp_path):
    base = loaded(write_tiny_sdxl(tmp_path / "sdxl"))
    config = changed(ALONE, vectors=1, epochs=1, checkpoint_epochs=(1,))
    made = train(base, pictures, config).adapter
    begin = diffusion.words_like(base, WORDS, 1)["<sks>"]
    for name, vectors in made.words["<sks>"].items():
        assert not torch.equal(vectors, begin[name])
    formats.save_adapter(
        tmp_path / "<sks>.safetensors", made, config, Origin("tiny-0", 1, 1, 2), "float32", "embedding"
    )
    assert load_file(tmp_path / "<sks>.safetensors").keys() == {"clip_l", "clip_g"}
    found = formats.load_adapter(tmp_path / "<sks>.safetensors", base.components)[0].words["<sks>"]
    assert all(torch.equal(found[name], vectors) for name, vectors in made.words["<sks>"].items())


def test_words_are_counted_for_every_text_encoder():
    """SD1.5's is 768 wide, SDXL's are 768 and 1280."""
    assert lorabench.count("textual_inversion", vectors=3)["parameters"] == 3 * 768
    beside, alone = (lorabench.count("lora", base="sdxl", dim=4, vectors=n)["parameters"] for n in (2, None))
    assert beside - alone == 2 * (768 + 1280)


def test_what_cannot_be_learned_is_refused(base):
    def dataset(caption="a sks dog", **words):
        concept = Concept("toys", "x", "", **({"trigger": "sks", "class_word": "dog"} | words))
        picture = TrainingImage("toys/x", "x.png", caption)
        return Dataset("x", "", "", "", (concept,), (picture,), "")

    assert trained_words(dataset(), ALONE) == {"sks": "dog"}
    assert trained_words(dataset(), changed(ALONE, initial_word="red robot")) == {"sks": "red robot"}
    assert trained_words(dataset("a dog"), changed(PIVOTAL, vectors=None)) == {}
    with pytest.raises(UserError, match="no trigger"):
        trained_words(dataset(trigger=""), ALONE)
    with pytest.raises(UserError, match="no class word"):
        trained_words(dataset(class_word=""), ALONE)
    with pytest.raises(UserError, match="No caption of concept 'toys/x' holds 'sks'"):
        trained_words(dataset("a skswood dog"), ALONE)
    algorithm = components.find("algorithms", "textual_inversion")
    for wrong in ({"vectors": None}, {"trained_layers": "linear"}):
        with pytest.raises(UserError, match="trains words and no layer"):
            adapters.check_config(algorithm, changed(ALONE, **wrong).adapter)
    with pytest.raises(UserError, match="no dim"):
        adapters.check_config(algorithm, changed(ALONE, dim=4).adapter)
