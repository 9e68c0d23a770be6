"""What lorabench writes comes back, and files without its metadata tell what they are."""

import json
import os
import re
from importlib.metadata import version

import numpy as np
import pytest
import torch
from safetensors import safe_open
from saved_adapters import ALGORITHMS, rewritten, saved, stated, tiny, trained

from lorabench import adapters, formats, store
from lorabench.components import Origin
from lorabench.formats import _safetensors
from lorabench.records import AdapterConfig, TrainConfig, TrainingConfig


@pytest.mark.parametrize(("name", "values"), ALGORITHMS)
def test_an_adapter_comes_back_exactly(tmp_path, name, values):
    base = tiny()
    adapter = trained(base, name, **values)
    found, loaded = formats.load_adapter(saved(tmp_path, adapter), base)
    assert loaded.config == stated(adapter) and found.config == adapter.config
    assert found.algorithm is adapter.algorithm
    assert loaded.origin == Origin("tiny-0", 23, 3, 90)
    assert found.modules.keys() == adapter.modules.keys()
    for module, params in adapter.modules.items():
        assert {suffix: tensor.shape for suffix, tensor in params.items()} == {
            suffix: tensor.shape for suffix, tensor in found.modules[module].items()
        }
    expected, merged = adapters.merged_weights(base, adapter, 0.5), adapters.merged_weights(base, found, 0.5)
    assert all(torch.equal(weight, expected[key]) for key, weight in merged.items())
    assert not list(tmp_path.glob("*.partial"))


def test_others_may_read_what_was_written(tmp_path):
    """safetensors writes for its owner alone."""
    mask = os.umask(0o022)
    try:
        _safetensors.write(tmp_path / "a.safetensors", {"a": torch.zeros(2)}, {}, torch.float32)
        store.write_arrays(tmp_path / "b.safetensors", {"b": np.zeros(2)})
    finally:
        os.umask(mask)
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o644}


def test_half_precision_rounds_params_and_nothing_else(tmp_path):
    base = tiny()
    adapter = trained(base, "lokr", factor=2, dim=2, alpha=0.1)  # 0.1 is no half-precision number
    found, loaded = formats.load_adapter(saved(tmp_path, adapter, "float16"), base)
    for name, params in adapter.modules.items():
        assert all(torch.equal(tensor.half().float(), found.modules[name][key]) for key, tensor in params.items())
    assert {round(alpha, 7) for alpha in loaded.alphas.values()} == {0.1}
    assert found.config == adapter.config


def test_names_and_metadata_are_kohyas(tmp_path):
    path = saved(tmp_path, trained(tiny(), "native", layers="full"))
    with safe_open(path, "pt") as file:
        keys, metadata = set(file.keys()), file.metadata()
    assert "lora_te_text_model_encoder_layers_0_self_attn_q_proj.diff" in keys
    assert "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_out_0.diff_b" in keys
    assert "lora_unet_mid_block_resnets_0_norm1.w_norm" in keys and "lora_unet_conv_in.diff" in keys
    assert not [key for key in keys if key.endswith(".alpha")]
    assert metadata["ss_network_module"] == "lycoris.kohya" and metadata["ss_seed"] == "23"
    assert json.loads(metadata["ss_network_args"]) == {"algo": "full", "preset": "full"}
    path = saved(tmp_path, trained(tiny(), "lokr", layers="attention", factor=2))
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    assert metadata["ss_network_dim"] == "10000"
    assert json.loads(metadata["ss_network_args"]) == {"algo": "lokr", "factor": "2", "preset": "attn-only"}


SETTINGS = (
    '{"name": "my config", "algorithm": "lora", "trained_layers": "full", "lr": 0.001, "dim": 4, "alpha": 2.0, '
    '"factor": 8, "epochs": 5, "checkpoint_epochs": [2, 5], "batch_size": 3, "weight_decay": 0.2, '
    '"betas": [0.8, 0.9], "max_grad_norm": 0.5, "warmup_epochs": 1.5, "caption_dropout": 0.1, "resolution": 64, '
    '"max_tokens": 150, "train_text_encoder": false, "train_unet": true, "conv_dim": 2, "conv_alpha": 0.5, '
    '"tucker": true, "dora": true, "decompose_both": true, "text_encoder_lr": 0.0001, '
    '"peft": {"peft_type": "VERA", "r": 4}}'
)


