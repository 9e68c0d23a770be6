"""An adapter is data, and so are base models, encoders, pictures and data sets: none makes a library fetch or run.

Every attempt to reach a network, to start a program or to import what a file names is counted; there are none.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import peft
import pytest
import torch
from command_line import lorabench_here
from huggingface_hub import constants, get_session
from huggingface_hub.errors import OfflineModeIsEnabled
from PIL import Image
from safetensors.torch import save_file
from saved_adapters import peft_models, tiny
from single_file import write_single_file
from tiny_base import write_tiny_base

from lorabench import base_models, components, datasets, diffusion, formats, images, mini, prompts
from lorabench.errors import UserError
from lorabench.records import Concept, Dataset, TrainingImage
from lorabench.untrusted import offline

EVIL, REPOSITORY = "evil_module", "somebody/repository"
RAN = "made by a pickle"  # a folder
CODE = "import builtins\nbuiltins.evil_module_ran = True\n"


@pytest.fixture
def attempts(monkeypatch, tmp_path) -> Iterator[list[str]]:
    """What was tried while the test ran; the hub's client is not told to stay offline."""
    tried: list[str] = []

    def counted(what: str) -> Callable:
        def refuse(*words, **_):
            tried.append(f"{what} {words}")
            raise OSError(f"{what} was tried: {words}")

        return refuse

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, counted(name))
    for name in ("getaddrinfo", "gethostbyname", "create_connection"):
        monkeypatch.setattr(socket, name, counted(name))
    monkeypatch.setattr(subprocess, "Popen", counted("Popen"))
    monkeypatch.setattr(os, "system", counted("system"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    code = tmp_path / "code"
    code.mkdir()
    (code / f"{EVIL}.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(code))
    yield tried
    assert not Path(RAN).exists() and EVIL not in sys.modules and not hasattr(__builtins__, "evil_module_ran")


def test_attempts_are_seen(attempts, monkeypatch):
    """By the counter, and inside `offline` the hub's client makes none."""
    with offline(), pytest.raises(OfflineModeIsEnabled):
        get_session().get("https://huggingface.co/somebody")
    assert not attempts
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)  # as for somebody with network
    with pytest.raises(Exception, match="was tried"):
        get_session().get("https://huggingface.co/somebody")
    assert attempts


# --- adapters ---------------------------------------------------------------------------------------------------------


def configured(folder: Path, changes: dict) -> Path:
    """A LoRA that peft saved, with these changes of its config."""
    peft_models(tiny())["unet"].save_pretrained(folder)
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return folder


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"peft_type": "SHADOW", "shadow_model": REPOSITORY}, "'peft_type': lorabench has no method 'SHADOW'"),
        ({"peft_type": "XLORA", "adapters": {"0": REPOSITORY}, "hidden_size": 8}, "has no method 'XLORA'"),
        (
            {"peft_type": "PROMPT_TUNING", "tokenizer_name_or_path": REPOSITORY, "prompt_tuning_init": "TEXT"},
            "has no method 'PROMPT_TUNING'",
        ),
        (
            {"peft_type": "MULTITASK_PROMPT_TUNING", "prompt_tuning_init_state_dict_path": "/tmp/a.bin"},
            "has no method 'MULTITASK_PROMPT_TUNING'",
        ),
        ({"init_lora_weights": "loftq", "loftq_config": {"loftq_bits": 4}}, "init_lora_weights 'loftq' changes"),
        ({"layer_replication": [[0, 4], [2, 5]]}, "layer_replication makes it another method"),
        ({"modules_to_save": [EVIL]}, "modules_to_save"),
    ],
)
def test_adapters_that_name_others_are_refused(tmp_path, attempts, changes, words):
    folder = configured(tmp_path / "a", changes | {"alpha_pattern": {}})
    done = lorabench_here("inspect", str(folder))
    assert done.returncode == 2 and words in done.stderr, done.stderr
    assert str(folder / "adapter_config.json") in done.stderr and done.stderr.count("\n") == 1
    Image.new("RGB", (8, 8)).save(tmp_path / "cat.png")
    (tmp_path / "cat.txt").write_text("[V_cat] cat")
    done = lorabench_here("evaluate", str(tmp_path), "--data", str(tmp_path))
    assert done.returncode == 2 and words in done.stderr, done.stderr
    assert not attempts


