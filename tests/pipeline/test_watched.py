"""What is seen of a training: in tables and on the page always, in event files and pictures where it is asked for."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
from command_line import SMALL, lorabench_here
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lorabench import adapters, base_models, formats, images, mini
from lorabench.report.runs import read_run
from lorabench.stages.watching import Trace, part_of

NAME = "lora-linear-d4a2-lr5e-3"


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """The small study once more, followed."""
    folder = tmp_path_factory.mktemp("watched")
    (folder / "study.toml").write_text(f"{SMALL}\n[run]\ntensorboard = true\nsample_every = 2\n")
    done = lorabench_here("train", str(folder / "study.toml"), "--out", str(folder / "run"), "--workers", "1")
    assert done.returncode == 0, done.stderr
    return folder / "run"


def training(run):
    files = sorted(run.glob(f"checkpoints/{NAME}/seed-1/epoch-*/training.json"))
    return [json.loads(file.read_text()) for file in files]


def test_following_changes_no_weight(watched, small_run):
    for file in small_run.glob("checkpoints/**/adapter.safetensors"):
        assert (watched / file.relative_to(small_run)).read_bytes() == file.read_bytes()


def test_event_files_hold_every_step(watched):
    found = EventAccumulator(str(watched / f"tensorboard/{NAME}-s1"))
    found.Reload()
    recorded = training(watched)
    for tag, key in (("loss", "losses"), ("learning_rate", "rates"), ("gradient_norm", "grad_norms")):
        values = [each.value for each in found.Scalars(tag)]
        assert values == pytest.approx([value for each in recorded for value in each[key]], rel=1e-6)
    assert [each.step for each in found.Scalars("loss")] == list(range(1, recorded[-1]["step"] + 1))


def test_pictures_are_those_that_the_checkpoint_draws(watched, small_run):
    """But for the float16 of its file."""
    steps = training(watched)[-1]["step"]
    drawn = sorted(watched.glob(f"samples/{NAME}/seed-1/step-*/*.png"))
    assert len(drawn) == steps // 2
    last = images.read(drawn[-1]).astype(float)
    (trigger,) = (small_run / f"images/{NAME}-s1-e2").glob("**/trigger")
    assert steps % 2 or np.abs(last - images.read(trigger / "0000.png")).mean() < 1


def test_norms_of_updates_are_those_of_the_file(watched):
    base = base_models.load_base(base_models.base_of(str(mini.base_path())), torch.device("cpu"))
    file = watched / f"checkpoints/{NAME}/seed-1/epoch-0002/adapter.safetensors"
    adapter, _ = formats.load_adapter(file, base.components)
    squares: dict[str, float] = {}
    for name in adapter.modules:
        ((_, parameter, update),) = adapters.updates(base.components, adapter, name)
        squares[part_of(name)] = squares.get(part_of(name), 0.0) + float(update.double().square().sum())
    last = training(watched)[-1]
    recorded = {part: norm for step, part, norm in last["norms"] if step == last["step"]}
    assert recorded == pytest.approx({part: value**0.5 for part, value in squares.items()}, rel=1e-3)
    assert set(recorded) == {"text encoder", "cross-attention", "self-attention", "feed-forward"}


def test_tables_and_page_have_them(small_run):
    tables = read_run(small_run)
    recorded = training(small_run)
    losses = tables.losses[tables.losses["config"] == NAME]
    assert losses["loss"].tolist() == pytest.approx([value for each in recorded for value in each["losses"]])
    assert losses["rate"].max() == pytest.approx(5e-3) and losses["grad_norm"].gt(0).all()
    norms = tables.norms[tables.norms["config"] == NAME]
    assert (
        norms["step"].nunique() == 2
        and norms.groupby("part")["norm"].apply(lambda of: of.is_monotonic_increasing).all()
    )
    text = (small_run / "report.html").read_text()
    assert '"grad_norm":' in text and '"norm|cross-attention":' in text


def test_a_run_of_before_has_its_losses_alone(small_run, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    for file in [*small_run.glob("*.parquet"), small_run / "study.json"]:
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "norms.parquet").unlink()
    pd.read_parquet(folder / "losses.parquet")[["config", "seed", "step", "loss"]].to_parquet(folder / "losses.parquet")
    done = lorabench_here("report", str(folder), "--out", str(tmp_path / "page"))
    assert done.returncode == 0, done.stderr
    assert '"grad_norm":' not in (tmp_path / "page/report.html").read_text()


def test_the_end_of_a_trace():
    trace = Trace((1.0, 2.0, 3.0), (0.1, 0.2, 0.3), (4.0, 5.0, 6.0), ((7, "a", 1.0), (8, "a", 2.0), (9, "a", 3.0)))
    assert trace.last(2) == Trace((2.0, 3.0), (0.2, 0.3), (5.0, 6.0), ((8, "a", 2.0), (9, "a", 3.0)))
