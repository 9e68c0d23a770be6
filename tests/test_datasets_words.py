"""Words of a concept that neither captions nor folders say: from options, from adapters' metadata, or asked for."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import SMOKE, lorabench_here
from safetensors.numpy import load_file, save_file

from lorabench import images
from lorabench.datasets import Words
from lorabench.datasets.adapter_words import words_in_metadata

ONE_FOLDER = {"ss_dataset_dirs": json.dumps({"10_sks dog": {"n_repeats": 10, "img_count": 4}})}


def tags(**folders: dict[str, int]) -> dict[str, str]:
    return {"ss_tag_frequency": json.dumps(folders)}


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ([{"modelspec.trigger_phrase": "zwx cat, red"} | ONE_FOLDER], [("zwx", "cat")]),
        ([ONE_FOLDER], [("sks", "dog")]),
        ([ONE_FOLDER, {}, {"ss_epoch": "2"}, ONE_FOLDER], [("sks", "dog")]),
        # the tag that all captions have, before a folder's name that none has
        ([ONE_FOLDER | tags(**{"10_sks dog": {"1girl": 3, "ohwx": 4, "smile": 2}})], [("ohwx", "")]),
        ([ONE_FOLDER | tags(**{"10_sks dog": {"brown": 4, "sks dog": 4}})], [("sks", "dog")]),
        # captions that are sentences: each is there once
        ([ONE_FOLDER | tags(**{"10_sks dog": {"a dog on grass": 1, "a dog at sea": 1}})], [("sks", "dog")]),
        ([tags(**{"10_sks dog": {"sks dog": 4}})], [("sks", "dog")]),
        ([tags(pictures={"zwx": 7, "red": 3})], [("zwx", "")]),
        # class images call nothing
        (
            [
                {
                    "ss_dataset_dirs": '{"10_sks dog": {}, "1_dog": {}}',
                    "ss_reg_dataset_dirs": '{"1_dog": {"img_count": 100}}',
                }
            ],
            [("sks", "dog")],
        ),
        ([{"ss_dataset_dirs": '{"10_sks dog": {}, "4_zwx cat": {}}'}], [("sks", "dog"), ("zwx", "cat")]),
        # it only informs: what is broken says nothing
        ([{"ss_dataset_dirs": "[1", "ss_tag_frequency": '{"a": 3}'}, {}], []),
        ([{"ss_dataset_dirs": '{"pictures": {"img_count": 4}}'}], []),
    ],
)
def test_words_in_the_metadata_of_adapters(headers, found):
    assert [(words.trigger, words.class_word) for words in words_in_metadata(headers)] == found


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """Pictures that nobody has said a word about."""
    rng = np.random.default_rng(0)
    for number in range(3):
        images.write(tmp_path / f"flat/{number}.png", rng.integers(0, 256, (64, 64, 3), np.uint8))
    return tmp_path / "flat"


def adapter(smoke_run: Path, folder: Path, metadata: dict[str, str]) -> Path:
    folder.mkdir(exist_ok=True)
    source = smoke_run / "checkpoints/lora-linear-d4a2-lr5e-3/seed-1/epoch-0002/adapter.safetensors"
    save_file(load_file(source), folder / f"{len(list(folder.iterdir()))}.safetensors", metadata)
    return folder


def test_evaluate_takes_words_from_metadata_else_from_options_else_asks(smoke_run, tmp_path, flat):
    loras = adapter(smoke_run, tmp_path / "loras", {})
    words = ["evaluate", str(loras), "--base", "mini", "--data", str(flat), "--dry-run", "--out", str(tmp_path / "r")]
    refused = lorabench_here(*words)
    assert refused.returncode == 2 and len(refused.stderr.splitlines()) == 1, refused.stderr
    assert "neither trigger nor class_word" in refused.stderr and "--trigger sks --class-word dog" in refused.stderr
    said = lorabench_here(*words, "--trigger", "sks", "--class-word", "dog")
    assert said.returncode == 0, said.stderr
    assert "trigger 'sks', class word 'dog' (--trigger, --class-word" in said.stdout
    assert "3 of 3 pictures of 'flat/flat' have no caption: theirs is 'sks dog'" in said.stdout
    adapter(smoke_run, loras, {"ss_dataset_dirs": '{"10_zwx cat": {"img_count": 3}}'})
    taken = lorabench_here(*words)
    assert taken.returncode == 0, taken.stderr
    assert "trigger 'zwx', class word 'cat'" in taken.stdout
    assert taken.stdout.count("'zwx cat' are from the adapters' metadata (ss_dataset_dirs)") == 1
    adapter(smoke_run, loras, {"modelspec.trigger_phrase": "sks dog"})
    several = lorabench_here(*words)
    assert several.returncode == 2 and "metadata say 'zwx cat'" in several.stderr and "'sks dog'" in several.stderr


def test_a_study_says_words_or_the_options_of_grid_do(tmp_path, flat):
    text = SMOKE.replace("lorabench:mini/dataset", str(flat)).replace(
        'concepts = ["scenes/volcano", "stuffed_toys/octo", "styles/riso"]\n', ""
    )
    study = tmp_path / "study.toml"
    study.write_text(text)
    words = ["grid", str(study), "--dry-run", "--out", str(tmp_path / "r")]
    refused = lorabench_here(*words)
    assert refused.returncode == 2 and "class_word of [data] in a study" in refused.stderr
    assert "trigger 'sks'" in lorabench_here(*words, "--trigger", "sks").stdout
    study.write_text(text.replace("[data]\n", '[data]\ntrigger = "zwx"\nclass_word = "cat"\n'))
    done = lorabench_here(*words)
    assert done.returncode == 0 and "trigger 'zwx', class word 'cat'" in done.stdout, done.stderr
    assert "trigger 'sks', class word 'cat'" not in lorabench_here(*words, "--trigger", "sks").stdout


def test_init_counts_the_captions_that_a_layout_gives(tmp_path, flat):
    shutil.move(flat, tmp_path / "set/10_sks dog")
    done = lorabench_here("init", str(tmp_path / "first"), "--data", str(tmp_path / "set"), "--base", "mini")
    assert done.returncode == 0, done.stderr + done.stdout
    study = (tmp_path / "first/study.toml").read_text()
    assert "# read as kohya's folders" in study and "epochs = 32 " in study  # 960 samples of 3 pictures x 10
    assert not list((tmp_path / "set").rglob("*.txt"))
    assert not Words()
