"""`benchmarks/foretelling.py`: planted orders, and what of docs/mini.md can be made again from what lies here."""

from __future__ import annotations

import importlib.util
import itertools
import json
import sys

import numpy as np
import pandas as pd
import pytest
from command_line import ROOT

from lorabench.statistics.columns import FACTORS

SCRIPT, MINI = ROOT / "benchmarks/foretelling.py", ROOT / "results/reference/mini_paper"
SHAPES = [(0.2, 8), (1.0, 8), (2.0, 8), (1.0, 4), (1.0, 16)]  # rate as a multiple of the usual one, factor


@pytest.fixture(scope="module")
def foretelling():
    spec = importlib.util.spec_from_file_location("foretelling", SCRIPT)
    module = sys.modules["foretelling"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_run(folder, usual_lr, factor_scale, sign, resize) -> None:
    """LoKr with one setting varied at a time; scores in the order of SHAPES, or (with `sign` -1) in the reverse one."""
    rows = []
    for (place, (rate, factor)), seed, epoch in itertools.product(enumerate(SHAPES), (1, 2), (5, 10)):
        config = f"lr{usual_lr * rate:g}-f{factor * factor_scale:g}"
        facts = dict.fromkeys(FACTORS) | {"study": "s", "config": config, "algorithm": "lokr", "seed": seed}
        facts |= {"checkpoint": f"{config}-{seed}-{epoch}", "trained_layers": "linear", "epoch": epoch}
        facts |= {"lr": usual_lr * rate, "factor": factor * factor_scale}
        for metric, name in itertools.product(("image_similarity", "text_similarity"), "abc"):
            score = 0.5 + 0.1 * place * (sign if metric == "image_similarity" else 1) + 0.01 * seed
            rows.append(facts | {"category": "c" + name, "class_name": name, "subclass": "", "prompt_type": "train",
                                 "metric": metric, "encoder": "e", "resize": resize, "score": score})  # fmt: skip
    folder.mkdir()
    pd.DataFrame(rows).astype(dict.fromkeys(("dim", "alpha"), "float64")).to_parquet(folder / "normalized.parquet")


def test_orders_are_compared_by_the_role_of_each_config(foretelling, tmp_path, monkeypatch, capsys):
    write_run(tmp_path / "small", 5e-3, 0.5, 1, "letterbox")
    write_run(tmp_path / "large", 5e-4, 1, -1, "")
    words = [str(SCRIPT), str(tmp_path / "small"), str(tmp_path / "large"), "--json", "--draws", "50"]
    monkeypatch.setattr(sys, "argv", words)
    foretelling.main()
    found = json.loads(capsys.readouterr().out)
    assert len(found["configs"]) == len(SHAPES)
    for row in found["tau"]:
        planted = -1 if row["metric"] == "image_similarity" else 1
        assert [row[name] for name in ("tau", "low", "high")] == [planted] * 3
        assert row["large itself"] == row["small itself"] == 1
    assert {(row["world"], row["all"]) for row in found["epochs"]} == {("small", -1), ("large", 1)}


def test_our_side_of_the_docs_is_that_of_the_reference_study(foretelling):
    written = json.loads((ROOT / "results/reference/foretelling.json").read_text())
    table = foretelling.read(MINI)
    table = table[table["role"].isin(written["configs"]) & table["metric"].eq("image_similarity")]
    ours, _ = foretelling.common(table, table)
    again = {row["category"]: row for row in foretelling.foretold(ours, ours, draws=1)}
    for row in written["tau"]:
        if row["metric"] == "image_similarity":
            assert row["small itself"] == again[row["category"]]["small itself"]
    steps = {row["category"]: row for row in foretelling.rising(ours, ours)}
    assert written["configs"] == ours.configs and len(written["rising"]) == 6
    for row in written["rising"]:
        mine = steps[row["category"]]
        assert [row["small steps"], row["small rising"]] == [mine["small steps"], mine["small rising"]]
    assert np.all([row["tau"] == 1 for row in again.values()])
