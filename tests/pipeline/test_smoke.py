"""The whole road once, and its numbers against computations that share no code with it."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from command_line import ROOT, lorabench, lorabench_here
from PIL import Image
from scipy import stats

from lorabench import mini
from lorabench.base_models import base_of, load_base
from lorabench.records import ImageRequest, Prompt, PromptSet, Sampling
from lorabench.sampler import sampler_of
from lorabench.stages.generate import generate
from lorabench.statistics.columns import INTEGERS

FACTORS = "study base checkpoint config algorithm trained_layers lr dim alpha factor seed epoch step scale".split()
CONTRACT = {
    "scores": "category class_name subclass prompt_type metric encoder resize value reason n_images",
    "normalized": "category class_name subclass prompt_type metric encoder resize value reason n_images score",
    "category_scores": "category prompt_type metric encoder resize score n_classes population",
    "attributions": "category prompt_type metric encoder resize factor_name factor_value shap",
    "images": "concept prompt_type index prompt thumbnail",
}
METRIC = ["metric", "prompt_type", "encoder", "resize"]
LEAF = ["category", "class_name", "subclass"]
LOWER_IS_BETTER = {"squared_centroid_distance", "style_loss_base", "style_loss_data", "kernel_distance"}


def table(run: Path, name: str) -> pd.DataFrame:
    return pd.read_parquet(run / f"{name}.parquet")


def features(run: Path, source: str, encoder: str) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(run / "features" / source / encoder / "features.safetensors")


def unit(rows: np.ndarray) -> np.ndarray:
    rows = rows.astype(np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def picked(run: Path, metric: str, prompt_type: str) -> pd.DataFrame:
    scores = table(run, "scores")
    drawn = scores[scores["checkpoint"] != "dataset"]
    return drawn[(drawn["metric"] == metric) & (drawn["prompt_type"] == prompt_type)]


@pytest.mark.parametrize("name", CONTRACT)
def test_tables_have_the_columns_of_the_contract(smoke_run, name):
    found = table(smoke_run, name)
    assert set(FACTORS) | set(CONTRACT[name].split()) <= set(found.columns)
    assert len(found)


def test_what_a_run_says_of_its_study_means_the_same_on_another_machine(smoke_run):
    assert str(ROOT) not in (smoke_run / "study.json").read_text()


def test_every_checkpoint_leaf_and_prompt_type_is_scored(smoke_run):
    scores = table(smoke_run, "scores")
    assert set(scores.loc[scores["algorithm"] == "none", "checkpoint"]) == {"base", "dataset"}
    assert scores["checkpoint"].nunique() == 2 + 3 * 2 * 2
    missing = scores[scores["value"].isna()]
    # The trigger prompt of a style has no text to align with; one image of each `alter` prompt has no diversity.
    assert set(zip(missing["metric"], missing["prompt_type"])) == {("text_similarity", "trigger"), ("vendi", "alter")}
    assert set(missing[missing["metric"] == "text_similarity"]["category"]) == {"styles"}
    assert (missing["reason"] != "").all() and (scores["reason"] == "").sum() == scores["value"].notna().sum()
    assert "none" not in set(table(smoke_run, "normalized")["algorithm"])


def test_real_images_are_nearer_to_the_data_set_than_the_base_model_s(smoke_run):
    scores = table(smoke_run, "scores")
    rows = scores[(scores["metric"] == "image_similarity") & (scores["category"] != "styles")]
    means = rows.groupby("checkpoint")["value"].mean()
    assert means["dataset"] > means["base"] + 0.1


def test_whole_numbers_are_whole_in_every_table(smoke_run):
    for name in (*CONTRACT, "costs"):
        found = table(smoke_run, name)
        numbers = [each for each in found if each in INTEGERS]
        assert {str(found[each].dtype) for each in numbers} <= {"Int64", "int64"}, name
    assert table(smoke_run, "images")["noise_seed"].max() > 2**53  # where float64 has gaps


def test_images_say_what_each_of_them_measures(smoke_run):
    """Of metrics that are means over images: their mean over a leaf is its score."""
    images, scores = table(smoke_run, "images"), table(smoke_run, "scores")
    measured = [name.split("/") for name in images if "/" in name]
    assert {name[0] for name in measured} == {
        "image_similarity", "text_similarity", "style_loss_base", "style_loss_data",
    }  # fmt: skip
    leaf = ["checkpoint", *LEAF, "prompt_type"]
    for metric, encoder, resize in measured:
        means = images.groupby(leaf)[f"{metric}/{encoder}/{resize}"].mean().dropna()
        same = (scores["metric"] == metric) & (scores["encoder"] == encoder) & (scores["checkpoint"] != "dataset")
        expected = scores[same].set_index(leaf)["value"].dropna()
        np.testing.assert_allclose(means.reindex(expected.index), expected, rtol=1e-4, atol=1e-6)


def test_a_picture_is_drawn_again_from_the_words_of_the_page(smoke_run):
    page = (smoke_run / "report.html").read_text()
    data = json.loads(page.split('<script type="application/json" id="data">')[1].split("</script>")[0])
    concept = data["gallery"]["concepts"][0]
    column = next(each for each in concept["columns"] if each["type"] == "trigger")
    facts = next(iter(json.loads((smoke_run / "study.json").read_text()).values()))["study"]["images"]
    prompt = Prompt("", "trigger", column["prompt"], "")
    request = ImageRequest(prompt, column["index"], int(column["noise"]))
    sampling = Sampling(**{name: facts[name] for name in ("steps", "guidance", "size", "max_tokens")})
    base = load_base(base_of(str(mini.base_path())), torch.device("cpu"))
    drawn = next(generate(sampler_of(base), [PromptSet(None, "trigger", (request,))], sampling, batch_size=1))
    stored = Image.open(smoke_run / "images/base" / concept["name"] / "trigger" / f"{column['index']:04d}.png")
    assert np.abs(drawn.images[0].astype(int) - np.asarray(stored)).max() <= 1


def test_a_second_run_changes_nothing(smoke_run):
    def state() -> dict[str, str]:
        files = (file for file in smoke_run.rglob("*") if file.is_file())
        return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}

    before = state()
    done = lorabench("grid", "configs/smoke.toml", "--out", str(smoke_run))
    assert done.returncode == 0 and "Everything was up to date" in done.stdout
    assert state() == before


def test_ranks_and_aggregates_equal_a_few_lines_of_pandas(smoke_run):
    scores = table(smoke_run, "scores").query("algorithm != 'none'").copy()
    scores["value"] *= np.where(scores["metric"].isin(LOWER_IS_BETTER), -1, 1)

    def by_scipy(values: pd.Series) -> pd.Series:
        there = values.dropna()
        return pd.Series((stats.rankdata(there) - 1) / (len(there) - 1), index=there.index).reindex(values.index)

    scores["expected"] = scores.groupby([*LEAF, *METRIC])["value"].transform(by_scipy)
    keys = ["checkpoint", *LEAF, *METRIC]
    ours = table(smoke_run, "normalized").merge(scores[[*keys, "expected"]], on=keys)
    assert len(ours) == len(scores)
    np.testing.assert_allclose(ours["score"], ours["expected"], atol=1e-12)

    classes = scores.groupby(["checkpoint", "category", "class_name", *METRIC])["expected"].mean()
    expected = classes.groupby(["checkpoint", "category", *METRIC]).mean()
    category = table(smoke_run, "category_scores").set_index(["checkpoint", "category", *METRIC])["score"]
    np.testing.assert_allclose(category.loc[expected.index], expected, atol=1e-12)
    over_classes = classes.groupby(["checkpoint", *METRIC]).mean()
    everything = category.xs("all", level="category")
    np.testing.assert_allclose(everything.loc[over_classes.index], over_classes, atol=1e-12)


def test_standard_errors_equal_scipy(smoke_run):
    from lorabench.statistics.errors import summarise

    normalized = table(smoke_run, "normalized")
    ours = summarise(normalized, ["config", "epoch"]).query("category == 'all' and metric == 'vendi'")
    classes = (
        normalized.query("metric == 'vendi'")
        .groupby(["config", "epoch", "seed", "category", "class_name", "prompt_type"], as_index=False)["score"]
        .mean()
    )
    for row in ours.query("prompt_type == 'trigger'").itertuples():
        same = classes.query("config == @row.config and epoch == @row.epoch and prompt_type == @row.prompt_type")
        assert row.n == len(same) > 1
        assert row.se == pytest.approx(stats.sem(same["score"]), abs=1e-12)


def test_similarity_and_centroid_distance_satisfy_equation_23(smoke_run):
    """SCD = |mu|^2 + |nu|^2 - 2 (mean cosine over all pairs), of normalised features (LyCORIS eq. 23)."""
    dataset = features(smoke_run, "dataset", "dinov2")
    similarity = picked(smoke_run, "image_similarity", "trigger").set_index(["checkpoint", "category", "class_name"])
    distance = picked(smoke_run, "squared_centroid_distance", "trigger")
    for row in distance.itertuples():
        concept = f"{row.category}/{row.class_name}"
        generated = unit(features(smoke_run, row.checkpoint, "dinov2")[f"{concept}|trigger"])
        reference = unit(dataset[f"{concept}|dataset"])
        pairs = (generated @ reference.T).mean()
        value = similarity.loc[(row.checkpoint, row.category, row.class_name), "value"]
        assert value == pytest.approx(pairs, abs=1e-6)
        norms = (generated @ generated.T).mean() + (reference @ reference.T).mean()
        assert row.value == pytest.approx(norms - 2 * pairs, abs=1e-6)


def test_vendi_is_the_entropy_of_the_kernel_s_eigenvalues(smoke_run):
    for row in picked(smoke_run, "vendi", "trigger").itertuples():
        rows = unit(features(smoke_run, row.checkpoint, "dinov2")[f"{row.category}/{row.class_name}|trigger"])
        eigenvalues = np.linalg.eigvalsh(rows @ rows.T / len(rows)).clip(1e-15)
        assert row.value == pytest.approx(np.exp(-np.sum(eigenvalues * np.log(eigenvalues))), abs=1e-5)


def test_style_loss_equals_a_direct_computation_with_torchvision(smoke_run):
    """Five Gram matrices of torchvision's own VGG on the pictures as they lie on disk; float32 leaves 1e-4."""
    from safetensors.torch import load_file
    from torchvision.models.vgg import VGG, make_layers

    folder = ROOT / "lorabench/mini/weights/vgg19"
    settings = json.loads((folder / "config.json").read_text())
    network = VGG(make_layers(settings["layers"]), init_weights=False).features.eval()
    weights = load_file(folder / "model.safetensors")
    network.load_state_dict({name.removeprefix("features."): tensor.float() for name, tensor in weights.items()})
    convolutions = [i for i, layer in enumerate(network) if isinstance(layer, torch.nn.Conv2d)]
    firsts = [i for i in convolutions if i == 0 or isinstance(network[i - 1], torch.nn.MaxPool2d)]

    def grams(path: Path) -> list[torch.Tensor]:
        pixels = torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1).float() / 255
        x = ((pixels - torch.tensor(settings["mean"]).view(3, 1, 1)) / torch.tensor(settings["std"]).view(3, 1, 1))[
            None
        ]
        found = []
        for i, layer in enumerate(network):
            x = layer(x)
            if i in firsts:
                # The authors read conv1_1 to conv4_1 after their in-place ReLU and conv5_1 before it.
                seen = x if i == firsts[-1] else x.relu()
                flat = seen[0].flatten(1).double()
                found.append((flat @ flat.T / seen[0].numel()).detach())
        return found

    run = picked(smoke_run, "style_loss_base", "style")
    row = run[run["checkpoint"] == "native-linear-lr3e-4-s1-e2"].iloc[0]
    place = Path(row["category"]) / row["class_name"] / "style"
    losses = [
        sum(((a - b) ** 2).sum() for a, b in zip(grams(path), grams(smoke_run / "images/base" / place / path.name)))
        for path in sorted((smoke_run / "images" / row["checkpoint"] / place).glob("*.png"))
    ]
    assert row["value"] == pytest.approx(float(np.mean(losses)), rel=1e-4)
    assert run[run["checkpoint"] == "base"]["value"].max() == 0


