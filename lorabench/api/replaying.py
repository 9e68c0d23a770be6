"""`lorabench replay`: published measurements to tables and reports."""

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
