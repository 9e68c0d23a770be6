"""Runs of parts of a study, joined: the same tables as of one run, and nothing beside what it was not made from."""

from __future__ import annotations

import errno
import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import SMOKE, lorabench_here
from damaging import differences
from safetensors.numpy import load_file, save_file

import lorabench
from lorabench import store
from lorabench.api import joining, studies
from lorabench.errors import DamagedArtifact, DiskFull
from lorabench.pipeline.parts import read_part
from lorabench.store.files import write_sealed

FIRST, LOKR = "lora-linear-d4a2-lr5e-3", "lokr-linear-f4-lr5e-3"
TRAINED = f"checkpoints/{LOKR}/seed-1/epoch-0001"


@pytest.fixture
def parts(smoke_run, tmp_path) -> tuple[Path, Path]:
    """The smoke run as two machines would have it: one config on the first, two on the second, the base on both."""

    def part(name: str, *others: str) -> Path:
        def left_out(folder: str, names: list[str]) -> list[str]:
            tables = (
                [each for each in names if each.endswith((".parquet", ".html"))] if folder == str(smoke_run) else []
            )
            return tables + [each for each in names if each.startswith(others)]

        return Path(shutil.copytree(smoke_run, tmp_path / name, ignore=left_out))

    return part("a", "lokr", "native"), part("b", "lora")


@pytest.fixture
def quick(monkeypatch) -> None:
    """Joining without page and explanation."""
    monkeypatch.setattr(joining, "STAGES", ("score", "rank"))


def remade(run: Path, name: str, change=lambda folder: None) -> None:
    """An artifact as another device has it: under the same key with other content, made from what lies there now."""
    folder = store.RunFolder(run, "smoke")
    meta = folder.meta(run / name)
    made_from = [run / each for each in meta.made_from]
    with folder.writing(run / name, meta.key, made_from) as scratch:
        for file in meta.files:
            shutil.copy(run / name / file, scratch)
        change(scratch)


def bytes_of(run: Path) -> dict[Path, tuple[bytes, int]]:
    """Of every file, and when it was written."""
    files = (file for file in run.rglob("*") if file.is_file())
    return {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in files}


def other_features(folder: Path) -> None:
    (file,) = folder.glob("*.safetensors")
    save_file({name: array + np.float32(0.01) for name, array in load_file(file).items()}, file)


def same_scores(run: Path, undisturbed: Path) -> bool:
    return all(
        pd.read_parquet(run / f"{name}.parquet").equals(pd.read_parquet(undisturbed / f"{name}.parquet"))
        for name in ("scores", "normalized", "category_scores", "files", "choices")
    )


def test_the_parts_come_to_the_tables_of_the_whole_and_stay_as_they_are(smoke_run, parts, tmp_path):
    before = [bytes_of(part) for part in parts]
    out = tmp_path / "joined"
    done = lorabench_here("join", *map(str, parts), "--out", str(out), "--json", "--quiet")
    assert done.returncode == 0, done.stderr
    assert differences(out, smoke_run) == []
    for name in ("losses", "choices"):
        assert pd.read_parquet(out / f"{name}.parquet").equals(pd.read_parquet(smoke_run / f"{name}.parquet"))
    ours, theirs = (pd.read_parquet(each / "costs.parquet").query("stage != 'report'") for each in (out, smoke_run))
    assert ours.equals(theirs)  # but for the thumbnails, which are made anew
    ours, theirs = (json.loads((each / "study.json").read_text())["smoke"]["study"] for each in (out, smoke_run))
    assert ours == theirs and (out / "report.html").exists()
    assert before == [bytes_of(part) for part in parts]
    again = json.loads(lorabench_here("grid", "configs/smoke.toml", "--out", str(out), "--json").stdout)
    assert not any(again["made"].values()) and not again["damage"]
    with pytest.raises(lorabench.UserError, match="no join that was interrupted"):
        lorabench.join(*parts, out=out)


def with_study(part: Path, **changes: object) -> None:
    manifest = store.read_manifest(part)[0]
    store.write_manifest(part, replace(manifest, study=manifest.study | changes))


def with_facts(part: Path, **changes: object) -> None:
    facts = json.loads((part / "study.json").read_text())
    facts["smoke"]["study"] |= changes
    facts["smoke"]["study"] = {key: value for key, value in facts["smoke"]["study"].items() if value is not None}
    (part / "study.json").write_text(json.dumps(facts))


def with_key(part: Path, name: str) -> None:
    write_sealed(part / name / store.META, replace(store.RunFolder(part).meta(part / name), key="other"))