def test_settings_stand_in_a_file_to_the_letter(tmp_path):
    """Files of every version are read, and one of the same inputs is the same: nothing in here may move."""
    adapter = trained(tiny(), "lora", dim=4, alpha=2)
    config = TrainConfig.from_flat(json.loads(SETTINGS, object_hook=_with_tuples))
    formats.save_adapter(tmp_path / "a.safetensors", adapter, config, Origin("tiny-0", 23, 5, 90, {"toys/x": "a1"}))
    loaded = formats.read_adapter(tmp_path / "a.safetensors")
    assert loaded.metadata["lorabench"] == (
        f'{{"version": "{version("lorabench")}", "algorithm": "lora", "base": "tiny-0", "seed": 23, "epoch": 5, '
        f'"step": 90, "pictures": {{"toys/x": "a1"}}, "config": {SETTINGS}}}'
    )
    assert loaded.config == config
    assert json.loads(SETTINGS).keys() == config.flat.keys()
    default = TrainConfig("", AdapterConfig("")).flat
    assert all(value != default[key] for key, value in config.flat.items() if key != "train_unet")
    others = {key: value for key, value in loaded.metadata.items() if key != "lorabench"}
    assert others == {
        "ss_network_module": "lycoris.kohya", "ss_network_dim": "4", "ss_network_alpha": "2.0",
        "ss_network_args": '{"algo": "locon", "factor": "8", "preset": "full", "conv_dim": "2", "conv_alpha": "0.5", '
        '"use_tucker": "True", "dora_wd": "True", "decompose_both": "True"}',
        "ss_learning_rate": "0.001", "ss_text_encoder_lr": "0.0001", "ss_num_epochs": "5",
        "ss_seed": "23", "ss_epoch": "5", "ss_steps": "90", "ss_sd_model_name": "tiny-0", "ss_sd_model_hash": "0",
    }  # fmt: skip


def _with_tuples(table: dict) -> dict:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}


def test_an_older_file_says_less(tmp_path):
    """Before kernels had sizes of their own, and before there were methods of peft."""
    own = {"version": "0", "algorithm": "lora", "base": "tiny-0", "seed": 1, "epoch": 1, "step": 9}
    own["config"] = {"name": "c", "algorithm": "lora", "trained_layers": "full", "lr": 1e-3, "dim": 4, "gone": 5}
    path = saved(tmp_path, trained(tiny(), "lora", dim=4))
    loaded = formats.read_adapter(rewritten(path, lambda tensors: None, {"lorabench": json.dumps(own)}))
    assert loaded.config == TrainConfig("c", AdapterConfig("lora", "full", dim=4), TrainingConfig(1e-3))


@pytest.mark.parametrize(("name", "values"), ALGORITHMS)
def test_without_metadata_the_weights_tell_what_they_are(tmp_path, name, values):
    base = tiny()
    adapter = trained(base, name, layers="linear", **values)
    found, loaded = formats.load_adapter(rewritten(saved(tmp_path, adapter), lambda tensors: None), base)
    # A DyLoRA is a LoRA once it is trained. OFT and BOFT show the side of their blocks, not the bound on it.
    assert loaded.config is None and found.algorithm.name == ("lora" if name == "dylora" else name)
    assert (found.config.trained_layers, found.config.factor) == ("linear", values.get("factor"))
    assert found.config.dim == values.get("dim")
    assert (found.config.dora, found.config.decompose_both) == (adapter.config.dora, adapter.config.decompose_both)
    expected = adapters.merged_weights(base, adapter)
    assert all(torch.equal(weight, expected[key]) for key, weight in adapters.merged_weights(base, found).items())


def test_metadata_of_kohyas_trainer(tmp_path):
    metadata = {"ss_learning_rate": "0.0001", "ss_unet_lr": "None", "ss_seed": "7", "ss_epoch": "2", "ss_steps": "30"}
    path = rewritten(saved(tmp_path, trained(tiny(), "lora", dim=4, alpha=2)), lambda tensors: None, metadata)
    found, loaded = formats.load_adapter(path, tiny())
    assert (loaded.config.training.lr, found.config.dim, found.config.alpha) == (1e-4, 4, 2)
    assert found.config.trained_layers == "full"
    assert loaded.origin == Origin("", 7, 2, 30)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("lora_te_text_model_", "lora_te_"),  # transformers 5.6 took text_model out of its paths
        ("lora_te_", "lora_te1_"),  # LyCORIS, of a list of text encoders
        ("lora_(unet_|te_)", "lycoris_"),  # LyCORIS' wrapper of one model
    ],
)
def test_other_spellings_of_modules_are_read(tmp_path, ours, theirs):
    base, path = tiny(), saved(tmp_path, trained(tiny(), "loha", dim=2))
    expected = formats.load_adapter(path, base)[0]

    def respell(tensors: dict[str, torch.Tensor]) -> None:
        for key in list(tensors):
            tensors[re.sub(f"^{ours}", theirs, key)] = tensors.pop(key)

    found = formats.load_adapter(rewritten(path, respell), base)[0]
    assert found.modules.keys() == expected.modules.keys()


def test_modules_keep_alphas_and_dims_of_their_own(tmp_path):
    base = tiny()
    path = saved(tmp_path, trained(base, "lora", layers="attention", dim=4, alpha=1.0))
    key = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"

    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors[f"{key}.alpha"] = torch.tensor(3.0)
        tensors[f"{key}.lora_down.weight"] = torch.ones(6, 16)
        tensors[f"{key}.lora_up.weight"] = torch.ones(16, 6)

    found = formats.load_adapter(rewritten(path, change), base)[0]
    name = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    assert found.alphas[name] == 3.0 and set(found.alphas.values()) == {1.0, 3.0}
    assert (found.config.dim, found.config.alpha) == (None, None)  # neither is one number
    [(_, _, update)] = adapters.updates(base, found, name)
    torch.testing.assert_close(update, torch.full((16, 16), 3.0))  # 3 / 6 * 6
    again = formats.load_adapter(saved(tmp_path, found), base)[0]
    assert again.alphas == found.alphas
