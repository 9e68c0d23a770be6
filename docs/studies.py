"""Tables of the reference studies, from the small files in results/reference."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from lorabench.api import choosing, findings
from lorabench.statistics.columns import ALL
from lorabench.statistics.errors import summarise

REFERENCE = Path(__file__).parents[1] / "results/reference"
PAPER, SWEEP = REFERENCE / "mini_paper", REFERENCE / "mini_sweep"
# The defaults of mini_paper.toml; its other configs vary one setting of one of them.
DEFAULTS = ("lora-linear-d8a4-lr5e-3", "loha-linear-d4a2-lr5e-3", "lokr-linear-f4-lr5e-3", "native-linear-lr5e-4")
HEADLINES = {
    "image similarity, `train`": ("image_similarity", "train", "dinov2"),
    "text similarity, `alter`": ("text_similarity", "alter", "clip"),
    "Vendi score, `trigger`": ("vendi", "trigger", "dinov2"),
    "style preservation, `style`": ("style_loss_base", "style", "vgg19"),
}


def sweep() -> str:
    """Share of trigger images named right, by config and category."""
    table = findings.identified(SWEEP)
    wide = table.pivot(index="config", columns="category", values="share").reindex(table["config"].unique())
    pooled = table.groupby("config")[["right", "images"]].sum()
    wide["all images"] = pooled["right"] / pooled["images"]
    return markdown(wide.map("{:.2f}".format).rename(columns=_words).reset_index())


def learnt() -> str:
    """The defaults' trigger images named right at the last epoch, of how many, with Wilson's 95 % interval."""
    table = findings.identified(PAPER)
    table = table[table["config"].isin(("base", *DEFAULTS))]
    counts = table[["right", "images", "low", "high"]].to_numpy()
    table["cell"] = [f"{right:.0f} of {n:.0f} ({low:.2f} to {high:.2f})" for right, n, low, high in counts]
    wide = table.pivot(index="category", columns="config", values="cell")
    return markdown(wide[["base", *DEFAULTS]].rename(index=_words).reset_index())


def claims() -> str:
    """The paper's claims with our effects, intervals and verdicts."""
    rows = findings.claims_table(PAPER)
    signed = "{:+.2f}".format
    rows["95 % interval"] = [
        "" if pd.isna(low) else f"{signed(low)} to {signed(high)}" for low, high in zip(rows["low"], rows["high"])
    ]
    rows["effect"] = ["" if pd.isna(value) else signed(value) for value in rows["effect"]]
    return markdown(rows[["claim", "statement", "expected", "effect", "95 % interval", "verdict"]])


def ranking() -> str:
    """Mean normalised score of the defaults at the last epoch ± one standard error, by criterion."""
    normalized = pd.read_parquet(PAPER / "normalized.parquet")
    rows = normalized[(normalized["epoch"] == normalized["epoch"].max()) & normalized["config"].isin(DEFAULTS)]
    means = summarise(rows, ["config"])
    table = pd.DataFrame({"config": DEFAULTS})
    for name, measurement in HEADLINES.items():
        found = _of_all_classes(means, measurement)
        cells = {row.config: f"{row.mean:.2f} ± {row.se:.2f}" for row in found.itertuples()}
        table[name] = table["config"].map(cells)
    return markdown(table)


def told() -> str:
    """Of each criterion the best config, how many a test tells from it, and the difference that it would see."""
    rows = choosing.leaderboard(PAPER)
    table = []
    for criterion, found in rows.groupby("criterion", sort=False):
        counts = found["verdict"].value_counts()
        best = found.loc[found["verdict"] == "best", "config"].item()
        table.append(
            {"criterion": _words(criterion), "best": best, "tied": counts["tied"], "worse": counts["worse"]}
            | {"told in 80 % of such studies": f"{found['detectable'].median():.2f}"}
        )
    return markdown(pd.DataFrame(table))


