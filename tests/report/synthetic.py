"""A made-up run with planted effects: what the report is developed and tested against.

Planted: a config's strength and its epochs raise fidelity and lower controllability, diversity and preservation; LoKr
is the most controllable; seeds add noise. One metric has no values for one category, and a few leaves are missing.
"""

from __future__ import annotations

import dataclasses
import io
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from lorabench.report import RunTables
from lorabench.report.runs import write_facts
from lorabench.report.tables import TABLES
from lorabench.statistics.columns import INTERFERENCE_COLUMNS, LEAF, with_whole_numbers
from lorabench.statistics.dilution import MergedParent, dilution

FACTORS = "study base checkpoint config algorithm trained_layers lr dim alpha factor seed epoch step scale".split()
PROMPTS = ("train", "trigger", "alter", "style")
COLUMN = ["prompt_type", "metric", "encoder", "resize"]
CONCEPTS = {
    "anime_characters": [("abukuma", "dark uniform"), ("abukuma", "summer uniform"), ("bulbul", "")],
    "movie_characters": [("pike", "others"), ("rourke", "")],
    "stuffed_toys": [("panda", ""), ("lobster", ""), ("tortoise", "")],
    "scenes": [("castle", "")],
    "styles": [("ink", ""), ("neon", "")],
}
CONFIGS = [  # name, algorithm, layers, lr, dim, alpha, factor, strength in [-1, 1]
    ("lora-8-4", "lora", "linear", 5e-4, 8, 4.0, None, 0.0),
    ("lora-8-4-lr1e-3", "lora", "linear", 1e-3, 8, 4.0, None, 0.6),
    ("loha-4-2", "loha", "linear", 5e-4, 4, 2.0, None, -0.3),
    ("loha-4-2-attention", "loha", "attention", 5e-4, 4, 2.0, None, -0.8),
    ("lokr-f8", "lokr", "linear", 5e-4, None, None, 8, 0.2),
    ("lokr-f4", "lokr", "linear", 5e-4, None, None, 4, 0.5),
    ("native-lr1e-6", "native", "linear", 1e-6, None, None, None, -0.6),
    ("native-lr5e-6", "native", "full", 5e-6, None, None, None, 0.9),
]
METRICS = [  # name, criterion, higher is better, encoders, prompt types, effect of strength, categories
    ("image_similarity", "fidelity", True, ("dinov2", "clip"), ("train", "trigger", "alter"), 0.12, None),
    ("squared_centroid_distance", "fidelity", False, ("dinov2",), ("train", "trigger"), -0.15, None),
    ("text_similarity", "controllability", True, ("clip",), ("alter", "trigger"), -0.03, None),
    ("vendi", "diversity", True, ("dinov2",), ("trigger", "alter"), -1.8, None),
    ("style_loss_base", "base_model_preservation", False, ("vgg19",), ("style",), 0.4, None),
    ("style_loss_data", "fidelity", False, ("vgg19",), ("train",), -0.3, ("styles",)),
]


def synthetic_run(
    configs: Sequence[tuple] = tuple(CONFIGS),
    seeds: Sequence[int] = (23, 24),
    epochs: Sequence[int] = (10, 30),
    thumbnails: bool = True,
    images_per_set: int = 2,
) -> RunTables:
    """A whole run's tables; the same arguments give the same numbers."""
    rng = np.random.default_rng(7)
    checkpoints = _checkpoints(configs, seeds, epochs)
    scores = _scores(checkpoints, rng)
    scores = pd.concat([scores, _real(scores)], ignore_index=True)
    normalized, category_scores = _rank(scores)
    attributions, explanations = _explain(category_scores, rng)
    return RunTables(
        study={
            "name": "synthetic",
            "description": "A made-up study with planted effects; no picture here was drawn by a model.",
            "base": "toy-base-1",
            "n_checkpoints": len(checkpoints) - 1,
            "prompts": {"images per set": images_per_set, "guidance": 5.0, "steps": 25, "sampler": "DDIM"},
        },
        scores=scores,
        normalized=normalized,
        category_scores=category_scores,
        attributions=attributions,
        explanations=explanations,
        images=_images(checkpoints, images_per_set) if thumbnails else _images(checkpoints[:0], 1),
        costs=_costs(checkpoints, rng),
        failures=pd.DataFrame(
            [
                (
                    "train",
                    "loha-4-2, seed 24, epoch 30",
                    "failed",
                    "The loss became NaN at step 412; a lower lr may help.",
                ),
                ("generate", "movie_characters/pike/others", "skipped", "This concept has no prompts."),
                ("score", "native-lr1e-6, seed 24", "interrupted", "Stopped by the user after 00:12:31."),
            ],
            columns=["stage", "item", "status", "message"],
        ),
        metrics=[
            {
                "name": name,
                "criterion": criterion,
                "higher_is_better": up,
                "encoders": encoders,
                "prompt_types": prompts,
                "description": f"What {name} measures, said in one sentence. A second sentence says what it does not.",
            }
            for name, criterion, up, encoders, prompts, *_ in METRICS
        ],
        provenance={
            "version": "0.1.0",
            "git_commit": "0123456789abcdef0123456789abcdef01234567",
            "git_dirty": False,
            "python": "3.11.9",
            "device": "cpu (2 threads)",
            "started": "2024-05-01T09:30:00+00:00",
            "seconds": 1234.5,
            "device_memory_bytes": 3_400_000_000,
            "packages": {"torch": "2.15.0", "diffusers": "0.42.0", "catboost": "1.2.10"},
            "inputs": ["a" * 64, "b" * 64],
        },
        probes=_probes(scores),
    )


