"""study.json, whatever it holds: a run that is read, or a sentence."""

from __future__ import annotations

import json
import random

from mutations import json_of_junk, only_sentences, spoilt_bytes
from synthetic import CONFIGS, synthetic_run, with_metrics

from lorabench.report.page import build_report
from lorabench.report.runs import read_run, write_facts
from lorabench.report.tables import TABLES, find_columns


def test_study_json_of_a_run(tmp_path):
    small = synthetic_run(CONFIGS[:2], epochs=(10,), thumbnails=False)
    few = with_metrics(small, "text_similarity", "vendi")  # study.json describes all of them
    write_facts(tmp_path, [few])
    for name in TABLES:
        getattr(few, name).to_parquet(tmp_path / f"{name}.parquet")
    file, rng = tmp_path / "study.json", random.Random(4)
    content = json.loads(file.read_text())

    def read() -> None:
        run = read_run(tmp_path)
        find_columns(run)
        if rng.random() < 0.1:  # a page takes a second
            build_report(run, tmp_path / "report.html")

    read()
    cases = json_of_junk(content, rng, 60)
    count = only_sentences(cases, lambda content: file.write_text(json.dumps(content)), read)
    cases = spoilt_bytes(json.dumps(content).encode(), 20, rng)
    assert count + only_sentences(cases, lambda content: file.write_bytes(content), read) > 5
