"""Checkpoint files that cannot be used are refused with one sentence that names file and key."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from saved_adapters import peft_models, rewritten, saved, tiny, trained
from torch import nn

from lorabench import formats
from lorabench.errors import UserError


def refusal(path: Path, base: dict[str, nn.Module] | None = None) -> str:
    with pytest.raises(UserError) as error:
        formats.load_adapter(path, base or tiny())
    assert str(path) in str(error.value)
    return str(error.value)


UP = "lora_unet_conv_in.lora_up.weight"


@pytest.fixture
def lora_file(tmp_path) -> Path:
    return saved(tmp_path, trained(tiny(), "lora", dim=4, alpha=1.0))


def test_damaged_and_missing_files(tmp_path, lora_file):
    whole = lora_file.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:5], b"", b"\xff" * 64):
        lora_file.write_bytes(damaged)
        assert "is not a whole safetensors file" in refusal(lora_file)
    assert "does not exist" in refusal(tmp_path / "nowhere.safetensors")
    assert "no checkpoint of a kind that lorabench reads: diffusers, embedding, kohya, peft" in refusal(tmp_path)


@pytest.mark.parametrize("suffix", [".pt", ".ckpt", ".bin"])
def test_pickles_are_refused_unopened(tmp_path, suffix):
    path = tmp_path / f"adapter{suffix}"
    path.write_bytes(b"not even a pickle")
    sentence = refusal(path)
    assert "can run any code" in sentence and "safetensors.torch.save_file" in sentence
    for name in ("renamed.safetensors", "folder/pytorch_lora_weights.bin"):  # by its content, and in a folder
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        torch.save({"a": torch.ones(2)}, file)
        with pytest.raises(UserError, match="can run any code"):
            formats.read_adapter(file if file.parent == tmp_path else file.parent)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t[UP].view(-1)[:1].fill_(float("nan")), [UP, "NaN or infinity"]),
        (lambda t: t[UP].view(-1)[:1].fill_(float("inf")), [UP, "NaN or infinity"]),
        (lambda t: t.update({UP: t[UP].to(torch.int32)}), [UP, "holds no weights, but torch.int32"]),
        (lambda t: t.update({UP: t[UP][:, :0]}), [UP, "holds no weights"]),
        (
            lambda t: t.update({"lora_unet_conv_in.vera_lambda_b": torch.ones(8)}),
            ["conv_in.vera_lambda_b'", "it reads a1.weight, a2.weight, alpha"],
        ),
        (lambda t: t.update({"lora_unet_conv_in.dora_scale": torch.ones(8)}), ["dora_scale [8]", "does not fit"]),
        (lambda t: t.pop(UP), ["'lora_unet_conv_in' lacks 'lora_up.weight'"]),
        (lambda t: t.update({UP: torch.ones(9, 4, 1, 1)}), ["[9, 4, 1, 1]", "[8, 4, 3, 3]", "made for another base?"]),
        (
            lambda t: t.update({"lora_unet_mid_block_resnets_0_norm1.w_norm": torch.ones(9)}),
            ["norm1' does not fit", "made for another base?"],
        ),
        (
            lambda t: t.update(
                {"lora_unet_conv_im.lora_up.weight": t.pop(UP), "lora_unet_conv_im.alpha": torch.ones(())}
            ),
            ["1 of its", "'lora_unet_conv_im'", "was it made for another base?"],
        ),
        (lambda t: t.update({"lora_unet_nowhere.alpha": torch.ones(())}), ["'lora_unet_nowhere.alpha' stands alone"]),
        (lambda t: t.update({"lora_unet_conv_in.diff": torch.ones(8, 4, 3, 3)}), ["is of no algorithm", "diff, lora_"]),
        (
            lambda t: t.update({"lora_te_encoder_layers_0_mlp_fc1.diff_b": torch.ones(64)}),
            ["are the same module"],
        ),
        (
            lambda t: t.update({"unet.conv_in.lora_A.weight": torch.ones(4, 4, 3, 3)}),
            ["'lora_te_text_model_encoder_layers_0_mlp_fc1.alpha' is no key of diffusers"],
        ),
    ],
)
def test_faulty_tensors_are_named(lora_file, change, words):
    sentence = refusal(rewritten(lora_file, change))
    assert all(word in sentence for word in words), sentence
    assert "\n" not in sentence


def test_a_file_of_another_base(lora_file):
    other = tiny()
    del other["text_encoder"]
    assert "modules are not in this base model" in refusal(lora_file, other)
    narrow = tiny()
    narrow["unet"].conv_in = nn.Conv2d(4, 6, 3)
    assert "does not fit this base model" in refusal(lora_file, narrow)


def test_an_empty_file(tmp_path):
    path = tmp_path / "empty.safetensors"
    save_file({}, path)
    assert "no checkpoint of a kind" in refusal(path)


def test_damaged_metadata(lora_file):
    refused = refusal(rewritten(lora_file, lambda tensors: None, {"lorabench": "{"}))
    assert "'lorabench' metadata is damaged" in refused
    # What kohya's trainer wrote is beside the point, however odd.
    odd = {"ss_seed": "nan", "ss_num_epochs": "inf", "ss_steps": "many"}
    assert formats.read_adapter(rewritten(lora_file, lambda tensors: None, odd)).origin.seed is None


@pytest.mark.parametrize("metadata", ["[]", '{"unet.lora_alpha": "x"}', '{"unet.init_lora_weights": "olora"}'])
def test_damaged_metadata_of_diffusers(tmp_path, metadata):
    path, key = tmp_path / "some.safetensors", "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q.lora"
    ends = {f"{key}.down.weight": torch.ones(4, 16), f"{key}.up.weight": torch.ones(16, 4)}
    save_file(ends, path, {"lora_adapter_metadata": metadata})
    refusal(path)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"peft_type": "VERA"}, "VERA with alpha_pattern cannot be read"),
        ({"peft_type": "LOHA", "alpha": 4}, "lacks 'hada_w1_b'"),
        ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights 'pissa_niter_4' changes the base model"),
        ({"use_qalora": True}, "use_qalora makes it another method"),
        ({"modules_to_save": ["conv_out"]}, "more than an adapter was trained"),
        ({"bias": "all"}, "more than an adapter was trained"),
        ({"lora_alpha": "x"}, "'lora_alpha': input should be a valid number, got 'x'"),
        ({"alpha_pattern": {"to_q": None}}, "'alpha_pattern.to_q': input should be a valid number, got None"),
        ({"alpha_pattern": {"(": 3}}, "'(' is no regular expression"),
    ],
)
def test_peft_variants_that_are_not_read(tmp_path, change, word):
    peft_models(tiny())["unet"].save_pretrained(tmp_path)
    file = tmp_path / "adapter_config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps(config | change))
    assert word in refusal(tmp_path)
    file.write_text(json.dumps({name: value for name, value in config.items() if name != "lora_alpha"}))
    assert "has no alpha" in refusal(tmp_path)
    file.write_text("[]")
    assert "input should be an object, got []" in refusal(tmp_path)


def test_numbers_too_large_for_half_precision_are_not_saved(tmp_path):
    adapter = trained(tiny(), "lora", dim=4)
    with torch.no_grad():
        adapter.modules["unet.conv_in"]["lora_up.weight"][0, 0] = 1e6
    with pytest.raises(UserError, match="'lora_unet_conv_in.lora_up.weight' goes up to 1e\\+06"):
        saved(tmp_path, adapter, "float16")
    assert not list(tmp_path.iterdir())


def test_keys_may_stay_unused_where_they_are_named(lora_file):
    def add(tensors: dict) -> None:
        tensors |= {"lora_te_x.lora_down.weight": torch.ones(4, 3), "lora_te_x.alpha": torch.tensor(1.0)}
        tensors["junk"] = torch.ones(2)

    path = rewritten(lora_file, add)
    assert "no algorithm of lorabench knows the end of key 'junk'" in refusal(path)
    with pytest.raises(UserError, match="'lora_te_x' for one"):
        formats.load_adapter(path, tiny(), unused=["junk"])
    found = formats.load_adapter(path, tiny(), unused=["junk", "lora_te_x*"])[0]
    assert "lora_te_x" not in found.modules and len(found.modules) > 1
