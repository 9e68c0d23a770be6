"""Checkpoint files exchanged with lycoris, peft and diffusers."""

import os

os.environ["LYCORIS_KERNEL_BACKEND"] = "torch"  # read when lycoris is imported

import re
from dataclasses import replace
from pathlib import Path

import peft
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline
from lycoris.modules import get_module, make_module
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from saved_adapters import ALGORITHMS, peft_models, rewritten, saved, stated, tiny, trained
from torch import nn

from lorabench import adapters, formats
from lorabench.adapters import Adapter
from lorabench.components import Origin
from lorabench.errors import UserError
from lorabench.formats.kohya import kohya_name

ENDS = (("down", (4, 16)), ("up", (16, 4)))


def pipeline(base: dict[str, nn.Module]) -> StableDiffusionPipeline:
    vae = AutoencoderKL(block_out_channels=(8,), norm_num_groups=4)
    others = {"tokenizer": None, "safety_checker": None, "feature_extractor": None}
    return StableDiffusionPipeline(**base, vae=vae, scheduler=DDIMScheduler(), requires_safety_checker=False, **others)


def merged_by_diffusers(base: dict[str, nn.Module], path: Path) -> dict[str, torch.Tensor]:
    pipe = pipeline(base)
    pipe.load_lora_weights(path.parent, weight_name=path.name)
    pipe.fuse_lora()
    pipe.unload_lora_weights()
    models = {"unet": pipe.unet, "text_encoder": pipe.text_encoder}
    return {f"{key}.{name}": value for key, model in models.items() for name, value in model.named_parameters()}


@pytest.mark.parametrize("layers", ["attention", "linear"])
def test_diffusers_reads_our_lora(tmp_path, layers):
    adapter = trained(tiny(), "lora", layers=layers, dim=4, alpha=1.0)
    theirs = merged_by_diffusers(tiny(), saved(tmp_path, adapter))
    ours = adapters.merged_weights(tiny(), adapter)
    touched = 0
    for key, weight in ours.items():
        # float32 products of 4 terms in another order.
        torch.testing.assert_close(theirs[key], weight, rtol=1e-5, atol=1e-6)
        touched += 1
    assert touched == len(adapter.modules)


# lycoris 4.1.3 cannot load its own files of (IA)^3: it hands the flag of the input to a function that takes none.
@pytest.mark.parametrize(("name", "values"), [each for each in ALGORITHMS if each[0] != "ia3"])
def test_lycoris_reads_our_files(tmp_path, name, values):
    base = tiny()
    adapter = trained(base, name, **values)
    tensors = load_file(saved(tmp_path, adapter))
    merged = adapters.merged_weights(base, adapter)
    # lycoris takes its time over each module: those of one block, and of one text layer, have every kind.
    chosen = [name for name in adapter.modules if re.search(r"conv_in|down_blocks\.1\.|layers\.0\.|time_emb", name)]
    for module in chosen:
        original = adapters.module_of(base, module)
        key = kohya_name(module)
        kind, params = get_module(tensors, key)
        with torch.no_grad():
            theirs = make_module(kind, params, key, original)
            # Not get_merged_weight for every kind: it applies alpha / dim twice for LoHa and low-rank LoKr.
            if kind.name in ("loha", "kron"):
                weight = original.weight + theirs.get_weight(original.weight.shape)
                weight = theirs.apply_weight_decompose(weight) if adapter.config.dora else weight
            elif kind.name == "full":
                weight = original.weight + params[0]
            else:
                weight = theirs.get_merged_weight()[0]
        # float32 sums in another order.
        torch.testing.assert_close(weight, merged[f"{module}.weight"].detach(), rtol=1e-5, atol=1e-5)


def merged_by_peft(models: dict[str, peft.PeftModel]) -> dict[str, torch.Tensor]:
    return {
        f"{component}.{name}": value
        for component, model in models.items()
        for name, value in model.merge_and_unload().named_parameters()
    }


@pytest.mark.parametrize("rslora", [False, True])
def test_peft_folders_are_read(tmp_path, rslora):
    models = peft_models(tiny(), rslora)
    for component, model in models.items():
        model.save_pretrained(tmp_path / component)
    found, loaded = formats.load_adapter(tmp_path, tiny())
    alone = {component: formats.load_adapter(tmp_path / component, tiny())[0].modules for component in models}
    assert found.modules.keys() == {name for modules in alone.values() for name in modules}
    check_against(merged_by_peft(models), found)
    assert loaded.algorithm == "lora" and found.config.dim == 4 and found.config.trained_layers == "custom"


