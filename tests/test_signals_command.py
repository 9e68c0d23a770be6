"""`lorabench signals` on the small tables of the study that docs/signals.md tells of."""

import json

from command_line import ROOT, lorabench_here

REFERENCE = ROOT / "results/reference"


def test_a_run_that_holds_pictures_out_says_what_its_signals_foretell():
    found = json.loads(lorabench_here("signals", str(REFERENCE / "mini_held_out"), "--json").stdout)
    row = {(each["signal"], each["among"], each["metric"]): each for each in found}
    loss = row["held_out_loss", "all", "identification"]
    assert loss["r"] < loss["high"] < 0 and loss["q"] <= 0.05 and loss["n_classes"] == 10
    words = lorabench_here("signals", str(REFERENCE / "mini_held_out"), "--metric", "identification").stdout
    assert "held-out loss, 80-100 % of the timesteps" in words and "norm of the update over the weights'" in words
    assert "image similarity, train prompts" not in words.replace("gap of image similarity, train", "")


def test_one_epoch_leaves_nothing_to_choose_in_a_training():
    told = lorabench_here("signals", str(REFERENCE / "mini_held_out"), "--epoch", "30", "--json")
    found = json.loads(told.stdout)
    assert all(each["r"] is None for each in found if each["among"] == "training")
    assert any(each["r"] is not None for each in found if each["among"] == "moment")


def test_a_run_without_signals_says_how_to_get_some():
    done = lorabench_here("signals", str(REFERENCE / "mini_paper"))
    assert done.returncode == 2 and "[data] holdout" in done.stderr
