"""`lorabench replay`: published measurements to tables and reports, and what to say of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from lorabench.pipeline.replay import replay
from lorabench.published import lycoris, peft_comparison


def replayed(clone: Path, out: Path) -> dict[str, Any]:
    """Replay a clone into `out`; what was made, as plain values. UserError where there is nothing to replay."""
    published = (peft_comparison if peft_comparison.recognises(clone) else lycoris).read(clone)
    done = replay(published, out, lambda line: print(line, file=sys.stderr))
    return {
        "results": str(out),
        "studies": [
            {
                "name": each.study.name,
                "checkpoints": int(each.tables.normalized["checkpoint"].nunique()),
                "values": len(each.tables.normalized),
                "report": str(each.report),
            }
            for each in done
        ],
        "diversity_ratios": len(published.diversity) > 0,
        "notes": list(published.notes),
    }


def words(summary: dict[str, Any]) -> str:
    """The summary for a person: what is missing first, then where to look."""
    lines = list(summary["notes"])
    for study in summary["studies"]:
        counts = f"{study['checkpoints']} checkpoints, {study['values']:,} values"
        lines.append(f"{study['name']}: {counts}; report: {study['report']}")
    if summary["diversity_ratios"]:
        lines.append(f"Diversity ratios (H.1): {summary['results']}/diversity_ratios.parquet")
    if summary["studies"]:
        lines.append(f"What the paper claims, asked of these values: lorabench claims {summary['results']}")
    return "\n".join(lines)