@pytest.mark.parametrize(
    "changes",
    [
        {"auto_mapping": {"base_model_class": "Model", "parent_library": EVIL}},
        {"megatron_config": {"a": 1}, "megatron_core": EVIL},
        {"base_model_name_or_path": REPOSITORY, "revision": "main"},
        {"base_model_name_or_path": "../../../etc/passwd", "task_type": "CAUSAL_LM"},
        {"corda_config": {"cache_file": "/tmp/a.pt"}, "eva_config": {"rho": 2}, "runtime_config": {"a": EVIL}},
        {"trust_remote_code": True, "auto_map": {"AutoModel": f"{REPOSITORY}--{EVIL}.Model"}, "peft_version": EVIL},
    ],
)
def test_names_in_an_adapter_change_nothing(tmp_path, attempts, changes):
    expected = formats.read_adapter(configured(tmp_path / "a", {}))
    found = formats.read_adapter(configured(tmp_path / "b", changes))
    assert found.alphas == expected.alphas and found.modules.keys() == expected.modules.keys()
    assert not attempts


@pytest.mark.parametrize(
    "metadata",
    [
        {"ss_sd_model_name": REPOSITORY, "ss_vae_name": "https://example.org/a.pt", "ss_network_module": EVIL},
        {"modelspec.architecture": REPOSITORY, "ss_network_args": f'{{"preset": "{EVIL}"}}'},
    ],
)
def test_names_in_metadata_change_nothing(tmp_path, attempts, metadata):
    name = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    tensors = {f"{name}.lora_down.weight": torch.ones(4, 16), f"{name}.lora_up.weight": torch.ones(16, 4)}
    save_file({**tensors, f"{name}.alpha": torch.tensor(4.0)}, tmp_path / "a.safetensors", metadata)
    adapter, loaded = formats.load_adapter(tmp_path / "a.safetensors", tiny())
    assert adapter.config.dim == 4 and loaded.algorithm == "lora" and not attempts


def test_no_compiler_is_started_for_a_method(tmp_path, attempts):
    """peft's BOFT compiles a CUDA extension when a layer of it is made."""
    config = {"peft_type": "BOFT", "boft_block_size": 4}
    assert components.find("algorithms", "peft").saved_names(config) and not attempts
    folder = configured(tmp_path / "a", {"peft_type": "BOFT", "boft_n_butterfly_factor": 2, "alpha_pattern": {}})
    with pytest.raises(UserError, match="'boft_n_butterfly_factor': input should be 1, got 2"):
        formats.read_adapter(folder)


class _Command:
    def __reduce__(self):
        return os.mkdir, (RAN,)


def test_a_pickle_beside_a_config_is_not_opened(tmp_path, attempts):
    folder = configured(tmp_path / "a", {})
    (folder / "adapter_model.safetensors").unlink()
    torch.save({"a": _Command()}, folder / "adapter_model.bin")
    with pytest.raises(UserError, match="can run any code"):
        formats.read_adapter(folder)
    assert not attempts


def test_methods_are_those_of_peft():
    """Each of ours is a method of the installed peft, and none of them takes a name of a model or a module."""
    from lorabench.peft_settings import SETTINGS

    known = {str(kind.value): config for kind, config in peft.PEFT_TYPE_TO_CONFIG_MAPPING.items()}
    for method, settings in SETTINGS.items():
        fields = known[method].__dataclass_fields__.keys()
        assert settings.keys() <= fields, (method, settings.keys() - fields)
        assert not [key for key in settings if any(word in key for word in ("model", "path", "config_", "megatron"))
                    and key not in ("config_A_B", "config_C", "config_D_E")]  # fmt: skip


# --- base models ------------------------------------------------------------------------------------------------------


def rewrite(file: Path, **changes) -> None:
    content = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps(content | changes))


