"""The ordinary world: the same pictures and captions for the same seed, in words that the tokenizer knows."""

import subprocess
import sys

import numpy as np
from transformers import CLIPTokenizer

from lorabench.mini import base_path
from lorabench.mini.renderer import held_out, render
from lorabench.mini.vocabulary import TRIGGER_WORDS, caption_words
from lorabench.mini.world import captions, sample_picture


def test_pictures_depend_on_the_seed_alone():
    first, _ = held_out(12, 3)
    again, pictures = held_out(12, 3)
    other, _ = held_out(12, 4)
    assert first.shape == (12, 64, 64, 3) and first.dtype == np.uint8
    assert (first == again).all()
    assert not (first == other).all()
    assert (render(pictures[5]) == first[5]).all()


def test_global_random_state_is_left_alone():
    before = np.random.get_state()[1].copy()
    held_out(4, 0)
    assert (np.random.get_state()[1] == before).all()


def test_captions_use_known_words_and_no_trigger():
    rng, known = np.random.default_rng(0), set(caption_words())
    words = set()
    for _ in range(1500):
        for caption in captions(sample_picture(rng)):
            words |= set(caption.replace(",", " ").split())
    assert words <= known, words - known
    assert not words & set(TRIGGER_WORDS)


def test_every_word_and_every_trigger_word_is_one_token():
    tokenizer = CLIPTokenizer.from_pretrained(base_path() / "tokenizer")
    for word in (*caption_words(), *TRIGGER_WORDS):
        assert len(tokenizer(word).input_ids) == 3, word
    assert tokenizer.pad_token_id == 0
    assert tokenizer.eos_token_id == len(tokenizer) - 1


def test_importing_the_package_does_not_import_torch():
    code = "import sys, lorabench.mini; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
