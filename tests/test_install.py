"""`make install`: what is installed with CUDA's libraries, and without them."""

from __future__ import annotations

import subprocess

import pytest
from command_line import ROOT


@pytest.mark.parametrize(("words", "has_cuda"), [([], True), (["TORCH=cpu"], False)])
def test_the_packages_of_a_build_of_torch(words, has_cuda):
    dry = ["make", "-n", "-W", "requirements.lock", "install", *words]
    lines = subprocess.run(dry, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    (line,) = [line for line in lines if "| VIRTUAL_ENV" in line]
    listed, install = line.split("|", 1) if has_cuda else line.rsplit("|", 1)
    packages = subprocess.run(listed, shell=True, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = {package.split("==")[0] for package in packages.splitlines()}
    assert {"torch", "torchvision", "diffusers", "catboost"} <= names
    assert any(name.startswith("nvidia-") for name in names) == ("triton" in names) == has_cuda
    assert ("--torch-backend cpu" in install) != has_cuda and "--quiet" not in install
