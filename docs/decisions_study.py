"""Tables of docs/protocol.md about rounds of images, from results/reference/decisions.json."""

from __future__ import annotations

import json

import pandas as pd
from studies import REFERENCE, markdown

from lorabench.report.words import metric_words

FILE = REFERENCE / "decisions.json"
SIMULATED = {
    "decided": "in rounds: worst round",
    "anew": "tested anew each round: worst round",
    "images": "images as independent, p < 0.05: worst round",
    "share": "images drawn",
    "best": "the leader is among the best",
    "found": "worse ones told",
}


def simulated() -> str:
    """One row a simulated world."""
    rows = []
    for found in json.loads(FILE.read_text())["simulated"]:
        cells = {title: _percent(found[name]) for name, title in SIMULATED.items()}
        rows.append({"configs": found["world"]} | cells)
    return markdown(pd.DataFrame(rows))


def replayed() -> str:
    """One row a measurement: tau after each share of the images, and where the rounds stop."""
    rows: dict[tuple[int, str], dict[str, str]] = {}
    for found in json.loads(FILE.read_text())["replayed"]:
        row = rows.setdefault(
            (found["levels"], found["metric"]),
            {
                "compared": f"{found['levels']} {'configs' if found['levels'] < 30 else 'configs and epochs'}",
                "measurement": f"{metric_words(found['metric'])}, `{found['prompts']}`",
                "pairs told by all": str(found["told"]),
                **dict.fromkeys(("tau at 12.5 %", "at 25 %", "at 50 %", "whole sets, tau"), ""),
            },
        )
        if found["way"] == "whole sets":
            row["whole sets, tau"] = f"{found['tau']:.3f}"
        elif found["way"] != "decided":
            name = {12.5: "tau at 12.5 %", 25: "at 25 %", 50: "at 50 %"}.get(found["share"])
            row |= {name: f"{found['tau']:.3f}"} if name else {}
        else:
            told = {name: int(found[name]) for name in ("worse", "seeds", "open")}
            row["in rounds: images, tau"] = f"{found['share']:.0f} %, {found['tau']:.3f}"
            row["worse / takes seeds / not told"] = " / ".join(map(str, told.values()))
            row["told the other way round"] = str(found["told in turn"])
    return markdown(pd.DataFrame(list(rows.values())))


def _percent(value: float | None) -> str:
    return "" if value is None or value != value else f"{value:.1f} %"
