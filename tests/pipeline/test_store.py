"""Artifacts: whole or not at all, under a key."""

from __future__ import annotations

import pandas as pd
import pytest

from lorabench import store
from lorabench.errors import UserError
from lorabench.records import AdapterConfig


def test_artifact_appears_only_when_its_block_ends_well(tmp_path):
    run = store.RunFolder(tmp_path)
    target = run.path("features", "a b/c")
    with pytest.raises(RuntimeError), run.writing(target, "key") as scratch:
        (scratch / "half").write_text("half")
        raise RuntimeError
    assert not target.exists()
    assert not list((tmp_path / ".tmp").iterdir())
    with run.writing(target, "key") as scratch:
        (scratch / "whole").write_text("whole")
        assert not target.exists()
    assert run.holds(target, "key")
    assert not run.holds(target, "another key")


def test_another_key_replaces_all_of_it(tmp_path):
    run = store.RunFolder(tmp_path)
    for key in ("old", "new"):
        with run.writing(run.path("x"), key) as scratch:
            (scratch / key).write_text(key)
    assert sorted(file.name for file in run.path("x").iterdir()) == ["meta.json", "new"]


def test_key_depends_on_each_of_its_parts():
    config = AdapterConfig("lora", "linear", dim=4)
    keys = {
        store.key_of("train", 1, [config], ["base"]),
        store.key_of("encode", 1, [config], ["base"]),
        store.key_of("train", 2, [config], ["base"]),
        store.key_of("train", 1, [AdapterConfig("lora", "linear", dim=8)], ["base"]),
        store.key_of("train", 1, [config], ["other base"]),
    }
    assert len(keys) == 5
    assert store.key_of("train", 1, [config], ["base"]) in keys


def test_a_second_run_is_refused(tmp_path):
    with store.RunFolder(tmp_path).locked(), pytest.raises(UserError, match="Another run is writing"):
        with store.RunFolder(tmp_path).locked():
            pass


@pytest.mark.parametrize("name", ["..", ".", "a/b", "a:b*?", "saw_gerrera", "afro, realistic", "été"])
def test_safe_names_stay_inside_and_differ(name, tmp_path):
    safe = store.safe_name(name)
    assert (tmp_path / safe).resolve().parent == tmp_path.resolve()
    assert (safe == name) == (name not in ("..", ".", "a/b", "a:b*?", "été"))


def test_broken_table_is_a_sentence(tmp_path):
    (tmp_path / "scores.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(UserError, match=r"scores\.parquet is not a readable parquet"):
        store.read_table(tmp_path / "scores.parquet")
    with pytest.raises(UserError, match=r"There is no x\.parquet"):
        store.read_table(tmp_path / "x.parquet")
    store.write_table(pd.DataFrame({"a": [1]}), tmp_path / "scores.parquet")
    assert store.read_table(tmp_path / "scores.parquet")["a"].tolist() == [1]


@pytest.mark.parametrize(
    "metric, rows",
    [(["a", "b", None], 1), (pd.Categorical(["a", "b", "a"]), 2), ([1, 2, 3], 3)],
    ids=["texts", "categories", "somebody's numbers, whole"],
)
def test_rows_of_some_measurements_are_read_alone(metric, rows, tmp_path):
    store.write_table(pd.DataFrame({"metric": metric, "prompt_type": ["", "x", None]}), tmp_path / "scores.parquet")
    found = store.read_table(tmp_path / "scores.parquet", like=[{"metric": "a", "prompt_type": ""}])
    assert len(found) == rows


def test_a_table_of_parts_is_the_table_of_all(tmp_path):
    """Also where the first part lacks what later ones have: nothing in it says of which kind that is."""
    first = pd.DataFrame({"file": [None, None], "thumbnail": [None, None], "seed": pd.array([None, 1], "Int64")})
    second = pd.DataFrame({"file": ["x"], "thumbnail": [b"\x00"], "seed": pd.array([2**62 + 1], "Int64")})
    assert store.write_parts(iter([first, second]), tmp_path / "parts.parquet") == 3
    whole = store.read_table(tmp_path / "parts.parquet")
    assert whole["seed"].tolist() == [pd.NA, 1, 2**62 + 1] and whole["seed"].dtype == "Int64"
    for name, last in (("file", "x"), ("thumbnail", b"\x00")):
        assert whole[name].isna().tolist() == [True, True, False] and whole[name].iloc[-1] == last
    shown = store.read_table(tmp_path / "parts.parquet", with_value="thumbnail")
    assert shown["file"].tolist() == ["x"]
