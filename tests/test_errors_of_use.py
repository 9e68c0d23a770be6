"""Wrong input: one clear sentence, the exit code of the contract, nothing half-written, never a traceback."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from command_line import SMOKE, lorabench, lorabench_here

from lorabench.api import studies
from lorabench.errors import UserError


def refused(*words: str, says: str | list[str], run=lorabench_here) -> None:
    done = run(*words)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    for part in [says] if isinstance(says, str) else says:
        assert part in done.stderr


def changed(folder: Path, old: str, new: str) -> str:
    assert old in SMOKE
    path = folder / "study.toml"
    path.write_text(SMOKE.replace(old, new, 1))
    return str(path)


LOKR = 'algorithm = "lokr"\nlr = 5e-3\nfactor = 4'
PEFT = 'algorithm = "peft"\nlr = 5e-3\npeft = { peft_type = "VERAA" }'
CASES = {
    "unknown key": ("per_set = 4", "per_sett = 4", ["images.per_sett", "Did you mean 'per_set'?"]),
    "unknown table": ("[encoders]", "[encoder]", ["unknown key 'encoder'", "Did you mean 'encoders'?"]),
    "negative dim": ("dim = 4", "dim = -4", ["grid[0].dim", "greater than or equal to 1", "-4"]),
    "unknown algorithm": ('"lokr"', '"lokrr"', ["Unknown algorithm 'lokrr'", "Did you mean 'lokr'?"]),
    "unknown method of peft": (LOKR, PEFT, ["no method 'VERAA'"]),
    "too small for its layers": (LOKR, 'algorithm = "boft"\nlr = 1\ndim = 1', ["boft", "no power of two"]),
    "unknown layers": ("alpha = 2", 'trained_layers = "attentoin"', ["attentoin", "Did you mean 'attention'?"]),
    "unknown concept": ("scenes/volcano", "scenes/vulcano", ["vulcano", "Did you mean 'scenes/volcano'?"]),
    "missing data": ("lorabench:mini/dataset", "nowhere", ["nowhere"]),
    "missing base": ("lorabench:mini/weights/base", "./no-such-base", ["no-such-base", "does not exist"]),
    "missing encoder weights": ("weights/clip", "weights/klip", ["klip", "encoders.clip.weights"]),
    "missing prompts": ("lorabench:mini/prompts", "nowhere", ["nowhere"]),
    "not TOML": ("[images]", "[images", ["not valid TOML"]),
    "epochs": ("epochs = 2", "epochs = 1", ["checkpoint_epochs", "epochs = 1"]),
}


@pytest.mark.parametrize("case", CASES)
def test_wrong_study(case, tmp_path):
    """In this process, where a case costs no start-up; the command line's part is tested once, below."""
    old, new, says = CASES[case]
    with pytest.raises(UserError) as caught:
        studies.planned(Path(changed(tmp_path, old, new)), tmp_path / "out")
    for part in says:
        assert part in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_missing_study_names_the_others():
    refused(
        "grid", "configs/minni.toml", run=lorabench, says=["configs/minni.toml does not exist", "configs/mini.toml"]
    )


def test_hub_base_without_network_says_how_to_get_it(tmp_path):
    study = changed(tmp_path, "lorabench:mini/weights/base", "stable-diffusion-v1-5/stable-diffusion-v1-5")
    refused("grid", study, "--out", str(tmp_path / "out"), says=["hf download", "base"], run=lorabench)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/proc/sys").exists(), reason="nothing here is read-only for root")
def test_read_only_results():
    """/proc is read-only even for root."""
    refused("grid", "configs/smoke.toml", "--out", "/proc/sys/lorabench", says=["Cannot write results", "--out"])


def test_results_in_the_place_of_a_file(tmp_path):
    (tmp_path / "out").write_text("")
    refused("grid", "configs/smoke.toml", "--dry-run", "--out", str(tmp_path / "out"), says="it is a file")


def test_evaluate_refuses(tmp_path):
    refused("evaluate", str(tmp_path / "none"), says="does not exist")
    refused("evaluate", str(tmp_path), says="There is no adapter in")
    (tmp_path / "broken.safetensors").write_bytes(b"\xff" * 100)
    (tmp_path / "old.pt").write_bytes(b"\x80\x02")
    refused("evaluate", str(tmp_path), says=["broken.safetensors", "old.pt", "pickle"])


def test_unknown_words():
    refused("list", "metric", says=["Unknown kind 'metric'", "Did you mean 'metrics'?"])
    assert lorabench_here("gird").returncode == 2


def test_dry_run_says_what_the_paper_study_comes_to_and_what_is_missing():
    done = lorabench_here("grid", "configs/paper.toml", "--dry-run")
    assert done.returncode == 2
    assert "234" in done.stdout and "26 configs x 3 seeds x 3 epochs" in done.stdout
    assert "data/paper" in done.stderr