def factors() -> str:
    """Mean |SHAP| of each factor by criterion, and how far each explanation is to be trusted."""
    attributions = pd.read_parquet(PAPER / "attributions.parquet")
    explanations = pd.read_parquet(PAPER / "explanations.parquet")
    rows = []
    for name, measurement in HEADLINES.items():
        shap = _of_all_classes(attributions, measurement).groupby("factor_name")["shap"]
        sizes = shap.apply(lambda values: values.abs().mean())
        quality = _of_all_classes(explanations, measurement).iloc[0]
        by_size = sizes.sort_values(ascending=False).map("{:.2f}".format)
        moved = ", ".join(f"{factor.replace('_', ' ')} {size}" for factor, size in by_size.items())
        rows.append(
            {"measurement": name, "mean absolute SHAP": moved, "R², cross-validated": f"{quality['r2_cv']:.2f}"}
        )
    return markdown(pd.DataFrame(rows))


def foretelling() -> str:
    """Kendall's tau between the orders of configs here and in the published means, by category and metric."""
    return _by_metric(lambda row: f"{row['tau']:+.2f} ({row['low']:+.2f} to {row['high']:+.2f})")


def foretelling_itself() -> str:
    """Tau between one seed's order and that of the others: published, and here."""
    return _by_metric(lambda row: f"{row['large itself']:.2f} / {row['small itself']:.2f}")


def foretelling_epochs() -> str:
    """Tau of fidelity by epoch, here and published, with each published epoch."""
    table = pd.DataFrame(_foretold()["epochs"])
    names = {"small": "epoch {} here", "large": "published, epoch {}"}
    table["order"] = [names[world].format(epoch) for world, epoch in zip(table["world"], table["epoch"])]
    table["cell"] = [f"{mean:+.2f} ({of_all:+.2f})" for mean, of_all in zip(table["mean"], table["all"])]
    wide = table.pivot(index="order", columns="epoch of large", values="cell").loc[table["order"].unique()]
    return markdown(wide.rename(columns="published, epoch {}".format).reset_index())


def rising() -> str:
    """How fidelity moves between the epochs that were kept, here and published."""
    found = _foretold()
    rows = []
    for row in found["rising"]:
        cells: dict[str, str] = {"category": _category(row["category"])}
        for side, name in (("small", "here"), ("large", "published")):
            first, middle, last = found[f"epochs of {side}"]
            early, late = row[f"{side} steps"]
            cells |= {f"{name}, {first} to {middle}": f"{early:+.2f}", f"{name}, {middle} to {last}": f"{late:+.2f}"}
            cells[f"{name}, better at {last}"] = f"{row[f'{side} rising']} of {len(found['configs'])}"
        rows.append(cells)
    return markdown(pd.DataFrame(rows))


def _foretold() -> dict[str, Any]:
    """What `benchmarks/foretelling.py --json` found."""
    return json.loads((REFERENCE / "foretelling.json").read_text(encoding="utf-8"))


def _by_metric(cell: Callable[[dict[str, Any]], str]) -> str:
    """A row a category, a column a metric."""
    rows = pd.DataFrame([row | {"cell": cell(row)} for row in _foretold()["tau"]])
    wide = rows.pivot(index="category", columns="metric", values="cell")
    wide = wide.loc[[*wide.index.drop(["mean", ALL]), "mean", ALL]]
    return markdown(wide.rename(index=_category, columns=_words).reset_index())


def _category(name: str) -> str:
    return {"mean": "mean of the five", ALL: "all classes at once"}.get(name, _words(name))


def _of_all_classes(table: pd.DataFrame, measurement: tuple[str, str, str]) -> pd.DataFrame:
    """Rows of a metric, prompt type and encoder."""
    metric, prompts, encoder = measurement
    own = (table["metric"] == metric) & (table["prompt_type"] == prompts) & (table["encoder"] == encoder)
    return table[own & (table["category"] == ALL)]


def _words(name: str) -> str:
    return name.replace("_", " ")


def markdown(table: pd.DataFrame) -> str:
    lines = ["| " + " | ".join(map(str, table.columns)) + " |", "|---" * len(table.columns) + "|"]
    lines += ["| " + " | ".join(map(_cell, row)) + " |" for row in table.to_numpy()]
    return "\n".join(lines)


def _cell(value: object) -> str:
    return "" if pd.isna(value) else str(value).replace("|", "\\|")
