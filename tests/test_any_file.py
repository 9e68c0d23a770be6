"""Whatever a file holds: a reading, or a sentence that names the file. About 2,000 mutated files, never a traceback."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from command_line import SMOKE
from mutations import json_of_junk, only_sentences, spoilt_bytes
from published_clone import write_clone

from lorabench import components, config, mini, prompts
from lorabench.datasets import load_dataset
from lorabench.published import lycoris, peft_comparison
from lorabench.report.runs import read_part
from lorabench.stages.rank import check_metric_ids, rank

TOML_JUNK = (
    *("true", "-1", "0", "10000000000000000000", "4000000000", "1e400", "nan", "-inf", "1.5", '"8"', '""', "'x'", "[]"),
    *("[[1]]", "{a = 1}", "1979-05-27", "07:32:00", '"\\u0000"', '"../../etc"', '"/"', '"{0.__class__}"', '"\\ud7ff"'),
    *('["a", 1]', "[" * 200 + "]" * 200, f'"{"x" * 10_000}"', '"(["', '"caf\\u00e9"', "[true]", "[nan]"),
)


def with_toml_values(text: str) -> Iterator[str]:
    """The file with each of its values replaced by each piece of junk."""
    lines = text.splitlines()
    for place, line in enumerate(lines):
        if " = " in line:
            key = line.split(" = ")[0]
            for junk in TOML_JUNK:
                yield "\n".join([*lines[:place], f"{key} = {junk}", *lines[place + 1 :]])


DATASET = """name = "toys"
license = "CC0"

[[concept]]
path = "toys/panda"
trigger = "[V_panda]"
class_word = "toy"
keyword = "black"
repeats = 2
alter = "stuffed_toys"
alignment = "panda toy"
style_prompts = true
evaluate = true
"""


def test_dataset_toml(tmp_path):
    folder = tmp_path / "toys/panda"
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(b"not looked into")
    (folder / "a.txt").write_text("[V_panda] toy, black, sitting")
    file, rng = tmp_path / "dataset.toml", random.Random(1)

    def read() -> None:
        found = load_dataset(tmp_path)
        prompts.build_prompt_sets(found, Path(config.resolve_path("lorabench:mini/prompts", tmp_path)),
                                  ("train", "trigger", "alter", "style"), 4, 0)  # fmt: skip

    count = only_sentences(with_toml_values(DATASET), lambda text: file.write_text(text), read)
    count += only_sentences(spoilt_bytes(DATASET.encode(), 250, rng), lambda content: file.write_bytes(content), read)
    assert count > 20


def test_study_files(tmp_path):
    file, rng = tmp_path / "study.toml", random.Random(2)
    text = SMOKE.split("[[metrics]]")[0]

    def read() -> None:
        config.expand(config.load_study(file))

    count = only_sentences(with_toml_values(text), lambda text: file.write_text(text), read)
    count += only_sentences(spoilt_bytes(text.encode(), 150, rng), lambda content: file.write_bytes(content), read)
    assert count > 20


def columns_of_junk(table: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """The table with each column of another type, or gone."""
    n = len(table)
    junk = {
        "numbers": np.arange(n, dtype=float), "texts": [f"t{row}" for row in range(n)], "booleans": [True] * n,
        "bytes": [b"x"] * n, "lists": [[1]] * n, "missing": [None] * n, "complex texts": ["caf\u00e9\0"] * n,
        "dates": pd.date_range("2020", periods=n), "records": [{"a": 1}] * n, "huge": [2**63 - 1] * n,
        "infinities": [np.inf] * n, "categories": pd.Categorical(["a"] * n), "decimals": pd.array([1] * n, "Int8"),
    }  # fmt: skip
    for name in table.columns:
        yield table.drop(columns=name)
        for values in junk.values():
            yield table.assign(**{name: values})


def test_anchors(tmp_path, small_run):
    some = pd.read_parquet(small_run / "scores.parquet")
    better = {name: components.find("metrics", name).higher_is_better for name in some["metric"].unique()}
    file, rng = tmp_path / "scores.parquet", random.Random(3)

    def read() -> None:
        anchors = read_part(file, "scores")
        check_metric_ids(some, anchors)
        rank(some, better, anchors)

    count = only_sentences(columns_of_junk(some), lambda table: table.to_parquet(file), read)
    some.to_parquet(file)
    content = file.read_bytes()
    count += only_sentences(spoilt_bytes(content, 60, rng), lambda content: file.write_bytes(content), read)
    assert count > 20


def test_published_tables(tmp_path):
    """One file beside the mapping at a time, and the mapping itself: all eight take a tenth of a second to read."""
    whole, rng, count = write_clone(tmp_path / "whole"), random.Random(5), 0
    mapping = next(whole.rglob("config_mapping.csv"))
    for source in sorted(whole.rglob("*.csv")):
        folder = tmp_path / source.stem
        folder.mkdir()
        shutil.copy(next(whole.rglob("style_classes_style_losses.csv")) if source == mapping else mapping, folder)
        content = b"".join(source.read_bytes().splitlines(keepends=True)[:8])

        def read(folder=folder) -> None:
            for study in lycoris.read(folder).studies:
                names = study.scores["metric"].unique()
                rank(study.scores, {name: components.find("metrics", name).higher_is_better for name in names})

        cases = spoilt_bytes(content, 20, rng)
        count += only_sentences(cases, lambda spoilt, file=folder / source.name: file.write_bytes(spoilt), read)
    assert count > 20


def test_results_of_pefts_comparison(tmp_path):
    training = {"model_id": "some/base", "dataset_id": "some/cat", "seed": 0, "optimizer_kwargs": {"lr": 1e-4}}
    info = {"train_time": 60.0, "file_size": 1000, "accelerator_memory_max": 10**9, "status": "success"}
    content = {
        "run_info": {"train_config": training, "peft_config": {"peft_type": "LORA", "r": 8, "lora_alpha": 4}},
        "train_info": {**info, "metrics": [{"step": 750, "test dino_similarity": 0.5, "drift": 0.1}]},
        "meta_info": {"system_info": {"accelerator": "some GPU"}},
    }
    file, rng = tmp_path / "lora.json", random.Random(6)

    def read() -> None:
        for study in peft_comparison.read(tmp_path).studies:
            rank(study.scores, {each["name"]: each["higher_is_better"] for each in study.metrics})

    cases = json_of_junk(content, rng, 250)
    assert only_sentences(cases, lambda content: file.write_text(json.dumps(content)), read) > 20


def test_the_miniature_worlds_own_files_pass():
    config.expand(config.load_study(mini.evaluation_study()))
