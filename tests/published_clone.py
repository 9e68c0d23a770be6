"""A small folder of the shape of LyCORIS-evaluation, with made-up numbers."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

RUN = "ddim-v1-5-pruned-emaonly"
MAPPING = """Config,Algo,Preset,Lr,Dim,Alpha,Factor,Caption
exp-1001-sd15-lora8a4,lora,attn-mlp,0.0005,8,4,N/A,.txt
exp-1003-sd15-lora32a1,lora,attn-mlp,0.0005,32,1,N/A,.txt
exp-1005-sd15-lora8a4-attnonly,lora,attn-only,0.0005,8,4,N/A,.txt
exp-1007-sd15-lora8a4-lr5e-5,lora,attn-mlp,5e-05,8,4,N/A,.txt
exp-1021-sd15-lokrf8,lokr,attn-mlp,0.0005,10000,1,8,.txt
exp-1031-sd15-nt,full,attn-mlp,1e-06,N/A,N/A,N/A,.txt
exp-2001-sd15-lora8a4-db,lora,attn-mlp,0.0005,8,4,N/A,.txtdb
exp-2021-sd15-loha4a2-db,loha,attn-mlp,0.0005,4,2,N/A,.txtdb
exp-3001-sd15-lora8a4-alltags,lora,attn-mlp,0.0005,8,4,N/A,.txttags
exp-3011-sd15-loha4a2-alltags,loha,attn-mlp,0.0005,4,2,N/A,.txttags
"""
CONFIGS = [line.split(",")[0] for line in MAPPING.splitlines()[1:]]
GRID, CAPTIONS = CONFIGS[:6], CONFIGS[6:]
ENCODERS = ("dinov2-l-fb-padding", "convnextv2-l-resize")
OTHERS = ["Text Similarity (out)", "Vendi (dinov2-l-fb) (out)"]
LEAVES = (
    "anime/abukuma/none",
    "anime/abukuma/toid outfit",
    "people/Saw_Gerrera/bald, realistic",
    "people/K-2SO",
    "style/ghibi",
)


def write_clone(
    folder: Path, encoders: Sequence[str] = ENCODERS, prompts: Sequence[str] = ("in", "out", "trigger")
) -> Path:
    """All files, each in the folder where the repository has it; of fewer encoders and prompts less to draw."""
    similarities = [
        f"{metric} ({encoder}) ({kind})"
        for metric in ("Image Similarity", "Squared Centroid Distance")
        for encoder in encoders
        for kind in prompts
    ]
    rng = np.random.default_rng(0)
    metrics, loss = folder / "results/metrics", folder / "lycoris_eval/loss_investigation"
    for each in (metrics, loss, folder / "exp_configs"):
        each.mkdir(parents=True)
    (folder / "exp_configs/config_mapping.csv").write_text(MAPPING)
    means = ("", "/anime", "/anime/abukuma", "/people", "/scene", "/style")
    _write(metrics / "ddim_sd15_metrics_mean.csv", _folders(GRID, means), [*similarities, *OTHERS], rng)
    captions = ["Style Loss (base model)", *similarities, *OTHERS]
    table = _table(_folders(CAPTIONS, [f"/{leaf}" for leaf in LEAVES]), captions, rng)
    table.loc[table["Folder"].str.contains("/style/"), "Style Loss (base model)"] = np.nan
    table.loc[3, "Text Similarity (out)"] = np.nan
    table.to_csv(metrics / "captions_metrics.csv", index=False)
    losses = ["Style Loss (in)", "Style Loss (out)", "Style Loss (trigger)"]
    folders = _folders(GRID, ("/style/ghibi", "/style/ukiyo_e"))
    _write(metrics / "style_classes_style_losses.csv", folders[::2], losses, rng)
    _write(metrics / "style_classes_style_losses_b.csv", folders[1::2], losses, rng)
    _write(metrics / "ddim_sd15_fd.csv", _folders(GRID, ("",)), ["FD (dinov2-l-fb-resize)"], rng)
    for name in ("imagenet", "anime_characters", "styles"):
        sets = [(".", 1000), ("a/b", 60), ("a/b", 100), ("a/c", 50), ("a", 200), ("anime/d", 70), ("anime", 900)]
        table = pd.DataFrame({"Folder": [each for each, _ in sets], "Count": [count for _, count in sets]})
        for column in ("Vendi (vgg19-gram-resize)", "Dissimilarity (clip-L-14-crop)", "Var (clip-L-14-crop)"):
            table[column] = 1 + np.arange(len(table))[::-1]
        table.to_csv(loss / f"all_diversity_{name}.csv", index=False)
    return folder


def _folders(configs, places) -> list[str]:
    runs = [
        f"{RUN}-{config}-{seed}{epoch}"
        for config, seed, epoch in itertools.product(configs, "abc", ("-000010", "-000030", ""))
    ]
    return [run + place for run in runs for place in places]


def _table(folders, columns, rng) -> pd.DataFrame:
    return pd.DataFrame(rng.random((len(folders), len(columns))), columns=columns).assign(Folder=folders)


def _write(path: Path, folders, columns, rng) -> None:
    table = _table(folders, columns, rng)
    table[["Folder", *columns]].to_csv(path, index=False)
