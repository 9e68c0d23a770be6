"""Time of one training step of every algorithm, as a ratio to LoRA's, beside peft and lycoris in the same run.

    python benchmarks/step_time.py [--base FOLDER] [--rounds 20] [--json]

Steps of all rows take turns, and the fastest of each counts, so that other work on the machine slows none of them more.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

os.environ["LYCORIS_KERNEL_BACKEND"] = "torch"  # read when lycoris is imported

import peft
import torch
from lycoris.modules.locon import LoConModule
from lycoris.modules.loha import LohaModule
from lycoris.modules.lokr import LokrModule

from lorabench import adapters, base_models, components, diffusion, layers, mini
from lorabench.base_models import BaseModel
from lorabench.records import AdapterConfig

SIZES = {
    "lora": {"dim": 8, "alpha": 4.0},
    "loha": {"dim": 4, "alpha": 2.0},
    "lokr": {"factor": 8},
    "native": {},
    "glora": {"dim": 4},
    "ia3": {},
    "oft": {"dim": 8},
}
PEFT = {
    "lora": lambda names: peft.LoraConfig(r=8, lora_alpha=4, target_modules=names),
    "loha": lambda names: peft.LoHaConfig(r=4, alpha=2, target_modules=names),
    "lokr": lambda names: peft.LoKrConfig(r=10000, alpha=10000, decompose_factor=8, target_modules=names),
}
LYCORIS = {
    "lora": (LoConModule, {"lora_dim": 8, "alpha": 4}),
    "loha": (LohaModule, {"lora_dim": 4, "alpha": 2}),
    "lokr": (LokrModule, {"lora_dim": 10000, "factor": 8}),
}
Loss = Callable[[], torch.Tensor]


@dataclass(frozen=True)
class Row:
    """One way to train, ready to take a step."""

    library: str
    algorithm: str
    trained_layers: str
    step: Callable[[], None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default=str(mini.base_path()))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    def base() -> BaseModel:
        return base_models.load_base(base_models.base_of(options.base), torch.device(options.device))

    rows = []
    for preset in ("linear", "full"):
        rows += [ours(base(), name, preset, options.batch) for name in SIZES]
    rows += [of_peft(base(), name, options.batch) for name in PEFT]
    rows += [of_lycoris(base(), name, options.batch) for name in LYCORIS]
    table = measured(rows, options.rounds, options.device)
    if options.json:
        print(json.dumps(table, indent=1))
        return
    for row in table:
        print(" ".join(f"{row[key]:<10}" for key in ("library", "algorithm", "trained_layers")), end=" ")
        print(f"{1000 * row['seconds']:8.1f} ms {row['ratio']:6.2f} x LoRA")


def measured(rows: list[Row], rounds: int, device: str) -> list[dict[str, object]]:
    """The fastest step of each row in seconds, and its ratio to our LoRA's on the same layers."""
    fastest = [float("inf")] * len(rows)
    for turn in range(rounds + 2):
        for index, row in enumerate(rows):
            since = time.perf_counter()
            row.step()
            if device != "cpu":
                torch.cuda.synchronize()
            if turn >= 2:  # the first steps allocate
                fastest[index] = min(fastest[index], time.perf_counter() - since)
    pairs = list(zip(rows, fastest))
    lora = {row.trained_layers: s for row, s in pairs if (row.library, row.algorithm) == ("lorabench", "lora")}
    return [
        {"library": row.library, "algorithm": row.algorithm, "trained_layers": row.trained_layers, "seconds": seconds}
        | {"ratio": seconds / lora[row.trained_layers]}
        for row, seconds in pairs
    ]


def ours(base: BaseModel, name: str, preset: str, batch: int) -> Row:
    config = AdapterConfig(name, preset, **SIZES[name])
    adapter = adapters.create(base.components, components.find("algorithms", name), config, seed=1)

    apart = adapters.cheaper_apart(base.components, adapter)

    def loss() -> torch.Tensor:
        with adapters.run_apart(base.components, adapter, apart) as others:
            merged = adapters.merged_weights(base.components, others)
            return diffusion.with_weights(base, merged, lambda: loss_of(base, batch))

    return Row("lorabench", name, preset, step_of(loss, adapters.parameters(adapter)))


def of_peft(base: BaseModel, name: str, batch: int) -> Row:
    names = layers.trained_modules(base.components, "linear")
    for component, module in base.components.items():
        of_it = [each.removeprefix(f"{component}.") for each in names if each.startswith(f"{component}.")]
        peft.inject_adapter_in_model(PEFT[name](of_it), module)
    params = [p for module in base.components.values() for p in module.parameters() if p.requires_grad]
    return Row("peft", name, "linear", step_of(lambda: loss_of(base, batch), params))


def of_lycoris(base: BaseModel, name: str, batch: int) -> Row:
    kind, values = LYCORIS[name]
    params = []
    for each in layers.trained_modules(base.components, "linear"):
        module = kind(each.replace(".", "_"), layers.module_of(base.components, each), **values).to(base.device)
        module.apply_to()
        params += list(module.parameters())
    return Row("lycoris", name, "linear", step_of(lambda: loss_of(base, batch), params))


def loss_of(base: BaseModel, batch: int) -> torch.Tensor:
    rng = torch.Generator().manual_seed(0)
    size = base.unet.config.sample_size
    latents = torch.randn(batch, base.unet.config.in_channels, size, size, generator=rng).to(base.device)
    timesteps = torch.randint(1000, (batch,), generator=rng).to(base.device)
    ids = diffusion.tokenize(base, ["a red robot"] * batch, 75)
    texts = diffusion.embed_tokens(base, ids)
    sizes = torch.zeros(batch, 6, device=base.device)
    return diffusion.noise_prediction_loss(base, latents, texts, latents, timesteps, sizes).mean()


def step_of(loss: Loss, params: list[torch.Tensor]) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(params, 1e-4, fused=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss().backward()
        optimizer.step()

    return step


if __name__ == "__main__":
    main()
