"""How long two nodes of a Ray cluster take for the work of one: the smoke study, a core a node, both on this machine.

From the connection to the last score, so that starting a process on each node and loading models there is part of it;
tables and page, which the command makes by itself, are not.

    python benchmarks/two_nodes.py [--limit 6] [--times 1] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
os.environ["OMP_NUM_THREADS"] = "1"
import ray_nodes
from command_line import ROOT

from lorabench.api import studies
from lorabench.api.requests import How

STAGES = ("train", "generate", "encode", "score")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=6, help="trainings of the study's six")
    parser.add_argument("--times", type=int, default=1, help="of each; the fastest counts")
    parser.add_argument("--json", action="store_true", help="results on stdout as JSON")
    options = parser.parse_args()
    fastest = {nodes: float("inf") for nodes in (1, 2)}
    for _ in range(options.times):
        for nodes in fastest:
            fastest[nodes] = min(fastest[nodes], seconds(nodes, options.limit))
    ratio = fastest[2] / fastest[1]
    if options.json:
        print(json.dumps({"seconds": fastest, "ratio": ratio}))
    else:
        print("nodes  seconds")
        print("\n".join(f"{nodes:5}  {taken:7.1f}" for nodes, taken in fastest.items()))
        print(f"two nodes take {ratio:.2f} of the time of one")


def seconds(nodes: int, limit: int) -> float:
    """Of the whole work on so many nodes, which are there before."""
    with ray_nodes.cluster(nodes) as cluster, tempfile.TemporaryDirectory() as out:
        study, run = ROOT / "configs/smoke.toml", Path(out) / "run"
        plan = studies.planned(study, run, How(executor="ray", address=cluster.address), limit=limit)
        begin = time.perf_counter()
        result = studies.carry_out(plan, STAGES, quiet=True)
        assert not result.failures, result.failures
        return time.perf_counter() - begin


if __name__ == "__main__":
    main()