def with_metrics(tables: RunTables, *metrics: str) -> RunTables:
    """The run as if it had measured only these, so that drawing it takes seconds."""
    names = ("scores", "normalized", "category_scores", "attributions", "explanations")
    parts = {name: getattr(tables, name) for name in names}
    return dataclasses.replace(tables, **{name: part[part.metric.isin(metrics)] for name, part in parts.items()})


def with_merge_ratios(tables: RunTables) -> RunTables:
    """The run as if its second seed were the first one at half the merge ratio."""
    names = ("scores", "normalized", "category_scores", "attributions", "images")
    parts = {name: getattr(tables, name).copy() for name in names}
    for part in parts.values():
        part.loc[part["seed"] == 24, ["scale", "seed"]] = (0.5, 23)
    return dataclasses.replace(tables, **parts)


def with_merges(tables: RunTables, name: str, parents: Sequence[str]) -> RunTables:
    """The run as if one of its configs were a merge of others, its parents; each of them knows everything."""
    scores = tables.scores
    at = scores.drop_duplicates("checkpoint").set_index(["config", "seed", "epoch"])["checkpoint"]
    concepts = tuple("/".join(filter(None, leaf)) for leaf in scores[LEAF].drop_duplicates().itertuples(index=False))
    merged = [
        MergedParent(checkpoint, at[parent, seed, epoch], 1.0, "base", parent, 0.5, concepts)
        for (config, seed, epoch), checkpoint in at.items()
        for parent in parents
        if config == name
    ]
    higher = {metric: up for metric, _, up, *_ in METRICS}
    layers = ["text_encoder.a", "unet.down_blocks.0", "unet.mid_block.0", "unet.up_blocks.0"]
    rows = [
        [name, seed, 30, *parents[:2], layer, 0.1 * place, 0.2, 0.1, 0.3, np.nan if place else 0.4]
        for seed in (23, 24)
        for place, layer in enumerate(layers)
    ]
    return dataclasses.replace(
        tables,
        merges=dilution(scores, merged, higher).assign(study="synthetic"),
        interference=pd.DataFrame(rows, columns=INTERFERENCE_COLUMNS),
    )


