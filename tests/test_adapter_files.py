"""`lorabench count`, `inspect` and `convert`: exact numbers, files that go from format to format, errors."""

import contextlib
import io
import json
import os
from pathlib import Path

import pytest
import torch
from command_line import lorabench_here
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from saved_adapters import stated, trained
from tiny_base import write_tiny_base

from lorabench import adapters, base_models, components, formats
from lorabench.api import adapter_tools
from lorabench.cli.output import show
from lorabench.components import Origin
from lorabench.errors import UserError
from lorabench.formats import _safetensors
from lorabench.records import AdapterConfig, TrainConfig, TrainingConfig


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> str:
    return str(write_tiny_base(tmp_path_factory.mktemp("base") / "tiny"))


def saved(folder: Path, base: str, name: str, layers: str = "linear", **values: float) -> Path:
    parts = base_models.load_base(base_models.base_of(base), torch.device("cpu")).components
    path = folder / f"{name}.safetensors"
    adapter = trained(parts, name, layers, **values)
    formats.save_adapter(path, adapter, stated(adapter), Origin("tiny-0", 23, 3, 90), dtype="float32")
    return path


def merged(path: Path, base: str, scale: float = 1.0) -> dict[str, torch.Tensor]:
    parts = base_models.load_base(base_models.base_of(base), torch.device("cpu")).components
    return adapters.merged_weights(parts, formats.load_adapter(path, parts)[0], scale)


def test_count_as_a_command():
    done = lorabench_here(
        "count", "--base", "sd15", "--algorithm", "lokr", "--layers", "full", "--factor", "8", "--json"
    )
    found = json.loads(done.stdout)
    assert done.returncode == 0 and found["parameters"] == 14_973_504
    assert found["modules"] == {"unet": 390, "text_encoder": 72}
    # 2 bytes a parameter, an alpha for each of 354 matrices and kernels, header and metadata: 29M as `ls -lh` has it.
    assert 0 < found["bytes"] - 2 * 14_973_504 - 354 * 4 < 200_000
    assert 28 < found["bytes"] / 2**20 <= 29


