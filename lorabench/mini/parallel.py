"""One small training loop for every model of the world: processes of one thread each that average their gradients.

On two CPU cores, two processes of one thread do half as much work again as one process of two threads.
"""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

FIRST_LOSSES = 3  # steps whose losses are recorded, for a replay to agree with


@dataclass(frozen=True)
class Recipe:
    """How a model is trained; `batch` is per process and step, `warmup` in steps.

    The rate is flat up to the fraction `decay_from` of the way and falls along a cosine to 2 % after it.
    """

    steps: int
    lr: float
    batch: int
    warmup: int = 100
    decay_from: float = 0.3
    weight_decay: float = 0.0
    ema: float = 0.998
    clip_norm: float = 1.0
    save_every: int = 250
    compiled: bool = False  # torch.compile: a third faster after a minute and a half of compiling


@dataclass(frozen=True)
class Plan:
    """A recipe, and where, with which seed and on what it is followed."""

    name: str
    recipe: Recipe
    seed: int
    work: Path
    device: str = "cpu"
    processes: int = 2


class Task(Protocol):
    """A model in training: what is trained, the loss of one batch, and what to do with a finished average.

    Made of (data folder, plan, folder to publish to).
    """

    model: nn.Module

    def loss(self, rng: torch.Generator, batch: int) -> torch.Tensor:
        """The scalar loss of `batch` samples drawn with `rng`."""

    def export(self, model: nn.Module) -> None:
        """Write `model`, which holds averaged weights."""


@dataclass
class _Average:
    """An exponential moving average of every floating parameter and buffer."""

    decay: float
    state: dict[str, torch.Tensor] = field(default_factory=dict)

    def update(self, model: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in model.state_dict().items():
            if name not in self.state or not value.is_floating_point():
                self.state[name] = value.detach().clone()
            else:
                self.state[name].lerp_(value.detach(), 1 - decay)


def learning_rate(recipe: Recipe, step: int) -> float:
    """The rate of `step`, counted from 0."""
    if step < recipe.warmup:
        return recipe.lr * (step + 1) / recipe.warmup
    start = recipe.decay_from * recipe.steps
    done = min(1.0, max(0.0, (step - start) / max(1.0, recipe.steps - start)))
    return recipe.lr * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))


def train(plan: Plan, make_task: Callable[[], Task]) -> dict[str, Any]:
    """Train to the end of the recipe, from the last checkpoint if there is one; returns steps, loss, first losses.

    Checkpoints are `work`/<name>.pt, the log `work`/<name>.log. `make_task` must be picklable.
    """
    plan.work.mkdir(parents=True, exist_ok=True)
    # Read by the allocator of the processes started below: giving pages back after every step costs a fifth of it.
    os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", "-1")
    os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(2**32))
    mp.spawn(_worker, (plan, make_task, _free_port()), nprocs=plan.processes)
    saved = torch.load(_checkpoint(plan), map_location="cpu", weights_only=True)
    return {"steps": saved["step"], "loss": saved["loss"], "first_losses": saved["first_losses"]}


def replay(plan: Plan, make_task: Callable[[], Task]) -> dict[str, Any]:
    """The first steps of `train`, in this process and in seconds; returns them with their losses."""
    torch.manual_seed(plan.seed)
    task = make_task()
    parameters = _trained(task.model.train())
    optimizer, losses = _optimizer(plan, parameters), []
    for step in range(FIRST_LOSSES):
        found = [_gradient(task, parameters, plan, step, rank) for rank in range(plan.processes)]
        _update(parameters, optimizer, plan, step, torch.stack([gradient for _, gradient in found]).mean(0))
        losses.append(found[0][0])
    return {"steps": FIRST_LOSSES, "loss": losses[-1], "first_losses": losses}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _checkpoint(plan: Plan) -> Path:
    return plan.work / f"{plan.name}.pt"