def test_algorithms_see_the_same_noise_timesteps_and_captions(smoke_run):
    """At dW = 0 the first loss depends on nothing else: equal over algorithms, different over seeds."""
    first = {
        seed: [
            json.loads((folder / "epoch-0001/training.json").read_text())["losses"][0]
            for folder in sorted((smoke_run / "checkpoints").glob(f"*/seed-{seed}"))
        ]
        for seed in (1, 2)
    }
    for losses in first.values():
        assert len(losses) == 3
        np.testing.assert_allclose(losses, losses[0], rtol=1e-5)
    assert abs(first[1][0] - first[2][0]) > 1e-3


def test_shap_values_are_catboost_s_own(smoke_run):
    import catboost

    from lorabench import components
    from lorabench.stages.explain import factor_table

    one = ["category == 'all'", "metric == 'image_similarity'", "prompt_type == 'trigger'"]
    rows = table(smoke_run, "category_scores").query(" and ".join(one))
    rows = rows.sort_values(["config", "seed", "epoch"], kind="stable")
    algorithms = {name: components.find("algorithms", name) for name in rows["algorithm"].unique()}
    x = factor_table(rows[FACTORS], algorithms).loc[rows["checkpoint"]]
    x = x[[name for name in x.columns if x[name].nunique() > 1]]
    categorical = [name for name in ("algorithm", "trained_layers") if name in x.columns]
    model = catboost.CatBoostRegressor(
        iterations=300, learning_rate=0.1, random_seed=123, nan_mode="Min", verbose=False, allow_writing_files=False
    ).fit(x, rows["score"], cat_features=categorical)
    values = model.get_feature_importance(catboost.Pool(x, cat_features=categorical), type="ShapValues")
    expected = pd.DataFrame(values[:, :-1], columns=x.columns, index=rows["checkpoint"])
    if "capacity" in expected.columns:
        native = (rows["algorithm"] == "native").to_numpy()
        expected.loc[native, "algorithm"] += expected.loc[native, "capacity"]
        expected.loc[native, "capacity"] = np.nan
    ours = table(smoke_run, "attributions").query(" and ".join(one))
    ours = ours.pivot(index="checkpoint", columns="factor_name", values="shap").loc[expected.index, expected.columns]
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_report_is_one_file_that_needs_no_network(smoke_run):
    page = (smoke_run / "report.html").read_text()
    assert len(page) < 15e6
    assert 'src="http' not in page and "src='http" not in page and "@import" not in page
    for config in table(smoke_run, "normalized")["config"].unique():
        assert config in page


