"""`lorabench merge`: the file draws what its parents draw together, in every format; what cannot be is a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import lorabench_here
from saved_adapters import stated, trained
from tiny_base import write_tiny_base

from lorabench import adapters, base_models, diffusion, formats
from lorabench.components import Origin
from lorabench.records import Sampling
from lorabench.sampler import sampler_of

SAMPLING = Sampling(steps=4, guidance=5.0, size=16, max_tokens=14)


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> str:
    return str(write_tiny_base(tmp_path_factory.mktemp("base") / "tiny"))


def loaded(base: str) -> base_models.BaseModel:
    return base_models.load_base(base_models.base_of(base), torch.device("cpu"))


def saved(folder: Path, base: str, name: str, layers: str, to: str = "kohya", **values: float) -> Path:
    adapter = trained(loaded(base).components, name, layers, **values)
    path = folder / (f"{name}-{to}" + ("" if to == "peft" else ".safetensors"))
    formats.save_adapter(path, adapter, stated(adapter), Origin("tiny-0", 1, 1, 10), "float32", to)
    return path


def drawn(base: str, *parents: tuple[Path, float]) -> np.ndarray:
    model = loaded(base)
    held = [(formats.load_adapter(path, model.components)[0], ratio) for path, ratio in parents]
    noise = torch.stack([diffusion.gaussian_noise(seed, (4, 8, 8)) for seed in range(4)])
    with adapters.swapped(model.components, *held), torch.no_grad():
        texts, none = (diffusion.encode_prompts(model, [text] * 4, 14) for text in ("a red dog", ""))
        return sampler_of(model).sample(texts, none[:1], noise, SAMPLING).astype(int)


@pytest.mark.parametrize("to", ["kohya", "diffusers", "peft"])
def test_the_merge_draws_what_the_pair_draws_in_every_format(base, tmp_path, to):
    one = saved(tmp_path, base, "lora", "linear", to, dim=4, alpha=1.0)
    other = saved(tmp_path, base, "lora", "attention", "peft" if to == "kohya" else "kohya", dim=2)
    out = tmp_path / ("both" if to == "peft" else "both.safetensors")
    words = (f"{one}:0.5", f"{other}:-0.8", "-o", str(out), "--base", base, "--to", to, "--json")
    done = lorabench_here("merge", *words)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["algorithm"] == "lora" and said["parents"] == {str(one): 0.5, str(other): -0.8}
    ours, theirs = drawn(base, (out, 1.0)), drawn(base, (one, 0.5), (other, -0.8))
    assert np.abs(ours - theirs).max() <= 1
    assert np.abs(ours - drawn(base)).max() > 1  # the base model alone
    half = drawn(base, (out, 0.0))
    assert np.array_equal(half, drawn(base))


def test_kinds_that_share_nothing_are_one_file(base, tmp_path):
    one = saved(tmp_path, base, "loha", "full", dim=2)
    other = saved(tmp_path, base, "oft", "linear", dim=4)
    out = tmp_path / "both.safetensors"
    done = lorabench_here("merge", str(one), f"{other}:0.5", "-o", str(out), "--base", base)
    assert done.returncode == 0, done.stderr
    assert "cosine" in done.stdout
    assert np.abs(drawn(base, (out, 1.0)) - drawn(base, (one, 1.0), (other, 0.5))).max() <= 1
    again = tmp_path / "compressed.safetensors"
    done = lorabench_here(
        "merge", str(out), "-o", str(again), "--base", base, "--method", "svd", "--rank", "2", "--json"
    )
    assert done.returncode == 0, done.stderr
    assert 0 < json.loads(done.stdout)["error"] < 1


def test_what_cannot_be_merged_is_a_sentence(base, tmp_path):
    one = saved(tmp_path, base, "lora", "linear", dim=4)
    full = saved(tmp_path, base, "native", "linear")
    out = tmp_path / "out.safetensors"
    for words, said in [
        ([f"{one}:0"], "nothing is left"),
        ([str(one), str(one)], "named twice"),
        ([f"{one}:nan"], f"ratio of {one} is nan: a ratio is a number from -1000 to 1000"),
        ([f"{one}:1e38", str(full)], f"ratio of {one} is 1e+38"),
        ([f"{one}:0,5", str(full)], f"'0,5' behind {one} is no ratio"),
        ([str(one), f"{one.parent}/./{one.name}"], "named twice"),
        ([str(one), str(full), "--density", "0.3"], "--density is of ties and dare, and the method is linear"),
        ([str(one), str(full), "--method", "ties", "--seed", "1"], "--seed is of dare, and the method is ties"),
        ([str(tmp_path / "nowhere.safetensors:1")], "does not exist"),
        ([str(one), "--method", "tied"], "Unknown method 'tied'"),
        ([str(full), "--method", "svd"], "none of the adapters has a rank"),
        ([str(one), str(full), "--to", "diffusers"], "cannot hold"),
        ([str(one), "--density", "0"], "--density"),
    ]:
        done = lorabench_here("merge", *words, "-o", str(out), "--base", base)
        assert done.returncode == 2 and said in done.stderr, (words, done.stderr)
        assert not out.exists()
    out.write_text("mine")
    done = lorabench_here("merge", str(one), "-o", str(out), "--base", base)
    assert done.returncode == 2 and "exists" in done.stderr and out.read_text() == "mine"