def _worker(rank: int, plan: Plan, make_task: Callable[[], Task], port: int) -> None:
    if plan.device == "cpu":
        torch.set_num_threads(1)
    if plan.processes > 1:
        dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=plan.processes)
    torch.manual_seed(plan.seed)  # a process of its own; the same start in every process
    task = make_task()
    model = task.model.to(plan.device).train()
    parameters = _trained(model)
    optimizer, average = _optimizer(plan, parameters), _Average(plan.recipe.ema)
    state: dict[str, Any] = {"step": 0, "loss": float("nan"), "first_losses": []}
    if _checkpoint(plan).exists():
        saved = torch.load(_checkpoint(plan), map_location=plan.device, weights_only=True)
        model.load_state_dict(saved.pop("model"))
        optimizer.load_state_dict(saved.pop("optimizer"))
        average.state, state = saved.pop("average"), saved
    started, first, losses = time.monotonic(), state["step"], []
    for step in range(first, plan.recipe.steps):
        loss, gradient = _gradient(task, parameters, plan, step, rank)
        if plan.processes > 1:
            dist.all_reduce(gradient)
        _update(parameters, optimizer, plan, step, gradient / plan.processes)
        average.update(model, step)
        losses.append(loss)
        if len(state["first_losses"]) < FIRST_LOSSES:
            state["first_losses"].append(loss)
        if (step + 1) % plan.recipe.save_every == 0 or step + 1 == plan.recipe.steps:
            state |= {"step": step + 1, "loss": sum(losses) / len(losses)}
            if rank == 0:
                seconds = (time.monotonic() - started) / (step + 1 - first)
                _log(plan, f"step {step + 1}/{plan.recipe.steps} loss {state['loss']:.4f} {seconds:.3f} s a step")
                _save(plan, model, optimizer, average, state)
                _export(task, model, average)
            losses = []
    if plan.processes > 1:
        dist.destroy_process_group()


def _trained(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _optimizer(plan: Plan, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, plan.recipe.lr, betas=(0.9, 0.99), weight_decay=plan.recipe.weight_decay)


def _gradient(
    task: Task, parameters: list[nn.Parameter], plan: Plan, step: int, rank: int
) -> tuple[float, torch.Tensor]:
    """Loss of the batch of one process, and its gradient as one vector."""
    # A step's samples depend on (seed, step, process) only, so a resumed training equals an uninterrupted one.
    rng = torch.Generator().manual_seed((plan.seed * 1_000_003 + step) * 64 + rank)
    for parameter in parameters:
        parameter.grad = None
    loss = task.loss(rng, plan.recipe.batch)
    loss.backward()
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    return float(loss.detach()), torch.cat([part.reshape(-1) for part in parts])


def _update(
    parameters: list[nn.Parameter], optimizer: torch.optim.Optimizer, plan: Plan, step: int, gradient: torch.Tensor
) -> None:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(plan.recipe, step)
    for parameter, part in zip(parameters, gradient.split([p.numel() for p in parameters])):
        parameter.grad = part.view_as(parameter)
    nn.utils.clip_grad_norm_(parameters, plan.recipe.clip_norm)
    optimizer.step()


def _export(task: Task, model: nn.Module, average: _Average) -> None:
    live = {name: value.detach().clone() for name, value in model.state_dict().items()}
    model.load_state_dict(average.state)
    model.eval()
    with torch.no_grad():
        task.export(model)
    model.train()
    model.load_state_dict(live)


def _save(
    plan: Plan, model: nn.Module, optimizer: torch.optim.Optimizer, average: _Average, state: dict[str, Any]
) -> None:
    partial = _checkpoint(plan).with_suffix(".partial")
    parts = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "average": average.state}
    torch.save(parts | state, partial)
    os.replace(partial, _checkpoint(plan))


def _log(plan: Plan, line: str) -> None:
    with (plan.work / f"{plan.name}.log").open("a", encoding="utf-8") as log:
        log.write(line + "\n")
