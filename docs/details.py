"""The paper's details one by one, from details.toml: the paper's way, its authors' code's, ours, and tests of ours."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from lorabench import config
from lorabench.shipped import study_file

DOCS = Path(__file__).parent


def details() -> str:
    """One row a detail; a departure is bold, with its reason."""
    study = config.load_study(study_file("paper"))
    values = {"training": study.training, "sampling": study.sampling, "seeds": study.seeds, "run": study.run}
    rows = ["| | detail | the paper | its authors' code | here | tests |", "|---|---|---|---|---|---|"]
    for each in tomllib.loads((DOCS / "details.toml").read_text(encoding="utf-8"))["detail"]:
        here = each["here"].format(**values)
        here = f"**{here}**: {each['why']}" if "why" in each else here
        tests = "<br>".join(f"`{_checked(test)}`" for test in each["tests"])
        rows.append(f"| {each['section']} | {each['detail']} | {each['paper']} | {each['code']} | {here} | {tests} |")
    return "\n".join(rows)


def _checked(test: str) -> str:
    """The name of a test that there is."""
    file, _, name = test.partition("::")
    text = (DOCS.parent / "tests" / file).read_text(encoding="utf-8")
    if not re.search(rf"^def {name}\(", text, re.MULTILINE):
        raise SystemExit(f"docs/details.toml names the test {test}, which is not there.")
    return test
