"""Which files a base model's name stands for: variants, pinned revisions, and what is said where they are not here."""

from __future__ import annotations

import fnmatch
import re
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from tiny_base import write_tiny_base

from lorabench import base_models, config, hashes
from lorabench.base_files import find_base
from lorabench.base_names import BaseName, parse_base
from lorabench.config import base_source
from lorabench.errors import UserError
from lorabench.shipped import study_file

HUB_ID, COMMIT = "stable-diffusion-v1-5/stable-diffusion-v1-5", "451f4fe16113bff5a5d2269ed5ad43b0592e9a14"
PAPER = f"{HUB_ID}@{COMMIT}:non_ema"
NON_EMA = "unet/diffusion_pytorch_model.non_ema.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny base with a U-Net of its own under the variant's name."""
    folder = write_tiny_base(tmp_path_factory.mktemp("base"))
    tensors = load_file(folder / "unet/diffusion_pytorch_model.safetensors")
    save_file({name: tensor * 1.5 for name, tensor in tensors.items()}, folder / NON_EMA)
    return folder


@pytest.fixture
def cache(folder, tmp_path, monkeypatch):
    """The hub's cache, with that folder as one commit of SD1.5's repository."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / f"models--{HUB_ID.replace('/', '--')}"
    snapshot = shutil.copytree(folder, repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text(COMMIT)
    return snapshot


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (PAPER, (HUB_ID, COMMIT, "non_ema")),
        (HUB_ID, (HUB_ID, "", "")),
        (f"{HUB_ID}:fp16", (HUB_ID, "", "fp16")),
        (f"{HUB_ID}@main", (HUB_ID, "main", "")),
        ("../models/sd15:non_ema", ("../models/sd15", "", "non_ema")),
        ("/models/a:b/sd15", ("/models/a:b/sd15", "", "")),
    ],
)
def test_parts_of_a_name(text, parts):
    assert parse_base(text) == BaseName(*parts)


def test_a_path_that_is_there_is_no_variant(tmp_path):
    (tmp_path / "sd15:non_ema").mkdir()
    assert parse_base(str(tmp_path / "sd15:non_ema")) == BaseName(str(tmp_path / "sd15:non_ema"))


def test_the_papers_base_is_the_unet_that_was_not_averaged(cache):
    """What configs/paper.toml resolves to, file by file."""
    source = config.load_study(study_file("paper")).base
    assert source == PAPER
    found = find_base(source)
    assert (found.path, found.revision) == (cache, COMMIT)
    assert {name: str(file.relative_to(cache)) for name, file in found.weights.items()} == {
        "unet": "unet/diffusion_pytorch_model.non_ema.safetensors",
        "vae": "vae/diffusion_pytorch_model.safetensors",
        "text_encoder": "text_encoder/model.safetensors",
    }
    facts = find_base(source).facts()
    assert facts["revision"] == COMMIT and list(facts["sha256"])[0] == NON_EMA
    usual = find_base(HUB_ID)
    assert usual.revision == COMMIT and usual.weights["unet"].name == "diffusion_pytorch_model.safetensors"


def test_a_variant_is_loaded_and_has_an_id_of_its_own(folder, tmp_path):
    variant = base_models.load_base(base_models.base_of(f"{folder}:non_ema"), torch.device("cpu"))
    usual = base_models.load_base(base_models.base_of(str(folder)), torch.device("cpu"))
    name = "conv_in.weight"
    assert torch.equal(variant.unet.get_parameter(name), usual.unet.get_parameter(name) * 1.5)
    assert torch.equal(variant.vae.encoder.conv_in.weight, usual.vae.encoder.conv_in.weight)
    assert variant.id == find_base(f"{folder}:non_ema").id != usual.id
    alike = shutil.copytree(folder, tmp_path / "alike")
    (alike / NON_EMA).replace(alike / "unet/diffusion_pytorch_model.safetensors")
    assert find_base(str(alike)).id == variant.id  # the same content under the usual name


def test_a_study_names_a_folders_variant(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "models" / "sd15")
    expected = f"{tmp_path}/models/sd15:non_ema"
    assert base_source("models/sd15:non_ema", tmp_path) == expected  # without ./, since it is there
    assert base_source("./models/sd15:non_ema", tmp_path) == expected
    assert base_source(PAPER, tmp_path) == PAPER


def test_what_is_not_here_is_said_with_the_command_that_brings_it(folder, cache, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="no variant 'ema'"):
        find_base(f"{folder}:ema")
    (cache / NON_EMA).unlink()  # people have the averaged one
    with pytest.raises(UserError) as lacking:
        find_base(PAPER)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    with pytest.raises(UserError) as absent:
        find_base(PAPER)
    for refusal in (str(lacking.value), str(absent.value)):
        command = re.search(r"`hf download (.*?)`", refusal)[1]
        assert command.startswith(f"{HUB_ID} --revision {COMMIT} --include ")
        patterns = re.findall(r'"(.*?)"', command)
        assert {file for file in OF_THE_REPOSITORY if any(fnmatch.fnmatch(file, each) for each in patterns)} == WANTED


# Of the files in the hub's repository those that matter here.
WANTED = {
    *("model_index.json", "unet/config.json", "vae/config.json", "text_encoder/config.json", "tokenizer/vocab.json"),
    *("scheduler/scheduler_config.json", "tokenizer/merges.txt", NON_EMA, "vae/diffusion_pytorch_model.safetensors"),
    "text_encoder/model.safetensors",
}
OF_THE_REPOSITORY = {
    *WANTED,
    *("unet/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.fp16.safetensors"),
    *("unet/diffusion_pytorch_model.non_ema.bin", "v1-5-pruned.safetensors", "v1-5-pruned-emaonly.safetensors"),
    *("vae/diffusion_pytorch_model.fp16.safetensors", "text_encoder/model.fp16.safetensors", "README.md"),
}


def test_names_that_cannot_be(folder, tmp_path):
    file = tmp_path / "model.safetensors"
    save_file({"x": torch.zeros(1)}, file)
    for source, words in [(f"{file}:non_ema", "single file"), (f"{folder}@main", "leave out '@main'")]:
        with pytest.raises(UserError, match=words):
            find_base(source)


def test_a_large_file_is_hashed_once(tmp_path, monkeypatch):
    """Until it changes; a cache that is damaged or cannot be written costs a reading, no more."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(hashes, "LARGE", 4)
    reads = []
    monkeypatch.setattr(hashes, "file_hash", lambda path: reads.append(path) or f"{len(reads):064}")
    file = tmp_path / "weights.safetensors"
    file.write_bytes(b"12345")
    assert hashes.sha256_of(file) == hashes.sha256_of(file) == f"{1:064}" and len(reads) == 1
    file.write_bytes(b"54321")
    assert hashes.sha256_of(file) == f"{2:064}"
    (record,) = (tmp_path / "cache/lorabench/hashes").iterdir()
    record.write_text("{")
    assert hashes.sha256_of(file) == hashes.sha256_of(file) == f"{3:064}"
    small = tmp_path / "small"
    small.write_bytes(b"1")
    hashes.sha256_of(small)
    assert len(list(record.parent.iterdir())) == 1
    monkeypatch.setenv("XDG_CACHE_HOME", str(file))  # no folder can be made there
    assert hashes.sha256_of(file) == f"{len(reads):064}"


def test_hashes_are_sha256(tmp_path):
    Path(tmp_path / "abc").write_bytes(b"abc")
    assert hashes.sha256_of(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
