"""The synthetic run and its report, built once."""

from pathlib import Path

import pytest
from synthetic import synthetic_run

from lorabench.report import RunTables, build_report


@pytest.fixture(scope="session")
def tables() -> RunTables:
    return synthetic_run()


@pytest.fixture(scope="session")
def report(tables: RunTables, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_report(tables, tmp_path_factory.mktemp("report") / "report.html")
