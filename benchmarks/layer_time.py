"""Forward and backward of one linear layer, its update merged and as layers of its own, by width.

    python benchmarks/layer_time.py [--positions 2048] [--rounds 10] [--json]

Where the faster of the two changes is what `adapters.WRITE` stands for.
"""

from __future__ import annotations

import argparse
import json
import time

import torch
from torch import nn

from lorabench import adapters, components
from lorabench.records import AdapterConfig

CASES = {"lora": {"dim": 8, "alpha": 4.0}, "lokr": {"factor": 8}}  # every algorithm that can run apart
WIDTHS = (128, 320, 640, 1280)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--positions", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = [row_of(name, width, options) for name in CASES for width in WIDTHS]
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    for row in rows:
        times = f"merged {row['merged_ms']:7.2f} ms, apart {row['apart_ms']:7.2f} ms"
        print(f"{row['algorithm']:<5} {row['width']:>5}  {times}, chosen: {row['chosen']}")


def row_of(name: str, width: int, options: argparse.Namespace) -> dict[str, object]:
    """Fastest step of both roads in milliseconds, taking turns, and which one training takes."""
    layer = nn.Linear(width, width).requires_grad_(False)
    config = AdapterConfig(name, "regex:.", **CASES[name])
    model = {"unet": nn.Sequential(layer)}
    adapter = adapters.create(model, components.find("algorithms", name), config, seed=1)
    params = adapter.modules["unet.0"]
    apart = adapter.algorithm.apart(params, layer.weight, config)
    inputs = torch.randn(options.positions, width, requires_grad=True)

    def merged() -> torch.Tensor:
        return nn.functional.linear(inputs, adapters.merged_weights(model, adapter)["unet.0.weight"], layer.bias)

    def beside() -> torch.Tensor:
        return layer(inputs) + apart.answer(inputs, layer)

    fastest = {merged: float("inf"), beside: float("inf")}
    for _ in range(options.rounds):
        for road in fastest:
            since = time.perf_counter()
            torch.autograd.grad(road().sum(), [inputs, *params.values()])
            fastest[road] = min(fastest[road], time.perf_counter() - since)
    with adapters.run_apart(model, adapter, adapters.cheaper_apart(model, adapter)) as others:
        chosen = "merged" if others.modules else "apart"
    times = {"merged_ms": 1000 * fastest[merged], "apart_ms": 1000 * fastest[beside]}
    return {"algorithm": name, "width": width, **times, "chosen": chosen}


if __name__ == "__main__":
    main()
