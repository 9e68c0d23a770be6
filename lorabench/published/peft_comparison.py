"""Results of peft's comparison of methods on image generation (method_comparison/image-gen): JSON files, one a run."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import JsonValue

from lorabench.errors import UserError
from lorabench.published.records import Published, PublishedStudy
from lorabench.statistics.columns import FACTORS, LEAF, METRIC
from lorabench.untrusted import FileRecord, Seed, Whole, checked

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


class _Optimizer(FileRecord):
    lr: float


class _Training(FileRecord):
    model_id: str
    dataset_id: str
    seed: Seed | None
    optimizer_kwargs: _Optimizer


class _Method(FileRecord):
    peft_type: str
    use_dora: bool | None = None
    r: Whole | None = None
    lora_alpha: float | None = None
    alpha: float | None = None

    @property
    def name(self) -> str:
        """Our word for it (`AdapterConfig.method`)."""
        if self.use_dora:
            return "dora"
        return self.peft_type.lower() if self.peft_type in _OURS else f"peft:{self.peft_type}"


class _RunInfo(FileRecord):
    train_config: _Training
    peft_config: _Method | None = None  # a run without one trained the whole model


class _TrainInfo(FileRecord):
    status: str
    train_time: float
    file_size: Whole
    accelerator_memory_max: Whole
    metrics: list[dict[str, JsonValue]]


class _System(FileRecord):
    accelerator: str | None = None


class _Meta(FileRecord):
    system_info: _System = _System()


class _Result(FileRecord):
    """What is read of a result."""

    run_info: _RunInfo
    train_info: _TrainInfo
    meta_info: _Meta = _Meta()

    @property
    def last(self) -> dict[str, float]:
        """The numbers of the last step that was measured."""
        metrics = self.train_info.metrics[-1] if self.train_info.metrics else {}
        return {
            name: float(value)
            for name, value in metrics.items()
            if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**63
        }


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
    if len(twice := [file for file in found if sum(file.stem == other.stem for other in found) > 1]):
        raise UserError(f"A file names its run, and these have one name: {', '.join(map(str, twice))}.")
    rows, costs, notes, datasets = [], [], [], set()
    for file, content in found.items():
        result = checked(content, _Result, f"{file} is no whole result of peft's image-gen comparison")
        factors = _factors(file.stem, result)
        rows += _scores(factors, result)
        costs.append(_cost(factors, result))
        datasets.add(result.run_info.train_config.dataset_id)
        if result.train_info.status != "success":
            notes.append(f"{file.name}: {result.train_info.status}, so its values are missing.")
    study = PublishedStudy(
        name=NAME,
        description="peft's comparison of methods on image generation, as its authors measured it: a subject, a seed.",
        scores=pd.DataFrame(rows).astype({name: "Int64" for name in ("dim", "factor", "seed", "epoch", "step")}),
        exclude=(),
        dataset=", ".join(sorted(datasets)),
        metrics=_METRICS,
        costs=pd.DataFrame(costs),
    )
    return Published((study,), pd.DataFrame(), tuple(notes))


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*.json") if ".git" not in file.parts)


def _content(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def _is_result(content: Any) -> bool:
    return isinstance(content, dict) and _PARTS <= content.keys()


def _factors(config: str, result: _Result) -> dict[str, Any]:
    training, method = result.run_info.train_config, result.run_info.peft_config
    values: dict[str, Any] = {
        "study": NAME,
        "base": training.model_id,
        "checkpoint": config,
        "config": config,
        "algorithm": method.name if method else "native",
        "trained_layers": "custom",
        "lr": training.optimizer_kwargs.lr,
        "seed": training.seed,
        "step": int(result.last["step"]) if "step" in result.last else None,
        "scale": 1.0,
    }
    if method:
        values |= {"dim": method.r, "alpha": method.alpha if method.lora_alpha is None else method.lora_alpha}
    return {name: values.get(name) for name in FACTORS}


def _scores(factors: Mapping[str, Any], result: _Result) -> list[dict[str, Any]]:
    rows = []
    for name, (prompt_type, metric) in _VALUES.items():
        leaf = dict(zip(LEAF, ("subjects", "cat", "")))
        measured = dict(zip(METRIC, (prompt_type, metric, "dinov2", "")))
        value = result.last.get(name, float("nan"))
        reason = "" if math.isfinite(value) else f"No {name} in the result."
        rows.append({**factors, **leaf, **measured, "value": value, "reason": reason, "n_images": None})
    return rows


def _cost(factors: Mapping[str, Any], result: _Result) -> dict[str, Any]:
    info = result.train_info
    return {
        "stage": "train", "item": factors["config"], "config": factors["config"], "checkpoint": factors["checkpoint"],
        "seconds": info.train_time, "bytes": info.file_size, "device_memory_bytes": info.accelerator_memory_max,
        "device": result.meta_info.system_info.accelerator or "",
    }  # fmt: skip
