"""What is damaged on disk is named and made again in the same run; the tables come out as if nothing had happened."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from command_line import SMALL, lorabench_here
from damaging import DAMAGES, another, differences, kinds
from safetensors.numpy import load_file

from lorabench import formats, store
from lorabench.api import studies
from lorabench.store.files import read_sealed, write_sealed


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> list[str]:
    """The words of the smallest study that makes every kind of file."""
    folder = tmp_path_factory.mktemp("damage")
    (folder / "study.toml").write_text(SMALL)
    return [str(folder / "study.toml"), "--workers", "1", "--json"]


@pytest.fixture(scope="module")
def damaged(study, small_run, tmp_path_factory) -> Path:
    out = Path(shutil.copytree(small_run, tmp_path_factory.mktemp("damaged") / "run"))
    # A copy has new times: from here on they are on record.
    assert lorabench_here("grid", *study, "--out", str(out)).returncode == 0
    return out


@pytest.mark.parametrize("turn", range(len(DAMAGES)))
def test_every_damage_of_every_kind_of_file_is_named_and_mended(turn, study, small_run, damaged):
    """In five turns each kind of file suffers each damage once."""
    rng, names = random.Random(turn), list(DAMAGES)
    spoilt: dict[Path, str] = {}
    for place, (kind, files) in enumerate(kinds(damaged).items()):
        if kind == store.RUN_FILE:  # it would speak for all tables
            continue
        touched = {file.parent for file in spoilt} - {damaged}
        file = rng.choice([file for file in files if file.parent not in touched] or files)
        how = names[(place + turn) % len(names)]
        DAMAGES[how](file, another(file, files), rng)
        spoilt[file] = f"{kind}: {how}"
    done = lorabench_here("grid", *study, "--out", str(damaged))
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)["damage"]
    for file, what in spoilt.items():
        name = file.name if file.parent == damaged else file.parent.relative_to(damaged).as_posix()
        assert any(sentence.startswith(f"{name} ") for sentence in said), (what, said)
    assert differences(damaged, small_run) == []
    again = json.loads(lorabench_here("grid", *study, "--out", str(damaged)).stdout)
    assert again["damage"] == [] and not any(again["made"].values())


@pytest.mark.parametrize("how", DAMAGES)
def test_what_a_run_says_of_its_tables_is_believed_only_as_it_was_written(how, small_run, tmp_path):
    shutil.copy(small_run / store.RUN_FILE, tmp_path)
    whole, fault = store.read_manifest(tmp_path)
    assert whole.files and fault == ""
    DAMAGES[how](tmp_path / store.RUN_FILE, small_run / "study.json", random.Random(5))
    manifest, fault = store.read_manifest(tmp_path)
    assert not manifest.files and bool(fault) == (how != "deleted")


@pytest.mark.parametrize("how", ["one bit", "deleted"])
def test_a_run_that_forgot_its_tables_makes_them_again(how, study, small_run, damaged):
    DAMAGES[how](damaged / store.RUN_FILE, damaged / "study.json", random.Random(5))
    (damaged / "scores.parquet").write_bytes(b"PAR1")
    done = lorabench_here("grid", *study, "--out", str(damaged))
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)["damage"]
    assert how == "deleted" or [text.split()[0] for text in said] == [store.RUN_FILE]
    assert differences(damaged, small_run) == []


def lose_a_bit(run: Path, folder: Path, name: str) -> None:
    """Damage as a disk does it by itself: sizes and times stay as recorded."""
    DAMAGES["one bit"](folder / name, folder, random.Random(1))
    meta, state = store.RunFolder(run).meta(folder), (folder / name).stat()
    record = replace(meta.files[name], modified=state.st_mtime_ns, changed=state.st_ctime_ns)
    write_sealed(folder / store.META, replace(meta, files=meta.files | {name: record}))


def test_a_bit_that_the_disk_lost_shows_where_the_file_is_read(study, small_run, damaged):
    lose_a_bit(damaged, damaged / "features/dataset/dinov2", "features.safetensors")
    lose_a_bit(damaged, damaged / "checkpoints/lora-linear-d4a2-lr5e-3/seed-1/epoch-0002", "adapter.safetensors")
    needed = [damaged / "scores" / "lora-linear-d4a2-lr5e-3-s1-e2"]
    needed.append(damaged / "images/lora-linear-d4a2-lr5e-3-s1-e2/styles/riso/trigger")
    for folder in needed:
        shutil.rmtree(folder)
    done = lorabench_here("grid", *study, "--out", str(damaged))
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)["damage"]
    assert {text.split("/")[0] for text in said} == {"features", "checkpoints"}
    assert differences(damaged, small_run) == []


def test_verify_reads_what_nobody_needs(study, small_run, damaged):
    folder = damaged / "images/base/styles/riso/trigger"
    lose_a_bit(damaged, folder, "0001.png")
    words = ("grid", *study, "--out", str(damaged))
    assert json.loads(lorabench_here(*words).stdout)["damage"] == []
    (said,) = json.loads(lorabench_here(*words, "--verify").stdout)["damage"]
    assert said.startswith("images/base/styles/riso/trigger counts as missing: 0001.png")
    same = small_run / folder.relative_to(damaged) / "0001.png"
    assert (folder / "0001.png").read_bytes() == same.read_bytes()


def test_doctor_calls_orphaned_what_tables_leave_out_but_not_what_was_made_since(small_run, tmp_path):
    run = Path(shutil.copytree(small_run, tmp_path / "run"))
    scores = next((run / "scores").glob("*-e1"))
    left, new = (Path(shutil.copytree(scores, run / "scores" / name)) for name in ("left", "new"))
    meta = read_sealed(new / store.META, store.Meta)
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat(timespec="seconds")
    write_sealed(new / store.META, replace(meta, provenance=replace(meta.provenance, started=tomorrow)))
    found = json.loads(lorabench_here("doctor", str(run), "--json").stdout)
    assert [(row["finding"], row["place"]) for row in found] == [("orphaned", f"scores/{left.name}")]


def test_what_was_made_from_something_else_is_made_again(tmp_path):
    """An input made anew with other content: what was made from the old one is out of date, whatever its key."""
    run = store.RunFolder(tmp_path)
    weights, images = run.path("checkpoints"), run.path("images")
    for content, whole in (("as it was", True), ("as it was", True), ("another", False)):
        with run.writing(weights, "key") as scratch:
            (scratch / "adapter").write_text(content)
        if not images.exists():
            with run.writing(images, "key", [weights]) as scratch:
                (scratch / "0.png").write_text("drawn")
        assert run.holds(images, "key") == whole
    run.discard(weights)  # to save space, say
    assert run.holds(images, "key")


def test_a_broken_training_state_means_training_from_the_start(study, small_run, tmp_path, monkeypatch):
    save, calls = formats.save_adapter, []

    def fail_at_the_second(*arguments, **settings):
        calls.append(arguments)
        if len(calls) == 2:
            raise RuntimeError("the process stops here")
        save(*arguments, **settings)

    stopped = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        patch.setattr(formats, "save_adapter", fail_at_the_second)
        assert lorabench_here("train", *study, "--out", str(stopped)).returncode == 1
    for how, damage in DAMAGES.items():
        out = Path(shutil.copytree(stopped, tmp_path / how.replace(" ", "_")))
        (state,) = out.rglob("state.pt")
        damage(state, next(out.rglob("adapter.safetensors")), random.Random(3))
        done = lorabench_here("train", *study, "--out", str(out))
        assert done.returncode == 0, (how, done.stdout)
        assert any("training-state counts as missing" in text for text in json.loads(done.stdout)["damage"]), how
        for file in out.rglob("adapter.safetensors"):
            ours, theirs = load_file(file), load_file(small_run / file.relative_to(out))
            assert all(np.array_equal(ours[name], theirs[name]) for name in theirs), how
        assert not list(out.rglob("state.pt"))


def test_the_cached_miniature_pictures_are_written_again(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = studies.mini_dataset_folder()
    picture = next(folder.rglob("*.png"))
    content = picture.read_bytes()
    picture.write_bytes(content[:100])
    assert studies.mini_dataset_folder() == folder and picture.read_bytes() == content