def test_diffusers_files_are_read_with_and_without_metadata(tmp_path):
    models = peft_models(tiny())
    layers = {component: get_peft_model_state_dict(model) for component, model in models.items()}
    layers = {
        component: {key.removeprefix("base_model.model."): tensor for key, tensor in state.items()}
        for component, state in layers.items()
    }
    settings = {component: model.peft_config["default"].to_dict() for component, model in models.items()}
    for setting in settings.values():
        setting["target_modules"] = sorted(setting["target_modules"])
    StableDiffusionPipeline.save_lora_weights(
        tmp_path,
        layers["unet"],
        layers["text_encoder"],
        unet_lora_adapter_metadata=settings["unet"],
        text_encoder_lora_adapter_metadata=settings["text_encoder"],
    )
    found = formats.load_adapter(tmp_path, tiny())[0]
    check_against(merged_by_peft(models), found)
    bare = rewritten(tmp_path / "pytorch_lora_weights.safetensors", lambda tensors: None)
    assert set(formats.read_adapter(bare).alphas.values()) == {4.0}  # the rank, as diffusers has it


def test_older_spellings_of_diffusers_are_read(tmp_path):
    first = "unet.mid_block.attentions.0.transformer_blocks.0.attn1"
    second = first.replace("attn1", "attn2")
    older = {f"{first}.processor.to_{name}_lora": f"{first}.to_{name}" for name in ("q", "k", "v")}
    older |= {f"{first}.processor.to_out_lora": f"{first}.to_out.0"}
    later = {f"{second}.to_q.lora": f"{second}.to_q"}
    text = "text_encoder.text_model.encoder.layers.0.self_attn.q_proj"
    later |= {f"{text}.lora_linear_layer": text.replace("text_model.", "")}
    oldest = {key.removeprefix("unet."): name for key, name in older.items()}  # of save_attn_procs
    plain = {key.replace(".processor", ""): name for key, name in oldest.items()}
    path = tmp_path / "some.safetensors"
    for spellings in (older, later, oldest, plain):
        ends = {f"{key}.{end}.weight": torch.randn(size) for key in spellings for end, size in ENDS}
        save_file(ends, path)
        found = formats.load_adapter(path, tiny())[0]
        assert set(found.modules) == set(spellings.values())
        if spellings in (oldest, plain):  # diffusers itself has stopped reading them
            continue
        theirs, ours = merged_by_diffusers(tiny(), path), adapters.merged_weights(tiny(), found)
        # diffusers drops these older keys of the text encoder without a word; the U-Net's can be compared.
        for key in (key for key in ours if key.startswith("unet.")):
            torch.testing.assert_close(ours[key], theirs[key], rtol=1e-5, atol=1e-5)


def check_against(expected: dict[str, torch.Tensor], adapter: Adapter) -> None:
    base = tiny()
    merged = adapters.merged_weights(base, adapter)
    changed = {key for key, weight in expected.items() if not torch.equal(weight, pristine(base, key))}
    assert changed == merged.keys()
    for key, weight in merged.items():
        torch.testing.assert_close(weight, expected[key], rtol=1e-5, atol=1e-5)  # float32 sums in another order


def pristine(base: dict[str, nn.Module], key: str) -> torch.Tensor:
    component, path = key.split(".", 1)
    return base[component].get_parameter(path)


# With settings that the small model's widths allow; layers of the last three share matrices or vectors.
OTHERS = {
    "HRA": {"r": 4},
    "OFT": {"oft_block_size": 4, "r": 0},
    "MISS": {"r": 4},
    "VERA": {"r": 4, "d_initial": 1.0},
    "PVERA": {"r": 4},
    "VBLORA": {"r": 2, "num_vectors": 8, "vector_length": 4},
}


@pytest.mark.parametrize("method", OTHERS)
def test_peft_folders_of_other_methods_are_read_and_written(tmp_path, method):
    model = tiny()["unet"]
    settings = peft.PEFT_TYPE_TO_CONFIG_MAPPING[method](target_modules=["to_q", "to_k", "net.2"], **OTHERS[method])
    wrapped = peft.get_peft_model(model, settings)
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    wrapped.save_pretrained(tmp_path / "theirs")
    found, loaded = formats.load_adapter(tmp_path / "theirs", tiny())
    assert loaded.algorithm == "peft" and len(found.modules) == 20
    formats.save_adapter(tmp_path / "ours", found, stated(found), Origin("tiny-0"), "float32", "peft")
    again = peft.PeftModel.from_pretrained(tiny()["unet"], tmp_path / "ours/unet")
    saved(tmp_path, found)  # and as a file of our own
    own = formats.load_adapter(tmp_path / "adapter.safetensors", tiny())[0]
    expected = merged_by_peft({"unet": wrapped})
    check_against(expected, found)
    check_against(expected, own)
    for key, weight in merged_by_peft({"unet": again}).items():
        torch.testing.assert_close(weight, expected[key], rtol=1e-5, atol=1e-5)