def test_count_takes_a_method_of_peft_by_its_name():
    done = lorabench_here("count", "--base", "mini", "--peft", "MiSS", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["algorithm"] == "peft:MISS"
    assert "Name what to count" in lorabench_here("count").stderr
    done = lorabench_here("count", "--peft", "VEAR")
    assert done.returncode == 2 and "no method 'VEAR'" in done.stderr


def test_convolutions_that_peft_would_not_wrap_are_not_written_for_it(tmp_path, base):
    layers = r"regex:down_blocks\.1\.attentions\.0\.proj_in$"
    path = saved(tmp_path, base, "peft", layers, peft={"peft_type": "MISS", "r": 4})
    with pytest.raises(UserError, match="peft's MISS wraps no convolution"):
        adapter_tools.convert(path, tmp_path / "out", "peft", base, 1.0, "float32")
    assert not (tmp_path / "out").exists()


def test_count_of_less_than_a_preset():
    config = AdapterConfig("lora", "full", dim=8, conv_dim=4, train_text_encoder=False)
    alone = adapter_tools.count("sd15", config)
    assert alone["modules"] == {"unet": 390, "text_encoder": 0}
    assert alone["parameters"] < 9_992_512


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize(
    ("name", "values"), [("lora", {"dim": 4}), ("native", {}), ("lokr", {"factor": 2}), ("ia3", {})]
)
def test_counted_bytes_are_those_of_the_file(tmp_path, base, name, values, dtype):
    parts = base_models.architecture(base)
    config = TrainConfig("c", AdapterConfig(name, "full", **values), TrainingConfig(1e-4))
    adapter = adapters.create(parts, components.find("algorithms", name), config.adapter, seed=0)
    size = formats.file_size(adapter, config, dtype)
    real = adapters.create(
        base_models.load_base(base_models.base_of(base), torch.device("cpu")).components,
        components.find("algorithms", name),
        config.adapter,
        seed=0,
    )
    formats.save_adapter(tmp_path / "a.safetensors", real, config, Origin("", 0, 0, 0), dtype=dtype)
    assert (tmp_path / "a.safetensors").stat().st_size == size


def test_inspect_says_what_a_file_holds(tmp_path, base):
    path = saved(tmp_path, base, "loha", dim=3, alpha=2.0)
    found = adapter_tools.inspect(path, base)
    assert (found["algorithm"], found["trained_layers"], found["dim"], found["alpha"]) == ("loha", "linear", 3, 2.0)
    assert (found["base"], found["seed"], found["epoch"], found["step"]) == ("tiny-0", 23, 3, 90)
    assert found["bytes"] == path.stat().st_size and "ss_network_args" in found["metadata"]
    parts = base_models.load_base(base_models.base_of(base), torch.device("cpu")).components
    adapter = formats.load_adapter(path, parts)[0]
    assert found["parameters"] == adapters.count_parameters(adapter)
    assert sum(found["modules"].values()) == len(found["layers"]) == len(adapter.modules)
    row = found["layers"][0]
    [(_, _, update)] = adapters.updates(parts, adapter, row["module"])
    assert row["norm"] == pytest.approx(update.norm().item()) and row["norm"] <= found["norm_max"]


def test_norms_that_need_the_base_are_left_open(tmp_path):
    """On an architecture without weights the norm of an additive update is known, that of a relative one is not."""
    parts = base_models.architecture("sd15")
    some = r"regex:mid_block.*attn1\.to_q$"
    for name, values, known in (("lora", {"dim": 4}, True), ("lora", {"dim": 4, "dora": True}, False)):
        config = AdapterConfig(name, some, **values)
        module = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
        weight = torch.randn(parts["unet"].get_submodule(module[5:]).weight.shape)
        algorithm = components.find("algorithms", name)
        params = {key: value + 0.1 for key, value in algorithm.init(weight, config, torch.Generator()).items()}
        path = tmp_path / f"{known}.safetensors"
        adapter = adapters.Adapter(algorithm, config, {module: params})
        formats.save_adapter(path, adapter, stated(adapter), Origin("", 1, 1, 1))
        found = adapter_tools.inspect(path, None)
        assert found["fits"] == "sd15" and (found["norm_max"] is not None) == known


@pytest.mark.parametrize(
    ("name", "values", "to"),
    [
        ("lora", {"dim": 4, "alpha": 1.0}, "diffusers"),
        ("lora", {"dim": 4, "alpha": 1.0}, "peft"),
        ("lora", {"dim": 4, "alpha": 1.0, "dora": True}, "peft"),
        ("loha", {"dim": 3, "alpha": 2.0}, "peft"),
        ("lokr", {"factor": 2}, "peft"),
        ("lokr", {"factor": 2, "dim": 2, "alpha": 5.0}, "peft"),
    ],
)
def test_there_and_back_again_is_the_same_update(tmp_path, base, name, values, to):
    path = saved(tmp_path, base, name, **values)
    out = tmp_path / ("out.safetensors" if to == "diffusers" else "out")
    adapter_tools.convert(path, out, to, base, 1.0, "float32")
    back = tmp_path / "back.safetensors"
    adapter_tools.convert(out, back, "kohya", base, 1.0, "float32")
    before, after = merged(path, base), merged(back, base)
    assert before.keys() == after.keys()
    for key, weight in before.items():
        torch.testing.assert_close(after[key], weight, rtol=1e-6, atol=1e-6)


def test_a_merged_folder_is_a_base_model(tmp_path, base):
    path = saved(tmp_path, base, "lokr", layers="full", factor=2)
    adapter_tools.convert(path, tmp_path / "merged", "merged", base, 0.5, "float32")
    whole = base_models.load_base(base_models.base_of(str(tmp_path / "merged")), torch.device("cpu"))
    for key, weight in merged(path, base, 0.5).items():
        component, name = key.split(".", 1)
        assert torch.equal(whole.components[component].get_parameter(name), weight)
    assert not list(tmp_path.glob(".partial-*"))


@pytest.mark.parametrize(
    ("name", "values", "to", "words"),
    [
        ("loha", {"dim": 3}, "diffusers", "holds plain LoRA, not 'text_encoder."),
        ("native", {}, "peft", "can be written as kohya"),
        ("lora", {"dim": 4}, "lycoris", "Unknown format 'lycoris'"),
        ("lora", {"dim": 4}, "merged", "needs the base model's weights"),
    ],
)
def test_conversions_that_cannot_be(tmp_path, base, name, values, to, words):
    path = saved(tmp_path, base, name, **values)
    out = tmp_path / "deep/out.safetensors"
    with pytest.raises(UserError, match=words):
        adapter_tools.convert(path, out, to, None if to == "merged" else base, 1.0, "float32")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("out", "to", "scale", "dtype", "words"),
    [
        ("out.safetensors", "kohya", 1.0, "int8", "Unknown dtype 'int8'"),
        ("out", "merged", float("nan"), "float32", "--scale must be a number"),
        ("out", "merged", 1.0, "float16", "writes float32"),
        ("out", "kohya", 1.0, "float32", "end in .safetensors"),
        ("out.safetensors", "kohya", 0.5, "float32", "--scale is for --to merged"),
    ],
)
def test_options_of_conversion_that_cannot_be(tmp_path, base, out, to, scale, dtype, words):
    path = saved(tmp_path, base, "lora", dim=4)
    with pytest.raises(UserError, match=words):
        adapter_tools.convert(path, tmp_path / out, to, base, scale, dtype)
    assert list(tmp_path.iterdir()) == [path]


