"""`lorabench doctor` and `--version`: what there is, what is not, and how to get it."""

from __future__ import annotations

import subprocess
import sys

import open_clip
import pytest
from command_line import lorabench, lorabench_here

from lorabench import components
from lorabench.api import fetching, machine
from lorabench.base_files import BaseFiles
from lorabench.bases import SD
from lorabench.encoders import clip as clip_file  # noqa: F401 - registers the module
from lorabench.errors import UserError


def rows(monkeypatch, **changes) -> dict[str, dict]:
    for name, value in changes.items():
        monkeypatch.setattr(fetching if name == "try_to_load_from_cache" else machine, name, value)
    return {str(row["check"]): row for row in machine.checks()}


def test_real_weights_that_are_missing_are_named_with_what_gets_them(monkeypatch, tmp_path):
    monkeypatch.setattr(machine.constants, "HF_HUB_CACHE", str(tmp_path / "nowhere"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "nowhere"))

    def nowhere(source: str) -> None:
        raise UserError(f"{source} is not here; `hf download {source}`")

    found = rows(monkeypatch, try_to_load_from_cache=lambda *_: None)
    monkeypatch.setattr(machine.base_files, "find_base", nowhere)
    found = rows(monkeypatch)
    assert "not there yet" in found["hub cache"]["detail"] and "by HF_HUB_CACHE" in found["hub cache"]["detail"]
    assert found["SD1.5"]["status"] == "note" and "hf download" in found["SD1.5"]["detail"]
    for name in ("dinov2", "clip", "convnextv2", "vgg19"):
        row = found[f"encoder {name}"]
        repository, file = components.find("encoders", name).published[:2]
        assert row["status"] == "note" and f"hf download {repository} {file}" in row["detail"]
    assert not [check for check, row in found.items() if row["status"] == "missing"]


def test_weights_that_are_there_are_named_with_their_place(monkeypatch, tmp_path):
    monkeypatch.setattr(
        machine.base_files, "find_base", lambda source: BaseFiles(tmp_path / "sd15", SD, tmp_path / "sd15")
    )
    found = rows(monkeypatch, try_to_load_from_cache=lambda repository, file: f"/cache/{repository}/{file}")
    assert found["SD1.5"] == {"check": "SD1.5", "status": "ok", "detail": str(tmp_path / "sd15")}
    assert found["encoder vgg19"]["detail"] == "/cache/timm/vgg19.tv_in1k/model.safetensors"


def test_the_repository_of_clip_is_open_clip_s_own():
    from lorabench.encoders.clip import clip

    settings = open_clip.get_pretrained_cfg("ViT-L-14", "datacomp_xl_s13b_b90k")
    assert clip.published[0] == settings["hf_hub"].strip("/")


def test_extras_and_packages_are_there_or_say_how_to_get_them(monkeypatch):
    real = machine._version
    found = rows(monkeypatch, _version=lambda name: "" if name in ("peft", "pyiqa", "torch") else real(name))
    assert found["extra peft"]["status"] == "note" and "pip install 'lorabench[peft]'" in found["extra peft"]["detail"]
    assert "pip install pyiqa" in found["pyiqa"]["detail"] and "extra dev" not in found
    assert found["torch"] == {"check": "torch", "status": "missing", "detail": "run `make install`"}


@pytest.mark.parametrize("word", ["--version", "--help"])
def test_version_and_help_load_no_framework(word):
    code = (
        "import sys; sys.argv = ['lorabench', sys.argv[1]]\n"
        "from lorabench.cli import main\n"
        "try: main()\n"
        "except SystemExit: sys.exit(str({'torch', 'diffusers', 'pandas', 'rich'} & set(sys.modules) - {'rich'} or ''))"
    )
    done = subprocess.run([sys.executable, "-c", code, word], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "" and "lorabench" in done.stdout


def test_the_version_is_said():
    assert lorabench_here("--version").stdout.split()[0] == "lorabench"
    assert lorabench("--version").stdout.split()[1][0].isdigit()
