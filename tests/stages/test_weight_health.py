"""Norms and ranks of updates, against numpy's own, and what is unlike the others."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from lorabench import adapters, components
from lorabench.records import AdapterConfig
from lorabench.stages import weight_health
from lorabench.stages.weight_health import block_of
from lorabench.statistics.validation import loss_means, unlike_others


@pytest.fixture
def adapter(base):
    config = AdapterConfig("lora", trained_layers="linear", dim=4, alpha=2)
    made = adapters.create(base.components, components.find("algorithms", "lora"), config, seed=0)
    for tensor in adapters.parameters(made):
        torch.nn.init.normal_(tensor, generator=torch.Generator().manual_seed(tensor.numel()))
    return made


@pytest.mark.parametrize("small", [256, 1], ids=["all singular values", "the first alone"])
def test_numbers_are_those_of_the_singular_values(base, adapter, monkeypatch, small):
    monkeypatch.setattr(weight_health, "SMALL", small)
    rows = {row.block: row for row in weight_health.weight_health(base.components, adapter)}
    values, pristine = {}, {}
    for name in adapter.modules:
        for kind, weight, update in adapters.updates(base.components, adapter, name):
            if kind == "weight":
                for block in (block_of(name), "all"):
                    values.setdefault(block, []).append(np.linalg.svd(update.detach().flatten(1), compute_uv=False))
                    pristine.setdefault(block, []).append(float((weight.detach() ** 2).sum()))
    assert set(rows) == set(values) and len(rows) > 3
    for block, found in values.items():
        first, squares = np.array([each[0] for each in found]), np.array([(each**2).sum() for each in found])
        row = rows[block]
        assert row.matrices == len(found)
        assert row.spectral_norm == pytest.approx(first.max(), rel=1e-4)
        assert row.stable_rank == pytest.approx((squares / first**2).mean(), rel=1e-4)
        assert row.first_direction == pytest.approx((first**2).sum() / squares.sum(), rel=1e-4)
        assert row.relative_norm == pytest.approx(np.sqrt(squares.sum() / sum(pristine[block])), rel=1e-4)


def test_an_update_of_nothing_has_no_rank(base, adapter):
    for params in adapter.modules.values():
        params["lora_up.weight"].data.zero_()
    (row,) = [each for each in weight_health.weight_health(base.components, adapter) if each.block == "all"]
    assert row.spectral_norm == row.relative_norm == 0 and np.isnan(row.stable_rank)


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("unet.down_blocks.1.attentions.0.proj_in", "unet.down_blocks.1"),
        ("unet.mid_block.resnets.0.conv1", "unet.mid_block"),
        ("text_encoder_2.text_model.encoder.layers.11.mlp.fc1", "text_encoder_2.layers.11"),
        ("unet.conv_in", "unet.others"),
    ],
)
def test_blocks_have_names(name, block):
    assert block_of(name) == block


def health(files=9, spike=1.0):
    rng = np.random.default_rng(0)
    rows = []
    for number in range(files):
        for block in ("unet.mid_block", "unet.up_blocks.1", "all"):
            times = spike if number == 3 and block != "unet.up_blocks.1" else 1.0
            numbers = 10 ** rng.normal(0, 0.05, 4) * (5 * times, 2, 0.4, 0.3)
            rows.append([f"file {number}", block, *numbers])
    return pd.DataFrame(
        rows, columns=["checkpoint", "block", "spectral_norm", "stable_rank", "first_direction", "relative_norm"]
    )


def test_a_file_unlike_the_others_is_named_with_its_block():
    assert unlike_others(health()).empty
    (row,) = unlike_others(health(spike=40)).to_dict("records")
    assert (row["checkpoint"], row["block"], row["measure"]) == ("file 3", "unet.mid_block", "spectral_norm")
    assert row["value"] > 20 * row["usual"]
    broken = health()
    broken.loc[0, "spectral_norm"] = np.nan
    assert list(unlike_others(broken)["checkpoint"]) == ["file 0"]
    assert unlike_others(broken.assign(spectral_norm=np.nan)).empty  # nobody knows the base model's weights
    assert unlike_others(health(files=3, spike=40)).empty


def test_losses_are_means_over_draws():
    columns = ["checkpoint", "config", "seed", "epoch", "step", "scale", "pictures", "band", "loss", "draws"]
    rows = [
        ["a", "a", 1, 1, 1, 1.0, "held_out", 0, 0.5, 1],
        ["a", "a", 1, 1, 1, 1.0, "held_out", 4, 0.1, 3],
        ["a", "a", 1, 1, 1, 1.0, "training", 4, 0.1, 4],
    ]
    (row,) = loss_means(pd.DataFrame(rows, columns=columns)).to_dict("records")
    assert row["held_out_loss"] == pytest.approx(0.2) and row["loss_gap"] == pytest.approx(0.1)
    assert row["held_out_loss|0-20 % of the timesteps"] == 0.5 and np.isnan(
        row["held_out_loss|20-40 % of the timesteps"]
    )
