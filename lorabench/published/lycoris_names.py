"""What folders and columns are called in cyber-meow/LyCORIS-evaluation (read at commit 7c5758c), in our words.

Facts of ours are never parsed out of names; these names are the only place where the authors' facts are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import pandas as pd

from lorabench.records import ADJUSTED_TAGS, ALL_TAGS, NO_TAGS
from lorabench.statistics.columns import ALL, CAPTIONS, FACTORS, LEAF, METRIC

CATEGORIES = {
    "anime": "anime_characters",
    "people": "movie_characters",
    "stuffed_toy": "stuffed_toys",
    "scene": "scenes",
    "style": "styles",
}
# The authors trained more than the paper's 26 configs; whatever else they measured takes no part in the ranks.
NOT_IN_THE_GRID = (
    "exp-1007-sd15-lora8a4-lr5e-5",
    "exp-1017-sd15-loha4a2-lr5e-3",
    "exp-1027-sd15-lokrf8-lr5e-3",
    "exp-1036-sd15-nt-attnonly-lr5e-6",
    "exp-1037-sd15-nt-full-lr5e-6",
    "exp-1038-sd15-nt-lr1e-5",
)
# LyCORIS D.6: alpha 1 at a large dim, and factor 12, belong to no level of capacity.
NOT_EXPLAINED = ("exp-1003-sd15-lora32a1", "exp-1013-sd15-loha16a1", "exp-1023-sd15-lokrconf12")

_ALGORITHMS = {"full": "native"}
_LAYERS = {"attn-only": "attention", "attn-mlp": "linear", "full": "full"}
_CAPTIONS = {".txt": ADJUSTED_TAGS, ".txtdb": NO_TAGS, ".txttags": ALL_TAGS}
_METRICS = {
    "Image Similarity": "image_similarity",
    "Squared Centroid Distance": "squared_centroid_distance",
    "Text Similarity": "text_similarity",
    "Vendi": "vendi",
    "Style Loss": "style_loss_data",
    "FD": "frechet_distance",
    "Dissimilarity": "intra_dissimilarity",
    "Var": "variance",
}
_PROMPTS = {"in": "train", "out": "alter", "trigger": "trigger"}
_ENCODERS = {"dinov2-l-fb": "dinov2", "clip-L-14": "clip", "convnextv2-l": "convnextv2", "vgg19-gram": "vgg19"}
_RESIZES = {"padding": "letterbox", "crop": "center_crop", "resize": "stretch"}
_KEEP_ASPECT = ("convnextv2", "vgg19")  # for these two "resize" keeps the aspect
_IMPLIED = {"text_similarity": ("clip", ""), "style_loss_base": ("vgg19", ""), "style_loss_data": ("vgg19", "scale")}

# <sampler>-<base>-<config>-<seed letter>[-<epoch>]
_RUN = r"(?P<sampler>[^-]+)-(?P<base>.+?)-(?P<config>exp-.+)-(?P<seed>[a-z])(?:-(?P<epoch>\d+))?"
_LAST_EPOCH, _FIRST_SEED = 50, 23
_INTEGERS = ("dim", "factor", "seed", "epoch", "step")


def factors_of(runs: Iterable[str], configs: pd.DataFrame) -> pd.DataFrame:
    """Factors and captions of each run folder (column `run`), with the rows of config_mapping.csv in `configs`.

    `config` is missing where the name cannot be read, `algorithm` where the mapping lacks the config. Column `setting`
    is what the images were drawn with: "<sampler>-<base>".
    """
    names = pd.Series(list(runs), name="run", dtype="str")
    parts = names.str.extract(f"^{_RUN}$")
    seed = parts["seed"].map(lambda letter: _FIRST_SEED + ord(letter) - ord("a"), na_action="ignore")
    parts = parts.assign(seed=seed, epoch=parts["epoch"].fillna(_LAST_EPOCH).astype("int64"), step=pd.NA, scale=1.0)
    table = parts.join(names).merge(_described(configs), on="config", how="left")
    where = table["config"] + "-s" + table["seed"].astype("Int64").astype("str") + "-e" + table["epoch"].astype("str")
    table = table.assign(checkpoint=where, setting=table["sampler"] + "-" + table["base"], study="")
    kinds = dict.fromkeys(_INTEGERS, "Int64") | {"lr": "float64", "alpha": "float64"}
    return table.astype(kinds)[["run", "setting", *FACTORS, CAPTIONS]]


def _described(configs: pd.DataFrame) -> pd.DataFrame:
    numbers = configs[["Lr", "Dim", "Alpha", "Factor"]].apply(pd.to_numeric, errors="coerce")
    lokr, low_rank = configs["Algo"] == "lokr", configs["Algo"].isin(["lora", "loha"])
    return pd.DataFrame(
        {
            "config": configs["Config"],
            "algorithm": configs["Algo"].replace(_ALGORITHMS),
            "trained_layers": configs["Preset"].map(_LAYERS),
            "lr": numbers["Lr"],
            # The mapping fills the columns that an algorithm does not use: LoKr's 10000 says "no second decomposition".
            "dim": numbers["Dim"].where(low_rank),
            "alpha": numbers["Alpha"].where(low_rank),
            "factor": numbers["Factor"].where(lokr),
            CAPTIONS: configs["Caption"].map(_CAPTIONS),
        }
    ).drop_duplicates("config")


def leaves_of(folders: pd.Series) -> pd.DataFrame:
    """run and LEAF of each folder `<run>[/<category>[/<class>[/<sub-class>]]]`; without a category it is "all"."""
    paths = folders.str.replace("\\", "/").str.removeprefix("./").str.rstrip("/")
    parts = paths.str.split("/", n=3, expand=True).reindex(columns=range(4))
    table = parts.set_axis(["run", *LEAF], axis=1)
    return table.assign(
        category=table["category"].replace(CATEGORIES).fillna(ALL),
        class_name=table["class_name"].fillna(""),
        subclass=table["subclass"].replace("none", "others").fillna(""),
    )


def measurements_of(columns: Iterable[str]) -> pd.DataFrame:
    """METRIC of each column (index); columns that are no measurement are left out."""
    found = {name: _measurement(name) for name in columns}
    known = {name: identity for name, identity in found.items() if identity is not None}
    return pd.DataFrame(list(known.values()), index=pd.Index(list(known), dtype="str", name="column"), columns=METRIC)


def _measurement(column: str) -> tuple[str, str, str, str] | None:
    """`Metric (encoder[-resize]) (prompts)`, each part in brackets optional."""
    name, *brackets = re.split(r" (?=\()", column)
    words = [bracket.strip("()") for bracket in brackets]
    metric = _METRICS.get(name)
    if metric == "style_loss_data" and words == ["base model"]:
        return "style", "style_loss_base", *_IMPLIED["style_loss_base"]
    prompts = [_PROMPTS[word] for word in words if word in _PROMPTS]
    encoders = [_encoder(word) for word in words if word not in _PROMPTS]
    encoder, resize = encoders[0] if encoders else _IMPLIED.get(metric or "", (None, None))
    if metric is None or encoder is None or resize is None:
        return None
    return prompts[0] if prompts else "train", metric, encoder, resize


def _encoder(word: str) -> tuple[str | None, str | None]:
    """(encoder, resize); resize "" where the word does not say one, None in both places for a word we do not know."""
    if word in _ENCODERS:
        return _ENCODERS[word], ""
    name, _, way = word.rpartition("-")
    encoder, resize = _ENCODERS.get(name), _RESIZES.get(way)
    return encoder, "scale" if way == "resize" and encoder in _KEEP_ASPECT else resize