def test_ia3_of_peft_scales_inputs_answers_and_biases(tmp_path):
    """to_out.0 has a bias, net.2 is scaled at its inputs, a kernel each way."""
    forward = ["net.2", "conv2"]
    config = peft.IA3Config(target_modules=["to_k", "to_out.0", "conv1", *forward], feedforward_modules=forward)
    wrapped = peft.get_peft_model(tiny()["unet"], config)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "ia3_l" in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
    wrapped.save_pretrained(tmp_path / "theirs")
    found, loaded = formats.load_adapter(tmp_path / "theirs", tiny())
    assert loaded.algorithm == "ia3"
    base = tiny()
    pictures, steps, text = torch.randn(1, 4, 8, 8), torch.tensor([3]), torch.randn(1, 5, 16)
    with torch.no_grad():
        expected = wrapped(pictures, steps, text).sample
        for path in (None, saved(tmp_path, found)):  # and as a file of our own
            adapter = found if path is None else formats.load_adapter(path, base)[0]
            with adapters.swapped(base, (adapter, 1.0)):
                torch.testing.assert_close(base["unet"](pictures, steps, text).sample, expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(UserError, match="peft's files hold"):
        formats.save_adapter(tmp_path / "ours", found, stated(found), Origin("tiny-0"), "float32", "peft")


@pytest.mark.parametrize("factor", [2, 4, 16])
def test_peft_loads_our_lokr_as_it_cuts_layers_itself(tmp_path, factor):
    adapter = trained(tiny(), "lokr", "linear", factor=factor)
    formats.save_adapter(tmp_path / "ours", adapter, stated(adapter), Origin("tiny-0"), "float32", "peft")
    models = {name: peft.PeftModel.from_pretrained(part, tmp_path / "ours" / name) for name, part in tiny().items()}
    check_against(merged_by_peft(models), adapter)


def test_lokr_that_peft_would_cut_otherwise_and_dora_of_others_are_not_written(tmp_path):
    eight = trained(tiny(), "lokr", "regex:mid_block.*to_q$", factor=8)
    for adapter, words in (
        (uneven(eight), "peft cuts layers in one way for each factor"),
        (trained(tiny(), "loha", "linear", dim=3, dora=True), "DoRA of LoRA only"),
    ):
        with pytest.raises(UserError, match=words):
            formats.save_adapter(tmp_path / "ours", adapter, stated(adapter), Origin("tiny-0"), "float32", "peft")
    assert not list(tmp_path.iterdir())


def uneven(adapter: Adapter) -> Adapter:
    """The first blocks 8 x 2 and the second 2 x 8, as LyCORIS' unbalanced factorisation has them."""
    params = {"lokr_w1": torch.randn(8, 2), "lokr_w2": torch.randn(2, 8)}
    return replace(adapter, modules={name: params for name in adapter.modules})


def test_a_lycoris_file_may_mix_algorithms(tmp_path):
    """One for each kind of layer, as LyCORIS' presets allow."""
    base = tiny()
    parts = {
        "lora": trained(base, "lora", "regex:attn1", dim=4, alpha=1.0),
        "lokr": trained(base, "lokr", "regex:attn2", factor=2, dim=2, alpha=0.5),
        "native": trained(base, "native", "regex:conv1$"),
    }
    tensors = {key: tensor for part in parts.values() for key, tensor in load_file(saved(tmp_path, part)).items()}
    path = tmp_path / "mixed.safetensors"
    save_file(tensors, path)
    found, loaded = formats.load_adapter(path, base)
    assert loaded.algorithm == "mixed" and len(found.modules) == sum(len(part.modules) for part in parts.values())
    ours = adapters.merged_weights(base, found)
    for part in parts.values():
        for key, weight in adapters.merged_weights(base, part).items():
            torch.testing.assert_close(ours[key], weight, rtol=0, atol=0)
    again = formats.load_adapter(saved(tmp_path, found), base)[0]
    assert all(torch.equal(weight, ours[key]) for key, weight in adapters.merged_weights(base, again).items())


def test_a_peft_folder_without_what_its_layers_share_is_refused(tmp_path):
    config = peft.VeraConfig(r=4, target_modules=["to_q"], save_projection=False)
    peft.get_peft_model(tiny()["unet"], config).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="lacks 'base_model.vera_[AB]', which all layers of VERA share"):
        formats.read_adapter(tmp_path)
    ours = trained(tiny(), "peft", "regex:to_q", peft={"peft_type": "VERA", "r": 4})
    with pytest.raises(UserError, match="trained with one for each shape; write kohya"):
        formats.save_adapter(tmp_path / "ours", ours, stated(ours), Origin("tiny-0"), "float32", "peft")


def test_a_file_of_the_unet_alone_is_read(tmp_path):
    """By diffusers' save_lora_adapter: no prefixes, and peft's settings in the metadata."""
    unet = tiny()["unet"]
    unet.add_adapter(peft.LoraConfig(r=4, lora_alpha=8, target_modules=["to_q", "conv1"], init_lora_weights=False))
    unet.save_lora_adapter(tmp_path)
    found = formats.load_adapter(tmp_path, tiny())[0]
    assert found.config.alpha == 8
    unet.fuse_lora()
    theirs = {name.replace(".base_layer", ""): value for name, value in unet.named_parameters()}
    for key, weight in adapters.merged_weights(tiny(), found).items():
        torch.testing.assert_close(weight, theirs[key.removeprefix("unet.")], rtol=1e-5, atol=1e-5)
