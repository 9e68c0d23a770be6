"""Pictures drawn elsewhere say with which prompt and seed: as the programs write it, and as people list it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lorabench.errors import UserError
from lorabench.picture_metadata import drawn_pictures, plain_text

PARAMETERS = """a photo of [V_toy] toy <lora:toy-000004:0.8>, (red:1.2)
on a table
Negative prompt: blurry, Steps: 3
Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1234567890123, Size: 512x512, Model: v1-5"""
GRAPH = {
    "3": {"class_type": "KSampler", "inputs": {"seed": ["11", 0], "positive": ["8", 0], "negative": ["7", 0]}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": ["10", 0], "clip": ["4", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "ugly", "clip": ["4", 1]}},
    "8": {"class_type": "ConditioningCombine", "inputs": {"conditioning_1": ["6", 0], "conditioning_2": ["9", 0]}},
    "9": {"class_type": "CLIPTextEncode", "inputs": {"text": "at night", "clip": ["4", 1]}},
    "10": {"class_type": "String Literal", "inputs": {"string": "a [V_toy] toy"}},
    "11": {"class_type": "PrimitiveInt", "inputs": {"value": 77}},
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "v1-5.safetensors"}},
    "12": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
    "13": {
        "class_type": "SaveImage",
        "inputs": {"images": ["12", 0], "filename_prefix": "x"},
        "is_changed": [float("nan")],
    },
}
FLUX = {
    "1": {"class_type": "RandomNoise", "inputs": {"noise_seed": 5}},
    "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "a tower", "clip": ["9", 0]}},
    "3": {"class_type": "FluxGuidance", "inputs": {"conditioning": ["2", 0], "guidance": 3.5}},
    "4": {"class_type": "BasicGuider", "inputs": {"model": ["9", 0], "conditioning": ["3", 0]}},
    "5": {"class_type": "SamplerCustomAdvanced", "inputs": {"noise": ["1", 0], "guider": ["4", 0]}},
    "6": {"class_type": "SaveImage", "inputs": {"images": ["5", 0]}},
    "9": {"class_type": "UNETLoader", "inputs": {"unet_name": "flux.safetensors"}},
}


def png(folder: Path, name: str = "a.png", **chunks: str) -> Path:
    info = PngInfo()
    for key, text in chunks.items():
        info.add_itxt(key, text)
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(folder / name, pnginfo=info)
    return folder / name


def said(path: Path) -> tuple[str, int | None, str]:
    (found,) = drawn_pictures(path.parent, [path])
    return found.prompt, found.seed, found.said_by


def test_a1111_png_and_jpeg(tmp_path):
    words = "a photo of [V_toy] toy <lora:toy-000004:0.8>, (red:1.2)\non a table"
    assert said(png(tmp_path, parameters=PARAMETERS)) == (words, 1234567890123, "AUTOMATIC1111")
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + PARAMETERS.encode("utf-16-be")
    Image.new("RGB", (8, 8)).save(tmp_path / "b.jpg", exif=exif)
    assert said(tmp_path / "b.jpg") == (words, 1234567890123, "AUTOMATIC1111")
    assert plain_text(words) == "a photo of [V_toy] toy, red on a table"


@pytest.mark.parametrize(
    "graph, prompt, seed", [(GRAPH, "a [V_toy] toy, at night", 77), (FLUX, "a tower", 5)], ids=["combined", "guider"]
)
def test_comfyui(graph, prompt, seed, tmp_path):
    assert said(png(tmp_path, prompt=json.dumps(graph), workflow="{}")) == (prompt, seed, "ComfyUI")


def test_invokeai(tmp_path):
    text = json.dumps({"positive_prompt": "a tower", "seed": 9, "model": {"name": "x"}})
    assert said(png(tmp_path, invokeai_metadata=text)) == ("a tower", 9, "InvokeAI")


@pytest.mark.parametrize(
    "chunks",
    [
        {},
        {"prompt": "{"},
        {"prompt": "[" * 100_000},
        {"prompt": '{"1": {"inputs": {"positive": ["1", 0]}}}'},
        {"prompt": "7"},
    ],
)
def test_a_picture_that_says_nothing_is_a_picture_all_the_same(chunks, tmp_path):
    assert said(png(tmp_path, **chunks)) == ("", None, "")


def test_what_people_list_goes_before_what_the_picture_says(tmp_path):
    first, second = (png(tmp_path, name, parameters=PARAMETERS) for name in ("a.png", "b.png"))
    second.with_suffix(".txt").write_text("\ufeffa tower\n", encoding="utf-8")
    (tmp_path / "prompts.jsonl").write_text('{"file_name": "a.png", "prompt": "a house", "seed": 3, "model": "x"}\n\n')
    found = drawn_pictures(tmp_path, [first, second])
    assert [(each.prompt, each.seed, each.said_by) for each in found] == [
        ("a house", 3, "prompts.jsonl"),
        ("a tower", None, "b.txt"),
    ]
    for line, words in [
        ('{"file_name": "c.png", "prompt": "x"}', "no picture c.png"),
        ('{"file_name": "a.png", "prompt": "x"}\n' * 2, "line 2: a.png has a line already"),
        ('{"file_name": "a.png"}', "line 1"),
        ("{", "line 1"),
    ]:
        (tmp_path / "prompts.jsonl").write_text(line)
        with pytest.raises(UserError, match=words):
            drawn_pictures(tmp_path, [first, second])


@pytest.mark.parametrize(
    "prompt, plain",
    [
        ("((best)) toy BREAK a house AND a tree", "best toy, a house, a tree"),
        (r"a toy \(plush\), (big (red:1.1):1.3), , <lyco:x:1>", "a toy (plush), big red"),
        ("[V_toy] toy", "[V_toy] toy"),
        ("a (strange", "a (strange"),
    ],
)
def test_plain_text(prompt, plain):
    assert plain_text(prompt) == plain
