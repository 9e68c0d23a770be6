"""The tables of a finished run taken elsewhere: as files for other tools, as pages made from them alone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

from lorabench import store
from lorabench.api.run import REPORT
from lorabench.errors import UserError
from lorabench.report.page import build_report
from lorabench.report.runs import FACTS_FILE, read_part, read_run
from lorabench.report.schema import checked_facts
from lorabench.report.tables import TABLES


def export(run: Path, out: Path, kind: Literal["csv", "parquet", "json"]) -> list[Path]:
    """Write every table of a run as csv, parquet or json (records) into a folder; thumbnails only as parquet.

    UserError for a folder that exists, and for one without a finished run.
    """
    read_run(run)
    names = [name for name in TABLES if (run / f"{name}.parquet").exists()]
    with store.whole_folder(out) as folder:
        for name in names:
            source, target = run / f"{name}.parquet", folder / f"{name}.{kind}"
            if kind == "parquet":
                shutil.copyfile(source, target)
                continue
            table = read_part(source).drop(columns="thumbnail", errors="ignore")
            if kind == "csv":
                table.to_csv(target, index=False)
            else:
                table.to_json(target, orient="records", indent=1)
    return [out / f"{name}.{kind}" for name in names]


def pages(run: Path, out: Path) -> list[Path]:
    """Write the report of each study in a folder of tables, the first as report.html.

    UserError for a folder that a study still writes its own report to: it would count as damaged there.
    """
    if out.suffix == ".html":
        raise UserError(
            f"--out names a folder, and {out} is called like a page: pages are {REPORT}, one a study, in it."
        )
    made = store.read_manifest(out)[0]
    if REPORT in made.files:
        raise UserError(
            f"{out / REPORT} is the report of a finished run: `lorabench report STUDY.toml` brings it up to date. "
            "To make one from the tables alone, name another folder with --out."
        )
    names = list(checked_facts(run / FACTS_FILE)) if (run / FACTS_FILE).exists() else [None]
    return [
        build_report(read_run(run, name), out / (f"report_{name}.html" if place else REPORT))
        for place, name in enumerate(names)
    ]