def poison(folder: Path) -> None:
    """Whatever a diffusers folder can name, in every place at once."""
    code = {"AutoModel": f"{EVIL}.Model", "AutoTokenizer": [f"{EVIL}.Tokenizer", None]}
    rewrite(folder / "model_index.json", unet=[EVIL, "Model"], vae=[REPOSITORY, "Model"], extra=[EVIL, "Extra"])
    rewrite(folder / "model_index.json", safety_checker=[EVIL, "Checker"], custom_pipeline=REPOSITORY)
    for name in ("unet", "vae", "text_encoder"):
        rewrite(
            folder / name / "config.json",
            **{"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}, "auto_map": code},
            **{"_name_or_path": REPOSITORY, "attn_implementation": f"{REPOSITORY}:flash", "use_kernels": True},
            **{"_attn_implementation": REPOSITORY, "transformers_weights": "../../other.safetensors"},
        )
        rewrite(folder / name / "adapter_config.json", peft_type="LORA", base_model_name_or_path=REPOSITORY)
        for weights in ("diffusion_pytorch_model", "model"):
            index = {"weight_map": {"conv_in.weight": "../../../outside.safetensors"}, "metadata": {"total_size": 1}}
            rewrite(folder / name / f"{weights}.safetensors.index.json", **index)
    rewrite(
        folder / "tokenizer/tokenizer_config.json",
        **{"auto_map": code, "tokenizer_file": "/etc/passwd", "chat_template": "{{ ''.__class__.__mro__ }}"},
        **{"name_or_path": REPOSITORY, "trust_remote_code": True},
    )
    (folder / f"tokenizer/{EVIL}.py").write_text(CODE)
    (folder / "pipeline.py").write_text(CODE)


def same_weights(one: base_models.BaseModel, other: base_models.BaseModel) -> bool:
    pairs = zip(one.components.items(), other.components.items(), strict=True)
    return all(
        torch.equal(value, part.state_dict()[name])
        for (_, model), (_, part) in pairs
        for name, value in model.state_dict().items()
    )


def test_names_in_a_base_model_change_nothing(tmp_path, attempts):
    clean, folder = write_tiny_base(tmp_path / "clean"), tmp_path / "poisoned"
    expected = base_models.load_base(base_models.base_of(str(clean)), torch.device("cpu"))
    shutil.copytree(clean, folder)
    poison(folder)
    found = base_models.load_base(base_models.base_of(str(folder)), torch.device("cpu"))
    assert same_weights(expected, found)
    assert torch.equal(
        diffusion.tokenize(found, ["a red robot"], 14), diffusion.tokenize(expected, ["a red robot"], 14)
    )
    assert base_models.architecture(str(folder)).keys() == found.components.keys()
    copy = tmp_path / "copy"
    copy.mkdir()
    base_models.save_folder(found, base_models.base_of(str(folder)), copy)
    assert EVIL not in "".join(file.read_text() for file in copy.rglob("*.json")) and not list(copy.rglob("*.py"))
    assert not attempts


def test_names_beside_a_single_file_change_nothing(tmp_path, attempts):
    folder = write_tiny_base(tmp_path / "model")
    file = tmp_path / "model.safetensors"
    write_single_file(folder, file, layers_per_block=1)
    expected = base_models.load_base(base_models.base_of(str(file)), torch.device("cpu"))
    poison(folder)
    found = base_models.load_base(base_models.base_of(str(file)), torch.device("cpu"))
    assert same_weights(expected, found) and not attempts


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("model_index.json", "[]"),
        ("unet/config.json", "5"),
        ("unet/config.json", '{"block_out_channels": "x"}'),
        ("vae/config.json", '{"block_out_channels": {}}'),
        ("text_encoder/config.json", '{"hidden_size": [1]}'),
        ("scheduler/scheduler_config.json", '{"prediction_type": {"a": 1}}'),
        ("tokenizer/tokenizer_config.json", "[" * 50_000),
        ("tokenizer/added_tokens.json", '{"a": "x"}'),
    ],
)
def test_junk_in_a_base_model_is_a_sentence(tmp_path, file, text):
    folder = write_tiny_base(tmp_path / "model")
    (folder / file).write_text(text)
    with pytest.raises(UserError, match=str(folder)):
        base_models.load_base(base_models.base_of(str(folder)), torch.device("cpu"))


# --- encoders ---------------------------------------------------------------------------------------------------------


def encoder_folder(tmp_path: Path, name: str) -> Path:
    return shutil.copytree(mini.encoder_path(name), tmp_path / name)


def features(name: str, folder: Path) -> np.ndarray:
    encoder = components.find("encoders", name).load(folder, torch.device("cpu"))
    return encoder.encode_texts(["a red robot"]) if name == "clip" else encoder.encode_images(PICTURE, "stretch")


PICTURE = [np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)]


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("dinov2", {"architecture": f"hf-hub:{REPOSITORY}"}, "'architecture'"),
        ("dinov2", {"architecture": "local-dir:/tmp"}, "'architecture'"),
        ("dinov2", {"model_args": {"pretrained": True}}, "'model_args.pretrained"),
        ("dinov2", {"model_args": {"pretrained_cfg": {"url": "http://example.org/a.pth"}}}, "pretrained_cfg"),
        ("convnextv2", {"model_args": {"checkpoint_path": "/tmp/a.pth"}}, "checkpoint_path"),
        ("vgg19", {"layers": ["M", EVIL]}, "'layers.1'"),
        ("clip", {"text_cfg": {"hf_model_name": REPOSITORY}}, "'hf_model_name': input should be None"),
        ("clip", {"vision_cfg": {"timm_model_name": f"hf-hub:{REPOSITORY}"}}, "'timm_model_name'"),
    ],
)
def test_encoders_that_name_others_are_refused(tmp_path, attempts, name, changes, words):
    folder = encoder_folder(tmp_path, name)
    file = folder / ("open_clip_config.json" if name == "clip" else "config.json")
    if name == "clip":
        config = json.loads(file.read_text())["model_cfg"]
        changes = {"model_cfg": config | {key: config[key] | value for key, value in changes.items()}}
    rewrite(file, **changes)
    with pytest.raises(UserError) as refused:
        features(name, folder)
    assert words in str(refused.value) and str(file) in str(refused.value) and "\n" not in str(refused.value)
    assert not attempts