def write_run(tables: RunTables, folder: Path) -> Path:
    """The tables as a run's parquet files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in TABLES:
        getattr(tables, name).to_parquet(folder / f"{name}.parquet")
    write_facts(folder, [tables])
    return folder


def _checkpoints(configs: Sequence[tuple], seeds: Sequence[int], epochs: Sequence[int]) -> list[dict]:
    nothing = dict(lr=np.nan, dim=np.nan, alpha=np.nan, factor=np.nan, seed=np.nan, epoch=np.nan, step=np.nan)
    common = dict(study="synthetic", base="toy-base-1", scale=1.0)
    rows = [
        dict(common, checkpoint="base", config="base", algorithm="none", trained_layers="", strength=0.0, **nothing)
    ]
    for (name, algorithm, layers, lr, dim, alpha, factor, strength), seed, epoch in itertools.product(
        configs, seeds, epochs
    ):
        age = (epochs.index(epoch) + 1) / len(epochs) - 0.75
        rows.append(
            dict(
                common,
                checkpoint=f"{name}-s{seed}-e{epoch}",
                config=name,
                algorithm=algorithm,
                trained_layers=layers,
                lr=lr,
                dim=np.nan if dim is None else dim,
                alpha=np.nan if alpha is None else alpha,
                factor=np.nan if factor is None else factor,
                seed=seed,
                epoch=epoch,
                step=epoch * 100,
                strength=strength + 0.8 * age,
            )
        )
    return rows


def _scores(checkpoints: list[dict], rng: np.random.Generator) -> pd.DataFrame:
    rows = []
    for checkpoint in checkpoints:
        luck = 0.0 if checkpoint["algorithm"] == "none" else rng.normal(0, 0.1)
        for category, leaves in CONCEPTS.items():
            for (class_name, subclass), spec in itertools.product(leaves, METRICS):
                name, _, _, encoders, prompts, effect, categories = spec
                if categories and category not in categories:
                    continue
                for encoder, prompt in itertools.product(encoders, prompts):
                    strength = checkpoint["strength"] + luck + rng.normal(0, 0.25)
                    if name == "text_similarity" and checkpoint["algorithm"] == "lokr":
                        strength -= 1.5
                    value, reason = abs(effect) * 4 + effect * strength, ""
                    if category == "styles" and (prompt == "style" or (name, prompt) == ("text_similarity", "trigger")):
                        value, reason = np.nan, "The trigger prompt of a style has no text to compare with."
                    elif rng.random() < 0.004:
                        value, reason = np.nan, "The image set is missing."
                    rows.append(
                        {key: checkpoint[key] for key in FACTORS}
                        | dict(category=category, class_name=class_name, subclass=subclass, prompt_type=prompt)
                        | dict(metric=name, encoder=encoder, resize="letterbox" if encoder == "dinov2" else "")
                        | dict(value=value, reason=reason, n_images=10)
                    )
    return pd.DataFrame(rows)


def _real(scores: pd.DataFrame) -> pd.DataFrame:
    """Real images, of the metrics that look at nothing but images: as good as strength 2."""
    effect = {spec[0]: abs(spec[5]) * 4 + 2 * spec[5] for spec in METRICS}
    real = scores[(scores.algorithm == "none") & ~scores.metric.isin(["text_similarity", "style_loss_base"])]
    return real.assign(checkpoint="dataset", config="dataset", value=real.metric.map(effect), reason="")


def _probes(scores: pd.DataFrame) -> pd.DataFrame:
    """All is well, but that the style loss to the data does not know one style from another."""
    keys = ["metric", "encoder", "resize", "category", "class_name", "subclass"]
    leaves = scores[keys].drop_duplicates()
    found = {"real": 1.0, "copies": 0.5, "identity": 0.95, "blur": 1.0, "jpeg": 0.9, "crop": 1.0}
    parts = [leaves.assign(probe=name, value=value) for name, value in found.items()]
    probes = pd.concat(parts, ignore_index=True)
    confused = (probes.metric == "style_loss_data") & (probes.probe == "identity")
    return probes.assign(value=probes.value.mask(confused, 0.55))


def _rank(scores: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    up = {name: direction for name, _, direction, *_ in METRICS}
    frame = scores[scores.algorithm != "none"].copy()
    signed = frame.value * np.where(frame.metric.map(up), 1.0, -1.0)
    leaf = [frame[key] for key in ("category", "class_name", "subclass", *COLUMN)]
    groups = signed.groupby(leaf)
    frame["score"] = (groups.rank() - 1) / (groups.transform("count") - 1)
    frame["population"] = "synthetic"
    classes = frame.groupby([*FACTORS, "category", "class_name", *COLUMN], dropna=False).score.mean().reset_index()
    per_category = classes.groupby([*FACTORS, "category", *COLUMN], dropna=False).score
    overall = classes.groupby([*FACTORS, *COLUMN], dropna=False).score
    parts = [
        per_category.agg(score="mean", n_classes="count").reset_index(),
        overall.agg(score="mean", n_classes="count").reset_index().assign(category="all"),
    ]
    return frame, pd.concat(parts, ignore_index=True).assign(population="synthetic")


def _explain(category_scores: pd.DataFrame, rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    key = ["category", *COLUMN]
    attributions, explanations = [], []
    explained = category_scores[category_scores.category.isin(["all", "scenes", "styles"])]
    for identity, group in explained.groupby(key):
        named = dict(zip(key, identity))
        usable = group.dropna(subset="score")
        if len(usable) < 8 or named["category"] == "scenes":
            reason = "Too few rows with a score." if len(usable) < 8 else ""
            if reason:
                explanations.append(named | dict(n_rows=len(usable), reason=reason))
                continue
        for factor in ("algorithm", "trained_layers", "epoch", "lr_level", "capacity"):
            if factor == "lr_level":
                values = usable.groupby("algorithm").lr.rank("dense").astype(int)
            elif factor == "capacity":
                values = pd.Series(np.where(usable.config == "lokr-f4", 2, 1), usable.index)
            else:
                values = usable[factor]
            shap = usable.groupby(values.astype(str)).score.transform("mean") - usable.score.mean()
            attributions.append(
                usable.assign(
                    factor_name=factor,
                    factor_value=values.astype(str),
                    shap=shap + rng.normal(0, 0.02, len(usable)),
                )
            )
        cross_validated = -0.12 if named["category"] == "scenes" else float(rng.uniform(0.1, 0.8))
        fit = dict(r2_train=0.93, rmse_train=0.06, r2_cv=cross_validated, rmse_cv=0.2, reason="")
        explanations.append(named | dict(n_rows=len(usable)) | fit)
    table = pd.concat(attributions, ignore_index=True) if attributions else pd.DataFrame(columns=[*FACTORS, *key])
    columns = [*key, "n_rows", "r2_train", "rmse_train", "r2_cv", "rmse_cv", "reason"]
    return table, pd.DataFrame(explanations, columns=columns)


def _costs(checkpoints: list[dict], rng: np.random.Generator) -> pd.DataFrame:
    rows = []
    for checkpoint in checkpoints:
        for stage, seconds, size in (("train", 55.0, 520_000), ("generate", 20.0, 2_000_000), ("encode", 4.0, 300_000)):
            if checkpoint["algorithm"] == "none" and stage == "train":
                continue
            rows.append(
                dict(
                    stage=stage,
                    item=checkpoint["checkpoint"],
                    seconds=seconds * rng.uniform(0.9, 1.2),
                    bytes=size * (20 if checkpoint["algorithm"] == "native" else 1),
                    device_memory_bytes=2_100_000_000,
                    device="cpu (2 threads)",
                    checkpoint=checkpoint["checkpoint"],
                    config=checkpoint["config"],
                )
            )
    rows.append(dict(stage="explain", item="all", seconds=11.0, bytes=40_000, device_memory_bytes=9e8, device="cpu"))
    return pd.DataFrame(rows)


def _images(checkpoints: list[dict], per_set: int) -> pd.DataFrame:
    leaf = ["concept", "category", "class_name", "subclass", "prompt_type"]
    columns = [*FACTORS, *leaf, "index", "prompt", "noise_seed", "thumbnail"]
    rows = []
    training = dict(checkpoints[0], checkpoint="dataset", config="dataset", strength=1.2) if checkpoints else None
    for checkpoint in [*checkpoints, *([training] if training else [])]:
        is_dataset = checkpoint["checkpoint"] == "dataset"
        for category, leaves in CONCEPTS.items():
            for (class_name, subclass), prompt in itertools.product(leaves, ("dataset",) if is_dataset else PROMPTS):
                for index in range(per_set):
                    strength = checkpoint["strength"]
                    concept = "/".join(part for part in (category, class_name, subclass) if part)
                    picture = _thumbnail(
                        class_name + subclass, prompt, index, strength, checkpoint["checkpoint"] == "base"
                    )
                    rows.append(
                        {key: checkpoint[key] for key in FACTORS}
                        | dict(concept=concept, category=category, class_name=class_name, subclass=subclass)
                        | dict(
                            prompt_type=prompt,
                            index=index,
                            prompt=f"[V_{class_name}] thing, {prompt} scene number {index}",
                        )
                        | dict(noise_seed=pd.NA if is_dataset else 2**62 + index, thumbnail=picture)
                    )
    return with_whole_numbers(pd.DataFrame(rows, columns=columns))


def _thumbnail(name: str, prompt: str, index: int, strength: float, is_base: bool, side: int = 32) -> bytes:
    """A disc of the concept's colour on a ground of the prompt's; strength mixes the concept in."""
    rng = np.random.default_rng([sum(name.encode()), 1])
    concept = rng.integers(40, 255, 3)
    ground = np.random.default_rng([sum(prompt.encode()), index]).integers(90, 230, 3)
    mix = 0.0 if is_base else float(np.clip(0.55 + 0.4 * strength, 0, 1))
    y, x = np.mgrid[0:side, 0:side] / side
    inside = ((x - 0.5) ** 2 + (y - 0.55) ** 2) < 0.09 + 0.02 * index
    picture = np.where(inside[..., None], mix * concept + (1 - mix) * np.array([128, 128, 128]), ground)
    picture = picture * (1.05 - 0.3 * y[..., None])
    buffer = io.BytesIO()
    Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(buffer, "WEBP", quality=80)
    return buffer.getvalue()
