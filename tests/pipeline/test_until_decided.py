"""Images drawn in rounds until it is decided which config is best: what is drawn, kept, said, and refused."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from command_line import SMOKE, lorabench_here

CRITERIA = ("--criterion", "fidelity", "--criterion", "diversity")


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """Three configs and seeds, three classes, eight images of a set: one config learns next to nothing."""
    head, _, rest = SMOKE.partition("[[grid]]")
    head = head.replace("epochs = 2\ncheckpoint_epochs = [1, 2]", "epochs = 2\ncheckpoint_epochs = [2]")
    images = (
        rest[rest.index("[images]") : rest.index("# The defaults, and")]
        .replace("per_set = 4", "per_set = 8")
        .replace("steps = 2", "steps = 4")
    )
    rows = "".join(
        f'[[grid]]\nalgorithm = "lora"\nlr = {lr}\ndim = 4\nalpha = 2\n\n' for lr in ("1e-2", "5e-3", "1e-7")
    )
    metrics = "".join(f'[[metrics]]\nname = "{name}"\n\n' for name in ("image_similarity", "vendi"))
    file = tmp_path_factory.mktemp("study") / "study.toml"
    encoders = "\n".join(line for line in rest[rest.index("[encoders]") :].splitlines() if "vgg19" not in line)
    plugins = next(line for line in head.splitlines() if line.startswith("plugins"))
    text = f"{head}{rows}{images}{metrics}{encoders}\n".replace("clip =", "# clip =").replace(plugins, "")
    file.write_text(text.replace("seeds = [1, 2]", "seeds = [1, 2, 3]"))
    return file


def grid(study: Path, out: Path, *words: str) -> dict:
    done = lorabench_here(
        "grid", str(study), "--out", str(out), "--until", "decided", *CRITERIA, "--workers", "1", "--json", *words
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def run(study: Path, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    grid(study, out)
    return out


def test_rounds_add_to_each_other_and_only_what_is_asked_is_drawn(run):
    images = pd.read_parquet(run / "images.parquet")
    images = images[images["checkpoint"] != "dataset"]
    assert set(images["prompt_type"]) == {"train", "trigger"}
    trained = images[images["checkpoint"] != "base"]
    assert not trained.duplicated(["checkpoint", "concept", "prompt_type", "index"]).any()
    drawn = trained.groupby(["checkpoint", "concept", "prompt_type"])["index"].agg(frozenset)
    for _, sets in drawn.groupby(["concept", "prompt_type"]):  # prefixes of one order: of two sets one holds the other
        assert all(one <= other or other <= one for one in sets for other in sets)
    decisions = pd.read_parquet(run / "decisions.parquet")
    of_set = trained.groupby(["config", "prompt_type", "concept"])["index"].nunique()
    for row in decisions.itertuples():
        assert (of_set[row.config, row.prompt_type] == row.images).all()
    facts = json.loads((run / "study.json").read_text())["smoke"]["study"]["decided"]
    assert facts["images"] == len(images) < facts["all_images"]


def test_values_are_means_over_all_rounds_and_compare_whatever_was_drawn(run):
    scores = pd.read_parquet(run / "scores.parquet").query("algorithm == 'lora'")
    images = pd.read_parquet(run / "images.parquet").query("algorithm == 'lora'")
    similarity = scores[scores["metric"].eq("image_similarity") & scores["prompt_type"].eq("train")]
    of_images = images.groupby(["checkpoint", "class_name", "prompt_type"])["image_similarity/dinov2/letterbox"].mean()
    keys = pd.MultiIndex.from_frame(similarity[["checkpoint", "class_name", "prompt_type"]])
    assert similarity["value"].to_numpy() == pytest.approx(of_images[keys].to_numpy(), abs=1e-6)
    diversity = scores[scores["metric"].eq("vendi") & scores["prompt_type"].eq("trigger")]
    assert diversity["value"].between(1, 2).all()  # of two images, however many there are


def test_a_run_that_was_stopped_comes_to_the_same_decisions(study, run, tmp_path):
    out = tmp_path / "again"
    first = pd.read_parquet(run / "images.parquet").query("checkpoint == 'dataset'")
    stopped = grid(study, out, "--budget", "100img")
    assert "not drawn" in json.dumps(json.loads((out / "study.json").read_text())) and stopped["made"]["generate"]
    assert len(pd.read_parquet(out / "images.parquet").query("checkpoint == 'dataset'")) == len(first)
    (victim,) = (out / "rounds/1/scores").glob("*lr5e-3-s1-e2")  # and damaged, beside
    (victim / "scores.parquet").unlink()
    grid(study, out)
    for name in ("decisions", "scores", "normalized"):
        pd.testing.assert_frame_equal(
            pd.read_parquet(out / f"{name}.parquet"), pd.read_parquet(run / f"{name}.parquet")
        )
    again = grid(study, out)
    assert not any(again["made"].values()), again


def test_leaderboard_and_page_have_the_verdicts_of_the_rounds(run):
    decisions = pd.read_parquet(run / "decisions.parquet")
    told = json.loads(lorabench_here("leaderboard", str(run), "--json").stdout)
    best = {row["criterion"]: row["config"] for row in told if row["verdict"] == "best"}
    assert best == decisions[decisions["verdict"] == "best"].set_index("criterion")["config"].to_dict()
    assert all(row["q"] is None for row in told)
    refused = lorabench_here("leaderboard", str(run), "--epoch", "2")
    assert refused.returncode == 2 and "drawn in rounds" in refused.stderr
    page = (run / "report.html").read_text()
    assert "What is decided" in page and "at most 5% of the differences called real" in page


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--criterion", "beauty"], "Unknown criterion 'beauty'"),
        (["--budget", "3 days"], "must be hours, images or energy"),
        (["--budget", "5img"], "Round 1 is not drawn"),
        (["--rate", "2"], "rate"),
        (["--shard", "1/2"], "shards"),
    ],
)
def test_what_cannot_be_decided_is_said_before_any_work(study, tmp_path, words, said):
    out = tmp_path / "out"
    done = lorabench_here("grid", str(study), "--out", str(out), "--until", "decided", "--workers", "1", *words)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert not (out / "rounds").exists()


def test_one_training_of_each_decides_nothing(study, tmp_path):
    single = tmp_path / "single.toml"
    single.write_text(study.read_text().replace("seeds = [1, 2, 3]", "seeds = [1]"))
    done = lorabench_here("grid", str(single), "--out", str(tmp_path / "out"), "--until", "decided")
    assert done.returncode == 2 and "two seeds or more" in done.stderr


def test_tables_and_page_are_made_again_from_the_rounds_that_are_there(study, run, tmp_path):
    """By the stages that draw nothing; those that draw belong to a whole run, and there are no parts to join."""
    written = tmp_path / "written.toml"
    written.write_text(study.read_text() + '\n[decide]\nuntil = "decided"\ncriteria = ["fidelity", "diversity"]\n')
    before = pd.read_parquet(run / "decisions.parquet")
    (run / "report.html").unlink()
    done = lorabench_here("report", str(written), "--out", str(run))
    assert done.returncode == 0 and (run / "report.html").exists(), done.stderr
    pd.testing.assert_frame_equal(pd.read_parquet(run / "decisions.parquet"), before)
    refused = lorabench_here("generate", str(written), "--out", str(run))
    assert refused.returncode == 2 and "`lorabench grid`" in refused.stderr
    joined = lorabench_here("join", str(run), str(run), "--out", str(tmp_path / "both"), "--study", str(written))
    assert joined.returncode == 2 and "Traceback" not in joined.stderr
