"""What fails is listed and stops nothing else; a full disk and Ctrl-C end the run with a sentence and lose nothing."""

from __future__ import annotations

import errno
import json
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pandas as pd
import pytest
from command_line import ROOT, SMALL, environment, lorabench_here

from lorabench import images
from lorabench.stages import train


def small_study(folder, more=""):
    path = folder / "study.toml"
    path.write_text(SMALL + more)
    return str(path)


def test_a_diverging_config_is_listed_and_the_others_go_on(tmp_path, monkeypatch):
    original = train.train

    def diverging(base, pictures, config, algorithm, seed, **options):
        """A rate that no study may ask for, with which weights overflow at once."""
        fast = replace(config, training=replace(config.training, lr=1e30)) if algorithm.name == "native" else config
        return original(base, pictures, fast, algorithm, seed, **options)

    monkeypatch.setattr(train, "train", diverging)
    study = small_study(tmp_path, '[[grid]]\nalgorithm = "native"\nlr = 3e-4\n')
    done = lorabench_here("grid", study, "--out", str(tmp_path / "run"), "--json", "--workers", "1")
    assert done.returncode == 1, done.stderr
    summary = json.loads(done.stdout)
    failed = [failure for failure in summary["failures"] if failure["status"] == "failed"]
    skipped = [failure for failure in summary["failures"] if failure["status"] == "skipped"]
    assert [failure["item"] for failure in failed] == ["native-linear-lr3e-4-s1"]
    assert "lower its lr" in failed[0]["message"]
    assert {failure["item"].split(" on ")[0] for failure in skipped} == {
        f"native-linear-lr3e-4-s1-e{e}" for e in (1, 2)
    }
    scores = pd.read_parquet(tmp_path / "run/scores.parquet")
    assert set(scores["algorithm"]) == {"none", "lora"}
    assert "native-linear-lr3e-4-s1" in (tmp_path / "run/report.html").read_text()


def test_full_disk_ends_the_run_and_keeps_what_is_done(tmp_path, monkeypatch):
    study = small_study(tmp_path)
    words = ("grid", study, "--out", str(tmp_path / "run"), "--workers", "1")
    write, calls = images.write, []

    def write_until_full(path, picture):
        calls.append(path)
        if len(calls) > 3:  # in the middle of the second image set
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, picture)

    with monkeypatch.context() as patch:
        patch.setattr(images, "write", write_until_full)
        done = lorabench_here(*words)
    assert done.returncode == 1 and "No space left" in done.stderr
    whole = [meta.parent for meta in (tmp_path / "run/images").rglob("meta.json")]
    assert len(whole) == 1 and len(list(whole[0].glob("*.png"))) == 2
    assert len(list((tmp_path / "run/images").rglob("*.png"))) == 2
    assert lorabench_here(*words).returncode == 0


@pytest.mark.parametrize(
    ("number", "moment", "workers"),
    [
        (signal.SIGHUP, "start", "2"),  # libraries are being imported
        (signal.SIGINT, "start", "2"),
        (signal.SIGINT, "workers", "2"),  # they start: the moment when Ctrl-C was lost
        (signal.SIGTERM, "work", "1"),
    ],
)
def test_a_signal_ends_a_run_with_its_code(number, moment, workers, tmp_path):
    command = [sys.executable, "-m", "lorabench", "grid", small_study(tmp_path), "--out", str(tmp_path / "run")]
    process = subprocess.Popen(
        [*command, "--workers", workers], cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored in the background
    )  # fmt: skip
    if moment == "start":
        time.sleep(1)
    else:
        wanted = "to do" if moment == "workers" else "done"
        assert any(wanted in line for line in process.stderr)
        time.sleep(0.1)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "Interrupted" in stderr and "Traceback" not in stderr


def test_a_stage_alone_says_what_it_lacks(tmp_path):
    done = lorabench_here("score", small_study(tmp_path), "--out", str(tmp_path / "run"))
    assert done.returncode == 1
    assert "lorabench encode" in done.stdout and "skipped" in done.stdout