def test_names_in_a_tokenizer_s_folder_change_nothing(tmp_path, attempts):
    folder = encoder_folder(tmp_path, "clip")
    expected = features("clip", folder)
    config = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]
    config["text_cfg"] |= {
        "hf_tokenizer_name": REPOSITORY,
        "tokenizer_kwargs": {"clean": "whitespace", "trust_remote_code": True, "tokenizer_file": "/etc/passwd"},
    }
    rewrite(folder / "open_clip_config.json", model_cfg=config)
    code = {"AutoTokenizer": [f"{EVIL}.Tokenizer", None]}
    rewrite(folder / "tokenizer_config.json", auto_map=code, tokenizer_class="os.system", chat_template="{{ 1 / 0 }}")
    (folder / f"{EVIL}.py").write_text(CODE)
    np.testing.assert_array_equal(features("clip", folder), expected)
    assert not attempts


# --- pictures and data sets -------------------------------------------------------------------------------------------

POSTSCRIPT = (
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n(ran) (w) file closefile\nshowpage\n%%EOF\n"
)
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="http://example.org/a.png"/></svg>'


@pytest.mark.parametrize("content", [POSTSCRIPT, SVG, b"%PDF-1.7\n", b"8BPS\x00\x01", b"SIMPLE  = T", b""])
@pytest.mark.parametrize("name", ["a.png", "a.eps", "a.jpg"])
def test_what_is_no_picture_is_not_opened(tmp_path, attempts, content, name):
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(UserError, match=f"Picture {file} cannot be read"):
        images.read(file)
    assert not attempts


@pytest.mark.parametrize("format_", [*images.FORMATS, "MPO"])
def test_pictures_that_people_have_are_read(tmp_path, format_):
    file = tmp_path / "a.picture"  # by its content, whatever it is called
    if format_ not in Image.SAVE and format_ not in Image.EXTENSION.values():
        pytest.skip(f"this PIL writes no {format_}")
    Image.new("RGB", (8, 6), "white").save(file, format=format_)
    assert images.read(file).shape == (6, 8, 3) and images.read(file).min() > 250


def test_a_picture_larger_than_memory_is_refused(tmp_path):
    file = tmp_path / "a.png"
    Image.new("1", (20_000, 20_000)).save(file)
    assert file.stat().st_size < 100_000
    with pytest.raises(UserError, match="decompression bomb"):
        images.read(file)


@pytest.mark.parametrize("path", ["../outside", "/etc", "a/../../outside", "https://example.org/a"])
def test_a_data_set_reads_nothing_outside_of_its_folder(tmp_path, attempts, path):
    folder = tmp_path / "data"
    for place in ("data/a", "outside"):
        (tmp_path / place).mkdir(parents=True)
        images.write(tmp_path / place / "0.png", PICTURE[0])
        (tmp_path / place / "0.txt").write_text("sks dog")
    (folder / "dataset.toml").write_text(f'[[concept]]\npath = "{path}"\ntrigger = "sks"\n')
    with pytest.raises(UserError, match=r"dataset.toml"):
        datasets.load_dataset(folder)
    assert not attempts


@pytest.mark.parametrize("alter", ["../secret", "../../secret", "/etc/secret"])
def test_a_data_set_names_templates_and_no_files(tmp_path, alter):
    (tmp_path / "prompts/alter").mkdir(parents=True)
    for place in (tmp_path, tmp_path / "prompts"):
        (place / "secret.txt").write_text("{} of a secret")
    with pytest.raises(UserError, match="Unknown prompt template"):
        prompts.build_prompt_sets(one_concept(alter, "sks"), tmp_path / "prompts", ["alter"], 1, 0)


def test_words_of_a_data_set_are_no_format(tmp_path):
    (tmp_path / "alter").mkdir()
    (tmp_path / "alter/x.txt").write_text("{} and {0.__class__} {dataset!r}")
    word = "{0.__class__.__mro__}"
    (found,) = prompts.build_prompt_sets(one_concept("x", word), tmp_path, ["alter"], 1, 0)
    assert found.requests[0].prompt.text == f"{word} dog and {{0.__class__}} {{dataset!r}}"


def one_concept(alter: str, trigger: str) -> Dataset:
    concept = Concept("toys", "dog", "", trigger, "dog", alter=alter)
    picture = TrainingImage(concept.id, Path("a.png"), "sks dog")
    return Dataset("d", "", "", "", (concept,), (picture,), "")


def test_weights_of_encoders_are_no_pickles(tmp_path, attempts):
    torch.save({"a": _Command()}, tmp_path / "a.pth")
    for name in ("dinov2", "clip", "vgg19"):
        with pytest.raises(UserError, match="pickles can run code"):
            features(name, tmp_path / "a.pth")
    assert not attempts