REFUSED = {
    "'smoke', the second of 'other'": lambda a, b: with_study(b, name="other"),
    r"seeds": lambda a, b: with_study(b, seeds=[1, 2, 3]),
    r"images.guidance 5.0 -> 7.5": lambda a, b: with_study(
        b, images=store.read_manifest(b)[0].study["images"] | {"guidance": 7.5}
    ),
    r"base model \S+ -> sd1-0123": lambda a, b: with_facts(b, base_id="sd1-0123"),
    r"features/dataset/dinov2 .*other training pictures": lambda a, b: with_key(b, "features/dataset/dinov2"),
    r"images/base/styles/riso/train .*another base model": lambda a, b: with_key(b, "images/base/styles/riso/train"),
    r"lorabench evaluate": lambda a, b: with_facts(b, training=None),
    r"made from something else .* --study": lambda a, b: with_key(b, TRAINED),
    r"is no folder of a run": lambda a, b: (shutil.rmtree(b), b.mkdir()),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_is_of_another_study_is_refused_before_anything_is_written(words, parts, tmp_path):
    REFUSED[words](*parts)
    with pytest.raises(lorabench.UserError, match=words) as refused:
        lorabench.join(*parts, out=tmp_path / "joined", quiet=True)
    assert str(parts[1]) in str(refused.value) and not (tmp_path / "joined").exists()


def test_a_study_file_may_be_more_than_the_parts(quick, smoke_run, parts, tmp_path):
    """Seeds that no part has, and paths of another machine."""
    (tmp_path / "study.toml").write_text(SMOKE.replace("seeds = [1, 2]", "seeds = [1, 2, 3]"))
    for part in parts:
        with_study(part, base="/nowhere", seeds=[1])
    with pytest.raises(lorabench.UserError, match="/nowhere does not exist .* --study"):
        lorabench.join(*parts, out=tmp_path / "joined", quiet=True)
    run = lorabench.join(*parts, out=tmp_path / "joined", study=tmp_path / "study.toml", quiet=True)
    assert same_scores(run.folder, smoke_run) and run.result.exit_code == 0


def test_published_encoders_that_are_not_here_are_those_that_the_parts_name(parts):
    """Nothing is downloaded where everything has been measured."""
    plan = studies.planned(Path("configs/smoke.toml"), None)
    absent = replace(plan, encoder_ids=plan.encoder_ids | {"clip": "clip-unfetched-v1"})
    assert joining._recorded(absent, [read_part(parts[0], lambda _: None)]).encoder_ids == plan.encoder_ids


def test_a_join_that_was_ended_goes_on(quick, smoke_run, parts, tmp_path, monkeypatch):
    copy, copied = store.RunFolder.take_in, []

    def ends_at(number: int, error: BaseException):
        def take_in(self, source: Path, folder: Path) -> None:
            if len(copied) == number:
                raise error
            copied.append(folder)
            copy(self, source, folder)

        monkeypatch.setattr(store.RunFolder, "take_in", take_in)

    out = tmp_path / "joined"
    ends_at(70, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        lorabench.join(*parts, out=out, quiet=True)
    with pytest.raises(lorabench.UserError, match="unfinished join of other folders"):
        lorabench.join(*reversed(parts), out=out, quiet=True)
    ends_at(140, OSError(errno.ENOSPC, "full"))
    with pytest.raises(DiskFull, match=f"No space left on the disk of {out}"):
        lorabench.join(*parts, out=out, quiet=True)
    ends_at(-1, AssertionError())
    run = lorabench.join(*parts, out=out, quiet=True)
    assert same_scores(run.folder, smoke_run)
    there = [meta for meta in smoke_run.rglob(store.META) if meta.parents[1].name != "thumbnails"]
    assert len(copied) == len(set(copied)) == len(there)


def test_what_is_damaged_in_one_part_is_taken_from_another(quick, smoke_run, parts, tmp_path):
    first, second = parts
    places = ["images/base/styles/riso/train", "features/dataset/clip", f"images/{FIRST}-s1-e1/styles/riso/train"]
    for place in places:
        file = next(each for each in (first / place).iterdir() if each.name != store.META)
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content if place == places[0] else content[:-1])
    run = lorabench.join(first, second, out=tmp_path / "joined", quiet=True)
    said = {place: next(text for text in run.result.damage if place in text) for place in places}
    assert all(text.startswith(str(first)) for text in said.values()) and len(run.result.damage) == 3
    assert [f"That of {second} was taken" in text for text in said.values()] == [True, True, False]
    for place in places[:2]:
        same = [
            {file.name: file.read_bytes() for file in (each / place).glob("*[gs]")} for each in (run.folder, smoke_run)
        ]
        assert same[0] == same[1]
    assert not (run.folder / places[2]).exists() and same_scores(run.folder, smoke_run)


def test_what_another_device_made_does_not_stand_beside_what_was_made_from_it(
    quick, smoke_run, parts, tmp_path, capsys
):
    first, second = parts
    remade(second, "features/base/dinov2", other_features)
    rescored = [f"scores/{LOKR}-s1-e1", f"scores/{LOKR}-s1-e2"]
    for name in rescored:
        remade(second, name)
    shutil.copytree(second / TRAINED, first / TRAINED)  # begun on the first too: of all its chain no more than this
    remade(first, TRAINED, lambda folder: (folder / "training.json").write_text("{}"))
    run = lorabench.join(first, second, out=tmp_path / "joined", workers=1)
    said = capsys.readouterr().err
    assert f"those of {first} were taken: features/base/dinov2." in said
    assert f"those of {second} were taken: {TRAINED}." in said
    assert f"2 checkpoints of {second} had been scored beside other pictures of the base model" in said
    assert same_scores(run.folder, smoke_run)
    assert run.result.done["score"] == len(rescored) and run.result.exit_code == 0
    joined, whole = store.RunFolder(run.folder), store.RunFolder(smoke_run)
    assert joined.content(run.folder / TRAINED) == whole.content(smoke_run / TRAINED)
    assert not any(joined.fault(file.parent) for file in run.folder.rglob(store.META))


def test_a_bit_that_was_lost_does_not_mix_what_two_devices_drew(quick, parts, tmp_path):
    """Pictures of the base model that a set is missing from are all taken from the other part."""
    first, second = parts
    lost = first / "images/base/styles/riso/train/0001.png"
    content = lost.read_bytes()
    lost.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    for place in ("images/base/styles/riso/alter", "images/base/styles/riso/train"):
        remade(second, place, lambda folder: (folder / "0000.png").write_bytes(content))
    for place in (
        "features/base/dinov2",
        "features/base/clip",
        *(f"scores/{LOKR}-s{n}-e{m}" for n in (1, 2) for m in (1, 2)),
    ):
        remade(second, place)
    run = lorabench.join(first, second, out=tmp_path / "joined", workers=1, quiet=True)
    assert len(run.result.damage) == 1 and not run.result.failures
    joined, theirs = store.RunFolder(run.folder), store.RunFolder(second)
    for meta in [*second.glob("images/base/**/meta.json"), *second.glob("features/base/*/meta.json")]:
        place = meta.parent.relative_to(second)
        assert joined.content(run.folder / place) == theirs.content(meta.parent) != ""
    assert not any(joined.fault(file.parent) for file in run.folder.rglob(store.META))


def test_a_part_that_was_not_finished_is_told_as_far_as_it_came(quick, parts, tmp_path):
    """One training failed, another has not come to its end: it can go on in the joined folder."""
    second = parts[1]
    for place in [*second.glob(f"*/{LOKR}-s2*"), second / f"checkpoints/{LOKR}/seed-2"]:
        shutil.rmtree(place)
    for place in [*second.glob(f"*/{LOKR}-s1-e2"), second / f"checkpoints/{LOKR}/seed-1/epoch-0002"]:
        shutil.rmtree(place)
    run, state = store.RunFolder(second, "smoke"), second / f"checkpoints/{LOKR}/seed-1/training-state"
    with run.writing(state, run.meta(second / TRAINED).key) as scratch:
        (scratch / "state.pt").write_bytes(b"so far")
    failed = {"stage": "train", "item": f"{LOKR}-s2", "status": "failed", "message": "loss is not finite"}
    pd.DataFrame([failed]).to_parquet(second / "failures.parquet")
    manifest = store.read_manifest(second)[0]
    store.write_manifest(second, replace(manifest, files={}))
    joined = lorabench.join(*parts, out=tmp_path / "joined", workers=1, quiet=True)
    assert asdict(joined.result.failures[0]) == failed and joined.result.exit_code == 1
    skipped = {each.item for each in joined.result.failures[1:] if each.stage == "score"}
    assert skipped == {f"{LOKR}-s1-e2", f"{LOKR}-s2-e1", f"{LOKR}-s2-e2"}
    assert (joined.folder / state.relative_to(second) / "state.pt").read_bytes() == b"so far"


def test_nothing_is_read_from_outside_of_a_part(parts, tmp_path):
    """A run of somebody else's may name any file."""
    source = parts[1] / TRAINED
    meta = store.RunFolder(parts[1]).meta(source)
    record = meta.files["training.json"]
    write_sealed(source / store.META, replace(meta, files={"../epoch-0001/training.json": record}))
    with pytest.raises(DamagedArtifact, match="outside"):
        store.RunFolder(tmp_path / "joined").take_in(source, tmp_path / "joined/checkpoints")
