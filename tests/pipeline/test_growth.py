"""What a run does besides its tasks grows with its checkpoints, and no faster: counted in calls, since times vary."""

from __future__ import annotations

import sys
from pathlib import Path

from command_line import SMOKE

from lorabench.api import studies
from lorabench.pipeline import integrity
from lorabench.pipeline.flow import Flow
from lorabench.pipeline.pending import STAGES_OF_TASKS
from lorabench.pipeline.run import STAGES


def calls_of_looking_and_ordering(folder: Path, seeds: int) -> int:
    """Calls of Python functions in which a run that has nothing yet finds what to do, and hands out all of it."""
    file = folder / f"{seeds}.toml"
    file.write_text(SMOKE.replace("seeds = [1, 2]", f"seeds = {list(range(seeds))}"))
    plan = studies.planned(file, folder / f"run-{seeds}")
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        integrity.faults(plan, STAGES)
        flow = Flow(plan, STAGES_OF_TASKS)
        while task := flow.next():
            flow.ended(task)
    finally:
        sys.setprofile(before)
    return calls


def test_twice_the_checkpoints_are_twice_the_work_of_looking(tmp_path):
    few, many = (calls_of_looking_and_ordering(tmp_path, seeds) for seeds in (16, 32))
    assert 1.5 < many / few < 2.03
