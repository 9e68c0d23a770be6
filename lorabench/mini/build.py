"""The recipe of the shipped weights: every training of the miniature world, in order, resumable.

On two CPU cores the whole recipe takes about an hour and a half; see recipe.json for what the shipped weights had.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PARTS = ("autoencoder", "base", "decoder", "dinov2", "convnextv2", "vgg19", "clip")
PICTURES = 48_000


@dataclass(frozen=True)
class Recipe:
    """What differs between the trainings; `steps` are optimizer steps, `batch` is per process."""

    steps: int
    lr: float
    batch: int
    compiled: bool = False
    warmup: int = 100
    decay_from: float = 0.3
    weight_decay: float = 0.0
    ema: float = 0.998
    save_every: int = 250


RECIPES = {
    "autoencoder": Recipe(1900, 2.5e-3, 8, compiled=True, save_every=100),
    "base": Recipe(2800, 1.2e-3, 32, compiled=True, warmup=200, save_every=250),
    "decoder": Recipe(900, 1.2e-3, 8, compiled=True, decay_from=0.1, save_every=100),
    "dinov2": Recipe(900, 1.5e-3, 32, weight_decay=0.02, ema=0.99, save_every=50),
    "convnextv2": Recipe(700, 3e-3, 32, weight_decay=0.02, ema=0.99, save_every=50),
    "vgg19": Recipe(450, 1.5e-3, 48, weight_decay=0.01, ema=0.99, save_every=50),
    "clip": Recipe(800, 2e-3, 96, weight_decay=0.02, ema=0.99, save_every=50),
}


def build(
    only: Sequence[str] | None = None,
    out: Path | None = None,
    work: Path = Path(".mini-build"),
    scale: float = 1.0,
    device: str = "cpu",
    seed: int = 1,
    processes: int = 2,
    commit: str | None = None,
) -> Path:
    """Train the parts of `only` (all of them by default) and publish them to `out`, the package's weights by default.

    `scale` multiplies every number of steps. Checkpoints live in `work`; a build that was stopped goes on where it was,
    and a finished part is only published again: raise `scale` to train it on, or remove its checkpoint to start anew.
    Every save of a part publishes its averaged weights. ValueError on an unknown part or a missing earlier one.
    """
    from lorabench.mini import weights_path
    from lorabench.mini.training_data import prepare

    chosen = tuple(only) if only else PARTS
    unknown = sorted(set(chosen) - set(PARTS))
    if unknown:
        raise ValueError(f"Unknown part {', '.join(unknown)} of the miniature world. Available: {', '.join(PARTS)}.")
    if {"base", "decoder"} & set(chosen) and "autoencoder" not in chosen and not (work / "vae.pth").exists():
        raise ValueError(f"The base needs a trained autoencoder, and {work / 'vae.pth'} is missing: build it first.")
    out = out or weights_path()
    data = prepare(work, max(512, round(PICTURES * min(1.0, scale))), seed, processes)
    for part in PARTS:
        if part in chosen:
            result = _train_part(part, data, work, out, scale, device, seed, processes)
            record(out, part, {**result, "seed": seed, "device": device, "processes": processes, "commit": commit})
    return out


def _train_part(
    part: str, data: Path, work: Path, out: Path, scale: float, device: str, seed: int, processes: int
) -> dict[str, Any]:
    from lorabench.mini.parallel import Plan

    recipe = RECIPES[part]
    steps = max(2, round(recipe.steps * scale))
    print(f"{part}: {steps} steps, log in {work / part}.log", file=sys.stderr)
    plan = Plan(
        name=part,
        steps=steps,
        lr=recipe.lr,
        batch=recipe.batch,
        seed=seed,
        work=work,
        device=device,
        processes=processes,
        warmup=min(recipe.warmup, steps),
        decay_from=recipe.decay_from,
        weight_decay=recipe.weight_decay,
        ema=recipe.ema,
        save_every=recipe.save_every,
        compiled=recipe.compiled,
    )
    result = _trainer(part, out)(data, plan)
    return {"steps": result["steps"], "loss": round(result["loss"], 4), "lr": recipe.lr, "batch": recipe.batch}


def _trainer(part: str, out: Path) -> Callable[[Path, Any], dict[str, float]]:
    """The training of a part as a function of data and plan."""
    from lorabench.mini import train_autoencoder, train_base, train_clip, train_encoders

    trainers: dict[str, Callable[[Path, Any], dict[str, float]]] = {
        "autoencoder": train_autoencoder.train_autoencoder,
        "base": lambda data, plan: train_base.train_base(data, plan, out / "base"),
        "decoder": lambda data, plan: train_base.train_decoder(data, plan, out / "base"),
        "dinov2": lambda data, plan: train_encoders.train_dinov2(data, plan, out / "dinov2"),
        "convnextv2": lambda data, plan: train_encoders.train_convnextv2(data, plan, out / "convnextv2"),
        "vgg19": lambda data, plan: train_encoders.train_vgg19(data, plan, out / "vgg19"),
        "clip": lambda data, plan: train_clip.train_clip(data, plan, out / "clip"),
    }
    return trainers[part]


def record(out: Path, part: str, values: dict[str, Any]) -> None:
    """Put `values` under `part` in recipe.json beside the weights."""
    path = out / "recipe.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    known[part] = values
    path.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