def test_folders_on_the_way_are_made(tmp_path, base):
    path = saved(tmp_path, base, "lora", dim=4)
    adapter_tools.convert(path, tmp_path / "new/folder/out.safetensors", "kohya", base, 1.0, "float32")
    assert adapter_tools.inspect(tmp_path / "new/folder/out.safetensors", base)["dim"] == 4


def test_norms_do_not_fit_peft_and_what_exists_is_not_overwritten(tmp_path, base):
    path = saved(tmp_path, base, "lora", layers="full", dim=4)
    with pytest.raises(UserError, match=r"A peft file cannot hold 'unet\..*_norm'; write kohya"):
        adapter_tools.convert(path, tmp_path / "out", "peft", base, 1.0, "float32")
    with pytest.raises(UserError, match="exists; remove it"):
        adapter_tools.convert(path, path, "kohya", base, 1.0, "float32")


def test_a_file_that_fits_no_architecture(tmp_path, base):
    done = lorabench_here("inspect", str(saved(tmp_path, base, "lora", dim=4)))
    assert done.returncode == 2 and "fits none of these" in done.stderr and "sd15: " in done.stderr


def test_names_and_metadata_cannot_steer_a_terminal(tmp_path, base):
    path = saved(tmp_path, base, "lora", dim=4)
    tensors = load_file(path)
    for name in (b"\xff.safetensors", b"[bold]\x1b[2J.safetensors"):
        odd = os.path.join(os.fsencode(tmp_path), name)
        with open(odd, "wb") as file:
            file.write(save(tensors, {"title": "\x1b]8;;http://example.org\x07"}))
        done = lorabench_here("inspect", os.fsdecode(odd), "--base", base)
        assert (done.stdout + done.stderr).replace("\n", "").isprintable()
        assert done.returncode == (2 if name[0] == 255 else 0), done.stderr
    assert r"title \x1b]8;;http" in done.stdout
    rows = io.StringIO()
    with contextlib.redirect_stdout(rows):
        show([{"file": "a[/b]\x1b[2J", "[i]": 1}], as_json=False)
    assert r"a[/b]\x1b[2J" in rows.getvalue() and "[i]" in rows.getvalue()


def test_what_cannot_be_written_is_a_sentence(tmp_path, base, monkeypatch):
    path = saved(tmp_path, base, "lora", dim=4)
    read_only = lorabench_here("convert", str(path), "/proc/sys/a.safetensors", "--to", "kohya", "--base", base)
    assert read_only.returncode == 2 and "a.safetensors" in read_only.stderr

    def full(*_, **__):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(_safetensors, "save_file", full)
    for to, out in (("kohya", "out.safetensors"), ("peft", "out")):
        done = lorabench_here("convert", str(path), str(tmp_path / out), "--to", to, "--base", base)
        assert done.returncode == 1 and "No space left on device" in done.stderr
    assert list(tmp_path.iterdir()) == [path]