def test_losses_and_costs_of_a_training_are_those_of_its_saved_epochs(smoke_run):
    losses, costs = table(smoke_run, "losses"), table(smoke_run, "costs")
    for (config, seed), rows in losses.groupby(["config", "seed"]):
        epochs = sorted((smoke_run / "checkpoints" / config / f"seed-{seed}").glob("epoch-*/training.json"))
        parts = [json.loads(file.read_text()) for file in epochs]
        recorded = [loss for part in parts for loss in part["losses"]]
        assert rows["step"].iloc[-1] == parts[-1]["step"] == len(recorded) and rows["step"].is_monotonic_increasing
        steps = np.diff([0, *rows["step"]])
        assert np.average(rows["loss"], weights=steps) == pytest.approx(np.mean(recorded))
        assert rows["loss"].iloc[0] == pytest.approx(np.mean(recorded[: steps[0]]))
        metas = [json.loads((file.parent / "meta.json").read_text()) for file in epochs]
        spent = costs[(costs["stage"] == "train") & (costs["config"] == config) & (costs["seed"] == seed)]
        assert spent["seconds"].tolist() == [meta["provenance"]["seconds"] for meta in metas]
        assert spent["epoch"].tolist() == [int(file.parent.name.removeprefix("epoch-")) for file in epochs]
    assert losses.groupby(["config", "seed"]).ngroups == 3 * 2


