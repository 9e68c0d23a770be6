"""`lorabench fetch`: what is here, what comes from the hub, and what is said where nothing can come. No network."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from command_line import lorabench_here
from huggingface_hub import constants
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from tiny_base import write_tiny_base

import lorabench
from lorabench import base_files
from lorabench.api import fetching

HUB_ID, COMMIT = "stable-diffusion-v1-5/stable-diffusion-v1-5", "451f4fe16113bff5a5d2269ed5ad43b0592e9a14"
STUDY = f"""
name = "s"
base = "{HUB_ID}@{COMMIT}"
[[metrics]]
name = "image_similarity"
encoders = ["dinov2", "clip"]
"""


class Hub:
    """A hub with the base model and encoders, and the cache into which it is downloaded."""

    def __init__(self, cache: Path, base: Path) -> None:
        self.cache, self.base = cache, base
        self.asked: list[str] = []
        self.lacks: tuple[str, ...] = ()

    def folder(self, repository: str, commit: str) -> Path:
        place = self.cache / f"models--{repository.replace('/', '--')}"
        (place / "refs").mkdir(parents=True, exist_ok=True)
        (place / "refs/main").write_text(commit)
        return place / "snapshots" / commit

    def snapshot(self, repository: str, revision: str | None = None, **options: object) -> str:
        folder = self.folder(repository, revision or COMMIT)
        if options.get("local_files_only"):
            if not folder.is_dir():
                raise LocalEntryNotFoundError("not cached")
            return str(folder)
        self.asked.append(f"{repository}@{revision}")
        assert "unet/diffusion_pytorch_model.safetensors" in options["allow_patterns"]
        shutil.copytree(self.base, folder)
        return str(folder)

    def file(self, repository: str, name: str) -> str:
        self.asked.append(f"{repository}/{name}")
        if name in self.lacks:
            raise EntryNotFoundError(name)
        target = self.folder(repository, COMMIT) / name
        target.parent.mkdir(parents=True)
        target.write_bytes(b"weights")
        return str(target)


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Hub:
    made = Hub(tmp_path / "cache", write_tiny_base(tmp_path / "base"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(made.cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(base_files, "snapshot_download", made.snapshot)
    monkeypatch.setattr(fetching, "hf_hub_download", made.file)
    return made


@pytest.fixture
def study(tmp_path) -> Path:
    (tmp_path / "study.toml").write_text(STUDY)
    return tmp_path / "study.toml"


def states(study: Path, **options: bool) -> dict[str, str]:
    return {each.model: each.state for each in lorabench.fetch(study, **options)}


def test_what_is_missing_is_brought_once(hub, study):
    """The pinned revision; of an encoder's files the first that the repository has."""
    hub.lacks = ("open_clip_model.safetensors",)
    assert set(states(study, dry_run=True).values()) == {"missing"} and hub.asked == []
    assert set(states(study).values()) == {"fetched"}
    clip = "laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K"
    assert hub.asked == [
        f"{HUB_ID}@{COMMIT}",
        "timm/vit_large_patch14_dinov2.lvd142m/model.safetensors",
        f"{clip}/open_clip_model.safetensors",
        f"{clip}/open_clip_pytorch_model.bin",
    ]
    hub.asked.clear()
    found = lorabench.fetch(study)
    assert {each.state for each in found} == {"here"} and hub.asked == []
    assert found[0].bytes == sum(file.stat().st_size for file in base_files.find_base(f"{HUB_ID}@{COMMIT}").files)


def test_without_network_it_says_so_once_and_how_to_get_what_is_missing(hub, study, monkeypatch):
    def unreachable(*words: object, **options: object) -> str:
        hub.asked.append(str(words))
        raise LocalEntryNotFoundError("cannot find the file, and outgoing traffic is off")

    monkeypatch.setattr(base_files, "snapshot_download", unreachable)
    monkeypatch.setattr(fetching, "hf_hub_download", unreachable)
    done = lorabench_here("fetch", str(study))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stdout.count("could not be reached") == 1 and done.stdout.count("hf download") == 3
    assert "3 models of 3 lacking" in done.stdout
    asked = len(hub.asked)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.asked.clear()
    assert set(states(study).values()) == {"missing"}
    assert len(hub.asked) < asked  # the cache alone


def test_what_the_hub_refuses_or_has_not_is_one_sentence(hub, study, monkeypatch):
    def broken(*_: object) -> str:
        raise ConnectionResetError("reset by peer")

    monkeypatch.setattr(fetching, "hf_hub_download", broken)
    found = {each.model: each for each in lorabench.fetch(study)}
    assert found["base model"].state == "fetched"
    assert found["encoder clip"].state == "missing"
    assert found["encoder clip"].detail.startswith("It could not be downloaded (reset by peer). Not in the hub's cache")


def test_weights_that_no_hub_has(hub, tmp_path):
    """A path of the study's own, a folder that its reader has to make, and a library that brings its own."""
    study = tmp_path / "study.toml"
    metrics = '[[metrics]]\nname = "image_quality"\nencoders = ["liqe", "artifacts"]\n'
    own = '[[metrics]]\nname = "text_similarity"\n[encoders]\nclip = { weights = "nowhere" }\n'
    study.write_text(f'name = "s"\nbase = "mini"\n{metrics}{own}')
    done = lorabench_here("fetch", str(study), "--json")
    assert done.returncode == 1
    found = {each["model"]: each for each in json.loads(done.stdout)}
    told = {name: found[f"encoder {name}"]["state"] for name in ("liqe", "artifacts", "clip")}
    assert told == {"liqe": "none", "artifacts": "missing", "clip": "missing"}
    assert found["base model"]["state"] == "here" and found["base model"]["bytes"] > 1e6
    assert "[encoders.artifacts] weights" in found["encoder artifacts"]["detail"]
    assert hub.asked == []
    study.write_text('name = "s"\nextends = "mini"\n')
    assert lorabench_here("fetch", str(study)).returncode == 0
