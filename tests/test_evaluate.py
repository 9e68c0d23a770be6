"""`lorabench evaluate`: a folder of files in, a table and a report out; what cannot be read is named."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest
from command_line import lorabench


@pytest.fixture(scope="module")
def checkpoints(smoke_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapters")
    for number, config in enumerate(("lora-linear-d4a2-lr5e-3", "native-linear-lr3e-4")):
        source = smoke_run / f"checkpoints/{config}/seed-1/epoch-0002/adapter.safetensors"
        shutil.copy(source, folder / f"adapter {number}.safetensors")
    return folder


def test_evaluate_scores_what_it_finds_and_names_the_rest(checkpoints, smoke_run, tmp_path):
    folder = tmp_path / "mixed"
    shutil.copytree(checkpoints, folder)
    whole = (folder / "adapter 0.safetensors").read_bytes()
    (folder / "truncated.safetensors").write_bytes(whole[: len(whole) // 2])
    (folder / "old.ckpt").write_bytes(b"\x80\x02}q\x00.")
    out = tmp_path / "out"
    words = ["--out", str(out), "--concept", "styles/riso", "--concept", "stuffed_toys/octo", "--json"]
    done = lorabench("evaluate", str(folder), *words)
    assert done.returncode == 1, done.stderr
    answer = json.loads(done.stdout)
    assert {failure["item"].rsplit("/")[-1] for failure in answer["failures"]} == {"truncated.safetensors", "old.ckpt"}
    assert len(answer["checkpoints"]) == 3  # the base model is in the table, too
    scores = pd.read_parquet(out / "scores.parquet")
    assert set(scores["algorithm"]) == {"none", "lora", "native"}
    assert (out / "report.html").exists()
    lora = scores[scores["algorithm"] == "lora"].iloc[0]
    assert (lora["trained_layers"], lora["dim"], lora["alpha"], lora["seed"], lora["epoch"]) == ("linear", 4, 2, 1, 2)


def test_only_bad_files_are_refused_before_any_work(checkpoints, tmp_path):
    folder = tmp_path / "bad"
    folder.mkdir()
    whole = (checkpoints / "adapter 0.safetensors").read_bytes()
    (folder / "truncated.safetensors").write_bytes(whole[:1000])
    done = lorabench("evaluate", str(folder), "--out", str(tmp_path / "out"))
    assert done.returncode == 2 and "truncated.safetensors" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
