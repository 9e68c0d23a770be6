"""The authors' files become score tables: their names in our words, nothing lost without a word."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from published_clone import MAPPING, RUN, write_clone

from lorabench import components
from lorabench.errors import UserError
from lorabench.published.lycoris import read
from lorabench.published.lycoris_names import factors_of, leaves_of, measurements_of
from lorabench.statistics.columns import LEAF, METRIC


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    return write_clone(tmp_path_factory.mktemp("clone"))


@pytest.fixture(scope="module")
def published(clone):
    return read(clone)


def test_a_whole_clone_has_two_studies_and_nothing_is_missing(published):
    grid, captions = published.studies
    assert (grid.name, captions.name) == ("lycoris", "lycoris_captions")
    assert published.notes == ("Not ranked, because the paper's grid lacks them: exp-1007-sd15-lora8a4-lr5e-5.",)
    assert grid.scores["checkpoint"].nunique() == 5 * 9 and captions.scores["checkpoint"].nunique() == 4 * 9
    assert grid.exclude == ("exp-1003-sd15-lora32a1",) and captions.exclude == ()
    for study in published.studies:
        assert not study.scores.duplicated(["checkpoint", *LEAF, *METRIC]).any()
        assert set(study.scores["metric"]) <= set(components.names("metrics"))
        assert (study.scores["value"].isna() == (study.scores["reason"] != "")).all()


def test_means_are_a_value_a_category_and_those_of_classes_take_no_part(published):
    rows = published.studies[0].scores.query("metric == 'image_similarity'")
    assert set(rows["category"]) == {"all", "anime_characters", "movie_characters", "scenes", "styles"}
    assert set(rows["class_name"]) == {""}
    losses = published.studies[0].scores.query("metric == 'style_loss_data'")
    assert set(losses["class_name"]) == {"ghibi", "ukiyo_e"} and set(losses["prompt_type"]) == {
        "train",
        "alter",
        "trigger",
    }
    frechet = published.studies[0].scores.query("metric == 'frechet_distance'")
    assert set(frechet["category"]) == {"all"} and set(frechet["resize"]) == {"stretch"}


def test_leaves_metrics_and_missing_values_of_the_captions_experiment(published, clone):
    scores = published.studies[1].scores
    assert set(scores["captions"]) == {"no tags", "all tags"}
    assert set(scores.query("class_name == 'abukuma'")["subclass"]) == {"others", "toid outfit"}
    assert set(scores.query("class_name == 'Saw_Gerrera'")["subclass"]) == {"bald, realistic"}  # a quoted comma
    base = scores.query("metric == 'style_loss_base'")
    assert set(base["prompt_type"]) == {"style"} and "styles" not in set(base["category"])
    assert scores.loc[scores["value"].isna(), "reason"].tolist() == ["Empty in captions_metrics.csv."]
    raw = pd.read_csv(clone / "results/metrics/captions_metrics.csv").set_index("Folder")
    wanted = raw.loc[f"{RUN}-exp-2021-sd15-loha4a2-db-b-000030/people/K-2SO", "Vendi (dinov2-l-fb) (out)"]
    found = scores.query("config == 'exp-2021-sd15-loha4a2-db' and seed == 24 and epoch == 30 and metric == 'vendi'")
    assert found.query("class_name == 'K-2SO'")["value"].tolist() == [pytest.approx(wanted)]


def test_factors_come_from_the_mapping(clone):
    configs = pd.read_csv(clone / "exp_configs/config_mapping.csv")
    runs = [f"{RUN}-exp-1021-sd15-lokrf8-c", f"{RUN}-exp-1031-sd15-nt-a-000010", f"{RUN}-exp-9999-b", "nonsense"]
    table = factors_of(runs, configs).set_index("run")
    lokr, native, unknown, nonsense = (table.loc[run] for run in runs)
    assert (lokr["algorithm"], lokr["trained_layers"], lokr["factor"], lokr["seed"]) == ("lokr", "linear", 8, 25)
    assert lokr["epoch"] == 50 and pd.isna(lokr["dim"]) and np.isnan(lokr["alpha"])
    assert (native["algorithm"], native["epoch"], native["captions"]) == ("native", 10, "adjusted tags")
    assert native["checkpoint"] == "exp-1031-sd15-nt-s23-e10" and native["base"] == "v1-5-pruned-emaonly"
    assert unknown["config"] == "exp-9999" and pd.isna(unknown["algorithm"]) and pd.isna(nonsense["config"])


def test_columns_and_folders_in_our_words():
    found = measurements_of(
        [
            "Image Similarity (dinov2-l-fb-padding) (in)",
            "Squared Centroid Distance (convnextv2-l-resize) (trigger)",
            "Vendi (clip-L-14) (out)",
            "Text Similarity (trigger)",
            "Style Loss (base model)",
            "Style Loss (in)",
            "FD (clip-L-14-resize)",
            "Var (vgg19-gram-resize)",
            "Beauty (in)",
        ]
    )
    assert found.to_numpy().tolist() == [
        ["train", "image_similarity", "dinov2", "letterbox"],
        ["trigger", "squared_centroid_distance", "convnextv2", "scale"],
        ["alter", "vendi", "clip", ""],
        ["trigger", "text_similarity", "clip", ""],
        ["style", "style_loss_base", "vgg19", ""],
        ["train", "style_loss_data", "vgg19", "scale"],
        ["train", "frechet_distance", "clip", "stretch"],
        ["train", "variance", "vgg19", "scale"],
    ]
    leaves = leaves_of(pd.Series(["r", "r/people", "r/people/Saw_Gerrera/bald, 3d"]))
    assert leaves[LEAF].to_numpy().tolist() == [
        ["all", "", ""],
        ["movie_characters", "", ""],
        ["movie_characters", "Saw_Gerrera", "bald, 3d"],
    ]


def test_what_is_missing_unknown_or_given_twice_is_said(tmp_path):
    clone = write_clone(tmp_path / "clone")
    losses = clone / "results/metrics/style_classes_style_losses.csv"
    table = pd.read_csv(losses)
    twice = table.head(1).assign(**{"Style Loss (in)": 9.0})  # the other two columns say the same again
    odd = pd.DataFrame({"Folder": ["nonsense/style/ghibi", f"{RUN}-exp-9999-a/style/ghibi"], "Style Loss (in)": 1.0})
    pd.concat([table, twice, odd]).assign(Beauty=1.0).to_csv(losses, index=False)
    (clone / "results/metrics/ddim_sd15_fd.csv").unlink()
    (clone / "results/metrics/captions_metrics.csv").rename(clone / "elsewhere.csv")
    published = read(clone)
    said = "\n".join(published.notes)
    assert "ddim_sd15_fd.csv is not there" in said and "captions_metrics.csv is not there" in said
    assert "Beauty" in said and "Given twice, differently, and so left empty: 1 values (" in said
    assert "1 runs have a name that we cannot read" in said and "1 runs are not in config_mapping.csv" in said
    (study,) = published.studies
    assert study.scores.query("reason == 'Two different values.'")["value"].isna().all()


def test_a_broken_part_does_not_cost_the_rest_and_strange_values_are_missing(tmp_path):
    clone = write_clone(tmp_path / "clone")
    metrics = clone / "results/metrics"
    (metrics / "style_classes_style_losses_b.csv").write_text("")
    (metrics / "ddim_sd15_fd.csv").write_text("Folder,FD (dinov2-l-fb-resize)\n")
    (metrics / "captions_metrics.csv").write_text("Nothing\n1\n")
    losses = metrics / "style_classes_style_losses.csv"
    table = pd.read_csv(losses, dtype=str)
    other = table.assign(Folder=table["Folder"].str.replace("ddim", "euler_a")).head(5)
    table.loc[0, "Style Loss (in)"], table.loc[1, "Style Loss (in)"] = "inf", "much"
    table["Style Loss (trigger)"] = None
    table["Folder"] = "./" + table["Folder"].str.replace("/", "\\")
    pd.concat([table, other]).to_csv(losses, index=False)
    published = read(clone)
    said = "\n".join(published.notes)
    assert "style_classes_style_losses_b.csv is of no use" in said and "ddim_sd15_fd.csv is of no use" in said
    assert "captions_metrics.csv is of no use (it has no column Folder)" in said
    assert f"Ranked are the runs of {RUN}; 5 of euler_a-" in said
    scores = published.studies[0].scores
    assert (scores["reason"] == "No finite number in style_classes_style_losses.csv.").sum() == 2
    assert scores.loc[scores["reason"] != "", "value"].isna().all()


def test_a_folder_that_cannot_be_replayed_is_refused(tmp_path):
    with pytest.raises(UserError, match="There is no folder"):
        read(tmp_path / "nowhere")
    with pytest.raises(UserError, match="nothing to replay, at any depth. ddim_sd15_metrics_mean.csv is not there"):
        read(tmp_path)
    (tmp_path / "captions_metrics.csv").write_text("Folder,Text Similarity (in)\nx-y-exp-1-a/anime/b,1\n")
    with pytest.raises(UserError, match="Without exp_configs/config_mapping.csv nobody knows"):
        read(tmp_path)
    (tmp_path / "config_mapping.csv").write_text("Config,Algo\nexp-1,lora\n")
    with pytest.raises(UserError, match="nobody knows.*has no column Preset, Lr"):
        read(tmp_path)
    (tmp_path / "config_mapping.csv").write_text(MAPPING)
    with pytest.raises(UserError, match="no value of a run that we can read. .*1 runs are not in config_mapping.csv"):
        read(tmp_path)
