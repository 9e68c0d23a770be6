"""Whatever stands in an adapter's metadata, it is read or refused with a sentence: a grid of keys and junk, seeded."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from pathlib import Path

import peft
import pytest
import torch
from safetensors.torch import load_file, save
from saved_adapters import saved, tiny, trained

from lorabench.api import adapter_folders, evaluate_adapters, series
from lorabench.errors import UserError
from lorabench.records import Checkpoint

ONE = "regex:mid_block.attentions.0.transformer_blocks.0.attn1.to_q$"
# Text of JSON, some of which is none.
JUNK = (
    *("null", "true", "false", "0", "-1", "5", "1.5", "NaN", "-Infinity", "1e999", str(2**70), str(-(2**70))),
    *("9" * 5_000, '""', '"x"', '"16"', '"None"', '"1e5"', '"true"', '"\\ud800"', '"\\u0000"', '"../../etc"'),
    *('"{0.__class__}"', f'"{"x" * 20_000}"', "[]", "[1]", '["a"]', "[[[]]]", "[null]", "{}", '{"a": 1}'),
    *('{"to_q": "x"}', '{"(": 1}', '{"(a|a)*$": 1}', '{"a": {"b": {}}}', "[" * 20_000, '{"a":' * 5_000),
    *("", "{", "\\", "\x00", '"\x1b[2J"'),
)
OWN = ("algorithm", "base", "seed", "epoch", "step", "config", "version", "more")
CONFIG = (
    *("name", "algorithm", "trained_layers", "lr", "dim", "alpha", "factor", "epochs", "checkpoint_epochs", "betas"),
    *("batch_size", "train_unet", "conv_dim", "conv_alpha", "tucker", "dora", "peft", "text_encoder_lr", "more"),
)
KOHYA = (
    *("ss_seed", "ss_epoch", "ss_steps", "ss_num_epochs", "ss_unet_lr", "ss_learning_rate", "ss_sd_model_name"),
    *("ss_network_dim", "ss_network_alpha", "ss_network_args", "modelspec.title", "more"),
)
PEFT = (
    *("peft_type", "r", "lora_alpha", "alpha", "rank_pattern", "alpha_pattern", "use_rslora", "use_dora", "bias"),
    *("init_lora_weights", "modules_to_save", "target_modules", "feedforward_modules", "auto_mapping", "megatron_core"),
    *("layer_replication", "base_model_name_or_path", "loftq_config", "eva_config", "runtime_config", "more"),
    *("save_projection", "projection_prng_key", "d_initial", "fan_in_fan_out", "init_weights", "decompose_factor"),
)


@pytest.fixture(scope="module")
def base() -> dict:
    return tiny()


def table(values: dict[str, object], changes: dict[str, str]) -> str:
    """A JSON object with some values replaced by text."""
    texts = {key: json.dumps(value) for key, value in values.items()} | changes
    return "{" + ", ".join(f"{json.dumps(key)}: {text}" for key, text in texts.items()) + "}"


def with_metadata(tensors: dict[str, torch.Tensor], metadata: str) -> bytes:
    """A safetensors file whose metadata is this text, be it JSON or not."""
    whole = save(tensors)
    length = struct.unpack("<Q", whole[:8])[0]
    header = (
        b'{"__metadata__": ' + metadata.encode("utf-8", "surrogatepass") + b", " + whole[8 : 8 + length].lstrip()[1:]
    )
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + whole[8 + length :]


Writer = Callable[[Path, dict[str, str]], Path]


def of_file(name: str, tensors: dict[str, torch.Tensor], metadata: Callable[[dict[str, str]], str]) -> Writer:
    def write(folder: Path, changes: dict[str, str]) -> Path:
        path = folder / f"{name}.safetensors"
        path.write_bytes(with_metadata(tensors, metadata(changes)))
        return path

    return write


def of_folder(config: Path) -> Writer:
    """Of a folder that peft saved: with another config beside the same weights."""
    settings = json.loads(config.read_text())

    def write(folder: Path, changes: dict[str, str]) -> Path:
        config.write_bytes(table(settings, changes).encode("utf-8", "surrogatepass"))
        return config.parent

    return write


def kinds(folder: Path, base: dict) -> dict[str, tuple[tuple[str, ...], Writer]]:
    """Every kind of metadata: the keys that are tried, and how a file of it is written."""
    path = saved(folder, trained(base, "lora", ONE, dim=4, alpha=2.0))
    lora = load_file(path)
    own = json.loads(_metadata(path)["lorabench"])
    key = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q.lora"
    plain = {f"unet.{key}.{end}.weight": torch.ones(*size) for end, size in (("down", (4, 16)), ("up", (16, 4)))}

    def flat(changes: dict[str, str]) -> str:
        return table({}, {name: text if text.startswith('"') else json.dumps(text) for name, text in changes.items()})

    found = {
        "own": (OWN, of_file("own", lora, lambda changes: table({"lorabench": table(own, changes)}, {}))),
        "config": (
            CONFIG,
            of_file(
                "config",
                lora,
                lambda changes: table({"lorabench": table(own, {"config": table(own["config"], changes)})}, {}),
            ),
        ),
        "kohya": (KOHYA, of_file("kohya", lora, flat)),
        "header": (KOHYA[:2], of_file("header", lora, lambda changes: table({}, changes))),
        "diffusers": (
            tuple(f"unet.{name}" for name in PEFT),
            of_file(
                "diffusers",
                plain,
                lambda changes: table({"lora_adapter_metadata": table({"unet.lora_alpha": 2}, changes)}, {}),
            ),
        ),
    }
    methods = {
        "LORA": peft.LoraConfig(r=4, lora_alpha=2, target_modules=["to_q"]),
        "LOKR": peft.LoKrConfig(r=100, alpha=2, target_modules=["to_q"], decompose_factor=2),
        "VERA": peft.VeraConfig(r=2, target_modules=["to_q"]),
        "IA3": peft.IA3Config(target_modules=["to_q"], feedforward_modules=[]),
    }
    for name, config in methods.items():
        peft.get_peft_model(tiny()["unet"], config).save_pretrained(folder / name)
        found[name] = (PEFT, of_folder(folder / name / "adapter_config.json"))
    return found


def _metadata(path: Path) -> dict[str, str]:
    content = path.read_bytes()
    return json.loads(content[8 : 8 + struct.unpack("<Q", content[:8])[0]])["__metadata__"]


def outcome(path: Path, base: dict) -> Checkpoint | str:
    try:
        found = adapter_folders.adapter_file(path, "a", path, base, ())
        placed = series.placed([found])
        return evaluate_adapters._checkpoint(found, path, placed.configs[0], placed.moments[0])
    except UserError as error:
        return str(error)


def test_every_metadata_is_read_or_refused(tmp_path, base):
    """About 2,000 files; nothing but a checkpoint or a UserError comes of any."""
    rng = random.Random(13)
    written = kinds(tmp_path, base)
    grid = [(kind, {key: junk}) for kind, (keys, _) in written.items() for key in keys for junk in JUNK]
    chosen = rng.sample(grid, 1_800)
    for kind, (keys, _) in written.items():
        pairs = (rng.sample(keys, 2) for _ in range(20))
        chosen += [(kind, {key: rng.choice(JUNK) for key in pair}) for pair in pairs]
    read = dict.fromkeys(written, 0)
    for kind, changes in chosen:
        try:
            found = outcome(written[kind][1](tmp_path, changes), base)
        except BaseException as error:
            raise AssertionError(f"{kind} with {str(changes)[:200]}: {error!r}") from error
        if isinstance(found, str):
            assert str(tmp_path) in found and "\n" not in found and len(found) < 2_000, (kind, changes)
            assert all(letter.isprintable() for letter in found), (kind, changes)
        else:
            read[kind] += 1
            assert all(number is None or abs(number) < 2**63 for number in (found.seed, found.epoch, found.step))
    assert all(read.values()), read  # what is not needed makes no file unreadable


def test_junk_in_what_is_not_needed_changes_nothing(tmp_path, base):
    written = kinds(tmp_path, base)
    for kind, key in (
        *(("kohya", key) for key in ("ss_seed", "ss_num_epochs", "ss_network_dim", "ss_unet_lr", "modelspec.title")),
        *((kind, key) for kind in ("LORA", "VERA") for key in ("auto_mapping", "base_model_name_or_path", "more")),
        *(("own", key) for key in ("version", "more")),
    ):
        for junk in ("[1]", '{"a": {}}', '"x"', str(2**70)):
            found = outcome(written[kind][1](tmp_path, {key: junk}), base)
            assert isinstance(found, Checkpoint) and found.dim in (4, None), (kind, key, junk, found)
    path = written["kohya"][1](tmp_path, {"ss_seed": '"7.0"', "ss_epoch": '" 2 "', "ss_unet_lr": '"1e-4"'})
    found = outcome(path, base)
    assert (found.seed, found.epoch, found.lr) == (7, 2, 1e-4)


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        ("own", {"seed": "[1]"}, "'seed': input should be a valid integer, got [1]"),
        ("own", {"epoch": str(2**70)}, f"'epoch': input should be less than 9223372036854775808, got {2**70}"),
        ("config", {"algorithm": "5"}, "'config.algorithm': input should be a valid string, got 5"),
        ("config", {"peft": '"x"'}, "'config.peft': input should be"),
        ("config", {"peft": '{"peft_type": "SHADOW"}'}, "'peft_type': lorabench has no method 'SHADOW'"),
        ("config", {"dim": "true"}, "'config.dim': input should be a valid integer, got true"),
        ("diffusers", {"unet.lora_alpha": '"x"'}, "'lora_alpha': input should be a valid number, got 'x'"),
        ("LORA", {"lora_alpha": "1e300"}, "'lora_alpha': input should be less than or equal to 1000000000"),
        ("LORA", {"use_rslora": '"yes"'}, "'use_rslora': input should be a valid boolean, got 'yes'"),
        ("LORA", {"alpha_pattern": '{"(\\\\w|[a-z]|_|[.]|[0-9])*[0-9]": 1}'}, "takes too long"),
        ("VERA", {"r": "1e9"}, "'r': input should be a valid integer, got 1000000000.0"),
        ("VERA", {"r": "1000000000"}, "'r': input should be less than or equal to 16384"),
        ("IA3", {"peft_type": "{}"}, "'peft_type': input should be a valid string, got {}"),
        ("IA3", {"more": "[" * 100_000}, "recursion limit exceeded"),
    ],
)
def test_sentences_name_file_key_and_value(tmp_path, base, kind, changes, words):
    path = kinds(tmp_path, base)[kind][1](tmp_path, changes)
    sentence = outcome(path, base)
    assert words in sentence and str(path) in sentence and "\n" not in sentence


# --- headers of safetensors -------------------------------------------------------------------------------------------

NAME = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"


def raw(header: object, data: bytes, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(dtype: str, shape: list[int], start: int, end: int) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def lora(dtype: str = "F32", down=(4, 16), up=(16, 4), alpha=()) -> bytes:
    """A LoRA of these shapes, filled with ones; numbers of unknown width are taken to have one byte."""
    width = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "C64": 8, "F16": 2, "BF16": 2}.get(dtype, 1)
    header, end = {}, 0
    for suffix, shape in (("lora_down.weight", down), ("lora_up.weight", up), ("alpha", alpha)):
        size = width * int(torch.tensor(shape).prod()) if shape else width
        header[f"{NAME}.{suffix}"] = entry(dtype, list(shape), end, end + size)
        end += size
    return raw(header, b"\x00" * end)


FAULTY = {
    "header beyond the file": raw({}, b"", length=10**6),
    "header of 2**63 bytes": raw({}, b"", length=2**63),
    "header that is no JSON": raw(b"{]", b""),
    "header that is a list": raw([], b""),
    "header nested deep": raw(b'{"a":' * 100_000, b""),
    "not UTF-8": raw(b'{"\xff": 1}', b""),
    "overlap": raw({f"{NAME}.{end}": entry("F32", [4], 0, 16) for end in ("lora_up.weight", "diff")}, b"\x00" * 16),
    "offsets beyond the file": raw({f"{NAME}.diff": entry("F32", [4], 0, 16)}, b"\x00" * 8),
    "shape and offsets disagree": raw({f"{NAME}.diff": entry("F32", [5], 0, 16)}, b"\x00" * 16),
    "shape beyond all numbers": raw({f"{NAME}.diff": entry("F32", [2**40, 2**40], 0, 16)}, b"\x00" * 16),
    "dtype nobody knows": lora("Q7"),
    "dtype that is no number": raw({f"{NAME}.diff": {"dtype": 5, "shape": [1], "data_offsets": [0, 4]}}, b"\x00" * 4),
    "metadata that is a number": raw({"__metadata__": 5, f"{NAME}.diff": entry("F32", [1], 0, 4)}, b"\x00" * 4),
    "weights that are integers": lora("I32"),
    "complex weights": lora("C64"),
    "unsigned 64 bits": lora("U64"),
    "booleans": lora("BOOL"),
    "no numbers": lora(down=(0, 16), up=(16, 0)),
    "no dimension": lora(down=(), up=()),
    "one dimension": lora(down=(4,), up=(4,)),
    "seven dimensions": lora(down=(4, 16, 1, 1, 1, 1, 1), up=(16, 4, 1, 1, 1, 1, 1)),
    "ranks that differ": lora(down=(4, 16), up=(16, 5)),
    "alpha of two numbers": lora(alpha=(2,)),
    "cut short": lora()[:-4],
    "longer than it says": lora() + b"\x00" * 4,
}


@pytest.mark.parametrize("fault", FAULTY)
def test_headers_that_cannot_be(tmp_path, base, fault):
    path = tmp_path / "a.safetensors"
    path.write_bytes(FAULTY[fault])
    sentence = outcome(path, base)
    assert isinstance(sentence, str) and str(path) in sentence and "\n" not in sentence


@pytest.mark.parametrize("dtype", ["F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "F8_E8M0"])
def test_numbers_of_every_width_are_read(tmp_path, base, dtype):
    path = tmp_path / "a.safetensors"
    path.write_bytes(lora(dtype))
    found = outcome(path, base)
    assert isinstance(found, Checkpoint) and found.dim == 4, found