def test_a_picture_s_file_is_named_from_the_page(smoke_run):
    pictures = table(smoke_run, "images")
    named = pictures[pictures["checkpoint"] != "dataset"]
    assert all((smoke_run / name).is_file() for name in named["file"]) and named["file"].is_unique
    assert pictures.loc[pictures["checkpoint"] == "dataset", "file"].isna().all()


def test_a_run_ends_with_who_leads(smoke_run, tmp_path):
    shutil.copytree(smoke_run, tmp_path / "run")
    done = lorabench_here("grid", "configs/smoke.toml", "--out", str(tmp_path / "run"), "--quiet")
    first, _, rest = done.stdout.partition("\n\n")
    assert first.startswith("Which to take") and first.count(": best epoch ") == 3 * 4  # configs and criteria
    lines = rest.splitlines()
    assert done.returncode == 0 and len(lines) <= 15 and "artifacts made" not in done.stdout
    assert "Fidelity: image similarity, train prompts, dinov2 letterbox; epoch 2; 3 classes" in lines
    assert lines[-1] == f"Report: {tmp_path / 'run/report.html'}" and sum("best " in line for line in lines) == 4
    told = json.loads(lorabench_here("grid", "configs/smoke.toml", "--out", str(tmp_path / "run"), "--json").stdout)
    best = [row for row in told["leaderboard"] if row["verdict"] == "best"]
    assert [row["criterion"] for row in best][:2] == ["fidelity", "controllability"]
    assert all(row["metric"] and row["prompt_type"] and row["encoder"] and row["epoch"] == 2 for row in best)


def test_a_dry_run_says_what_criteria_will_be_judged_by():
    done = lorabench_here("grid", "configs/smoke.toml", "--dry-run")
    assert "Controllability: text similarity, alter prompts, clip" in done.stdout


def test_a_page_is_written_from_tables_alone(smoke_run, tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    for file in smoke_run.glob("*.parquet"):
        if file.stem not in ("images", "probes"):
            shutil.copy(file, kept)
    shutil.copy(smoke_run / "study.json", kept)
    told = lorabench_here("report", "configs/smoke.toml", "--out", str(kept))
    assert told.returncode == 1 and f"`lorabench report {kept}`" in told.stdout
    (kept / "run.json").unlink(missing_ok=True)
    done = lorabench_here("report", str(kept))
    assert done.returncode == 0 and done.stdout.strip() == str(kept / "report.html")
    assert "image similarity" in (kept / "report.html").read_text().lower()
    refused = lorabench_here("report", str(smoke_run))
    assert refused.returncode == 2 and "name another folder with --out" in refused.stderr
    (kept / "study.json").unlink()
    assert "holds no study.json, which says what its tables are of" in lorabench_here("report", str(kept)).stderr
