"""Results of peft's comparison of methods on image generation (method_comparison/image-gen): JSON files, one a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from lorabench.errors import UserError
from lorabench.published.records import Published, PublishedStudy
from lorabench.statistics.columns import FACTORS, LEAF, METRIC

NAME = "peft_image_gen"
_PARTS = {"run_info", "train_info"}
_OURS = ("LORA", "LOHA", "LOKR", "IA3")  # peft's methods that go by our own names
# What a result holds beside losses: its name there -> prompt type, metric.
_VALUES = {"test dino_similarity": ("alter", "image_similarity"), "drift": ("drift", "drift")}
_METRICS: tuple[dict[str, Any], ...] = (
    {
        "name": "image_similarity",
        "criterion": "fidelity",
        "higher_is_better": True,
        "description": "DINOv2 cosine to the held-out picture whose caption was the prompt.",
        "encoders": ("dinov2",),
    },
    {
        "name": "drift",
        "criterion": "base_model_preservation",
        "higher_is_better": False,
        "description": "How far pictures of everyday prompts have moved from the base model's, by DINOv2.",
        "encoders": ("dinov2",),
    },
)


def recognises(folder: Path) -> bool:
    """Whether there is a result of that comparison below a folder."""
    return any(_is_result(_content(file)) for file in _files(folder))


def read(folder: Path) -> Published:
    """All results below a folder as one study. UserError if there is none, or one is no whole result.

    A run is one config with one seed, measured on one subject at its last step: ranks say who led, not how surely. Runs
    that did not succeed become missing values.
    """
    found = {file: content for file in _files(folder) if _is_result(content := _content(file))}
    if not found:
        raise UserError(f"{folder} holds no result of peft's image-gen comparison (JSON with run_info and train_info).")
    rows, costs, notes = [], [], []
    if len(twice := [file for file in found if sum(file.stem == other.stem for other in found) > 1]):
        raise UserError(f"A file names its run, and these have one name: {', '.join(map(str, twice))}.")
    for file, content in found.items():
        try:
            factors = _factors(file.stem, content)
            rows += _scores(factors, content)
            costs.append(_cost(factors, content))
        except (KeyError, TypeError, IndexError, ValueError) as error:
            raise UserError(f"{file} is no whole result of peft's image-gen comparison: {error!r}.") from error
        status = content["train_info"]["status"]
        if status != "success":
            notes.append(f"{file.name}: {status}, so its values are missing.")
    study = PublishedStudy(
        name=NAME,
        description="peft's comparison of methods on image generation, as its authors measured it: a subject, a seed.",
        scores=pd.DataFrame(rows).astype({name: "Int64" for name in ("dim", "factor", "seed", "epoch", "step")}),
        exclude=(),
        dataset=", ".join(sorted({content["run_info"]["train_config"]["dataset_id"] for content in found.values()})),
        metrics=_METRICS,
        costs=pd.DataFrame(costs),
    )
    return Published((study,), pd.DataFrame(), tuple(notes))


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*.json") if ".git" not in file.parts)


def _content(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _is_result(content: Any) -> bool:
    return isinstance(content, dict) and _PARTS <= content.keys()


def _factors(config: str, content: Mapping[str, Any]) -> dict[str, Any]:
    training, method = content["run_info"]["train_config"], content["run_info"].get("peft_config") or {}
    alpha = next((method[key] for key in ("lora_alpha", "alpha") if method.get(key) is not None), None)
    values = {
        "study": NAME,
        "base": training["model_id"],
        "checkpoint": config,
        "config": config,
        "algorithm": _algorithm(method),
        "trained_layers": "custom",
        "lr": float(training["optimizer_kwargs"]["lr"]),
        "dim": _whole(method.get("r")),
        "alpha": None if alpha is None else float(alpha),
        "seed": _whole(training["seed"]),
        "step": _whole(content["train_info"]["metrics"][-1]["step"]) if content["train_info"]["metrics"] else None,
        "scale": 1.0,
    }
    return {name: values.get(name) for name in FACTORS}


def _whole(number: Any) -> int | None:
    """ValueError for what is no whole number: such a file is not what we take it for."""
    if number is not None and int(number) != number:
        raise ValueError(f"{number!r} is no whole number")
    return number


def _algorithm(method: Mapping[str, Any]) -> str:
    """Our word for it (`TrainConfig.method`); a run without a peft config trained the whole model."""
    if not method:
        return "native"
    if method.get("use_dora"):
        return "dora"
    name = str(method["peft_type"])
    return name.lower() if name in _OURS else f"peft:{name}"


def _scores(factors: Mapping[str, Any], content: Mapping[str, Any]) -> list[dict[str, Any]]:
    metrics = content["train_info"]["metrics"]
    last = metrics[-1] if metrics else {}
    rows = []
    for name, (prompt_type, metric) in _VALUES.items():
        leaf = dict(zip(LEAF, ("subjects", "cat", "")))
        measured = dict(zip(METRIC, (prompt_type, metric, "dinov2", "")))
        value = float(last.get(name, "nan"))
        reason = "" if name in last else f"No {name} in the result."
        rows.append({**factors, **leaf, **measured, "value": value, "reason": reason, "n_images": None})
    return rows


def _cost(factors: Mapping[str, Any], content: Mapping[str, Any]) -> dict[str, Any]:
    info = content["train_info"]
    device = content.get("meta_info", {}).get("system_info", {}).get("accelerator", "")
    return {
        "stage": "train", "item": factors["config"], "config": factors["config"], "checkpoint": factors["checkpoint"],
        "seconds": info["train_time"], "bytes": info["file_size"],
        "device_memory_bytes": info["accelerator_memory_max"], "device": device,
    }  # fmt: skip
