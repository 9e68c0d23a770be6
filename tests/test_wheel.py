"""An installed wheel is the whole product: away from a checkout it runs the studies that it brings, by name."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from command_line import ROOT, SMALL, environment


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A folder of packages that holds lorabench alone, from its wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:  # what pip does with a wheel of Python files
        archive.extractall(folder / "site")
    return folder / "site"


def run(site: Path, place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    variables = environment()
    path = os.pathsep.join([str(site), *variables.get("PYTHONPATH", "").split(os.pathsep)])
    command = [sys.executable, "-P", "-m", "lorabench", *words]
    return subprocess.run(
        command, cwd=place, env=variables | {"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )


def test_a_wheel_runs_a_study_in_an_empty_folder(site, tmp_path):
    planned = run(site, tmp_path, "grid", "smoke", "--dry-run")  # by name, and its plug-in beside it
    assert planned.returncode == 0 and "kernel_distance" in planned.stdout, planned.stderr
    study = SMALL.replace(str(ROOT / "examples"), str(site / "lorabench/shipped_files/examples"))
    study = study.replace("[encoders]", '[[metrics]]\nname = "kernel_distance"\n\n[encoders]')
    (tmp_path / "study.toml").write_text(study)
    done = run(site, tmp_path, "grid", "study.toml", "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "results/smoke/report.html").exists()
    assert str(ROOT) not in (tmp_path / "results/smoke/study.json").read_text()


def test_a_wheel_looks_for_the_paper_s_pictures_where_the_user_is(site, tmp_path):
    done = run(site, tmp_path, "grid", "paper", "--dry-run")
    assert done.returncode == 2 and f"{tmp_path}/data/paper" in done.stderr
    assert "prompt templates" not in done.stderr
    begun = run(site, tmp_path, "dataset", "data/paper", "--skeleton", "paper")
    assert begun.returncode == 1 and (tmp_path / "data/paper/dataset.toml").exists(), begun.stderr
    named = run(site, tmp_path, "grid", "papr")
    assert named.returncode == 2 and "Did you mean 'paper'" in named.stderr
