"""The recipe of the shipped weights: every training of the miniature world, in order, resumable.

On two CPU cores the whole recipe takes a little over two hours; see recipe.json for what the shipped weights had.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lorabench import store
from lorabench.mini import parallel, weights_path
from lorabench.mini.parallel import Plan, Recipe
from lorabench.mini.train_autoencoder import VAE, AutoencoderTask
from lorabench.mini.train_base import SCALING_FACTOR, BaseTask
from lorabench.mini.train_clip import ClipTask
from lorabench.mini.train_encoders import ConvNextTask, StyleTask, VitTask
from lorabench.mini.train_judge import JudgeTask
from lorabench.mini.training_data import describe, prepare, world

PICTURES = 48_000
RECIPE_FILE = "recipe.json"  # beside the weights
TASKS: dict[str, type] = {
    "autoencoder": AutoencoderTask,
    "base": BaseTask,
    "dinov2": VitTask,
    "convnextv2": ConvNextTask,
    "vgg19": StyleTask,
    "clip": ClipTask,
    "judge": JudgeTask,
}
RECIPES = {
    "autoencoder": Recipe(7000, 4e-3, 4, compiled=True),
    "base": Recipe(7000, 1.2e-3, 32, warmup=200, ema=0.999, compiled=True),
    "dinov2": Recipe(2600, 1.5e-3, 48, weight_decay=0.02, ema=0.99),
    "convnextv2": Recipe(700, 3e-3, 48, weight_decay=0.02, ema=0.99),
    "vgg19": Recipe(700, 1.5e-3, 24, weight_decay=0.01, ema=0.99),
    "clip": Recipe(1500, 2e-3, 96, weight_decay=0.02, ema=0.99),
    "judge": Recipe(1000, 3e-3, 48, weight_decay=0.02, ema=0.99),
}
PARTS = tuple(TASKS)


def build(
    only: Sequence[str] | None = None,
    out: Path | None = None,
    work: Path = Path(".mini-build"),
    scale: float = 1.0,
    device: str = "cpu",
    seed: int = 1,
    processes: int = 2,
) -> Path:
    """Train the parts of `only` (all of them by default) and publish them to `out`, the package's weights by default.

    `scale` multiplies every number of steps. Checkpoints live in `work`; a build that was stopped goes on where it was,
    and a finished part is only published again: raise `scale` to train it on, or remove its checkpoint to start anew.
    Every save of a part publishes its averaged weights. ValueError on an unknown part or a missing earlier one.
    """
    chosen, out = _chosen(only), out or weights_path()
    if "base" in chosen and "autoencoder" not in chosen and not (work / VAE).exists():
        raise ValueError(f"The base needs a trained autoencoder, and {work / VAE} is missing: build it first.")
    data = prepare(work, max(512, round(PICTURES * min(1.0, scale))), seed, processes)
    for part in chosen:
        plan = _plan(part, work, scale, device, seed, processes)
        print(f"{part}: {plan.recipe.steps} steps, log in {work / part}.log", file=sys.stderr)
        TASKS[part].prepare(data, plan)
        result = parallel.train(plan, partial(TASKS[part], data, plan, out / part))
        _record(out, plan, result)
    return out


def replay(only: Sequence[str] | None = None, weights: Path | None = None) -> list[dict[str, Any]]:
    """The first steps of the parts of `only` again, and how far their losses are from those of recipe.json.

    One row a part: part, recorded and replayed losses, and their largest relative difference. Pictures are rendered as
    they are asked for, so that this takes a minute and no space. ValueError on an unknown part or one without a record.
    """
    weights = weights or weights_path()
    recorded, rows = json.loads((weights / RECIPE_FILE).read_text(encoding="utf-8")), []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        _unpack_autoencoder(weights / "base" / "vae", work)
        for part in _chosen(only):
            then = recorded[part]
            if "first_losses" not in then:
                raise ValueError(f"{weights / RECIPE_FILE} has no first losses of '{part}': train it again.")
            data = describe(work / part, then["pictures"], then["seed"])
            plan = _plan(part, work, 1.0, "cpu", then["seed"], then["processes"], compiled=False)
            now = parallel.replay(plan, partial(TASKS[part], data, plan, work / "unused"))["first_losses"]
            pairs = list(zip(then["first_losses"], now, strict=True))
            difference = max(abs(after - before) / abs(before) for before, after in pairs)
            rows.append({"part": part, "recorded": then["first_losses"], "replayed": now, "difference": difference})
    return rows


def _chosen(only: Sequence[str] | None) -> tuple[str, ...]:
    unknown = sorted(set(only or ()) - set(PARTS))
    if unknown:
        raise ValueError(f"Unknown part {', '.join(unknown)} of the miniature world. Available: {', '.join(PARTS)}.")
    return tuple(part for part in PARTS if not only or part in only)


def _plan(
    part: str, work: Path, scale: float, device: str, seed: int, processes: int, compiled: bool | None = None
) -> Plan:
    recipe = RECIPES[part]
    steps = max(parallel.FIRST_LOSSES, round(recipe.steps * scale))
    warmup, compiled = min(recipe.warmup, steps), recipe.compiled if compiled is None else compiled
    return Plan(part, replace(recipe, steps=steps, warmup=warmup, compiled=compiled), seed, work, device, processes)


def _record(out: Path, plan: Plan, result: dict[str, Any]) -> None:
    """Put how a part came about into recipe.json beside the weights."""
    made = store.provenance_of(plan.device, datetime.now(UTC), 0.0)
    values = {
        **asdict(plan.recipe),
        "steps": result["steps"],
        "loss": round(result["loss"], 4),
        "first_losses": [round(loss, 5) for loss in result["first_losses"]],
        "pictures": world(plan.work / "data")[0],
        "seed": plan.seed,
        "device": plan.device,
        "processes": plan.processes,
        "torch": torch.__version__,
        "commit": made.git_commit + (" with changes" if made.git_dirty else ""),
    }
    file = out / RECIPE_FILE
    known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    file.write_text(json.dumps({**known, plan.name: values}, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _unpack_autoencoder(vae: Path, work: Path) -> None:
    """Put the shipped autoencoder where a build would have left its own."""
    from diffusers import AutoencoderKL

    model = AutoencoderKL.from_pretrained(vae).float()
    torch.save(model.state_dict(), work / VAE)
    (work / SCALING_FACTOR).write_text(json.dumps(model.config.scaling_factor), encoding="utf-8")
